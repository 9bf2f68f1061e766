"""Columns of wishes between replicas, for `Neighbours`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.fit.counters import Counter
from cell.fit.wishes import Wishes


def wish_columns(
    wishes: Mapping[int, Wishes], counters: Mapping[Counter, int], keys: Mapping[str, int]
) -> dict[str, Any]:
    """The wishes of each class, as `Counts` has them."""
    pulls = [each for listed in wishes.values() for each in listed.pulls]
    evens = [each for listed in wishes.values() for each in listed.evens]
    return {
        **spans("pull", {klass: len(listed.pulls) for klass, listed in wishes.items()}),
        "pull_counter": np.array([counters[each.counter] for each in pulls], np.int32),
        "pull_weight": np.array([each.weight for each in pulls], np.int64),
        **spans("even", {klass: len(listed.evens) for klass, listed in wishes.items()}),
        "even_counter": np.array([counters[each.counter] for each in evens], np.int32),
        "even_label": np.array([keys[each.label] for each in evens], np.int32),
        "even_skew": np.array([each.skew_max for each in evens], np.int64),
        "even_needed": np.array([each.is_label_needed for each in evens], np.bool_),
    }


def spans(name: str, lengths: dict[int, int]) -> dict[str, NDArray[np.int32]]:
    """First entry and number of entries by class, for lists that follow one another."""
    size = max(lengths, default=-1) + 1
    at, count = np.zeros(size, np.int32), np.zeros(size, np.int32)
    klasses = np.array(list(lengths), np.int64)
    sizes = np.array(list(lengths.values()), np.int32)
    count[klasses] = sizes
    at[klasses] = np.cumsum(sizes) - sizes
    return {f"{name}_at": at, f"{name}_count": count}
