"""Columns of wishes between replicas, for `CountColumns`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cell.fit.counters import Counter
from cell.fit.spans import Spans
from cell.fit.wishes import Wishes


class WishColumns:
    """The wishes of each class; `fields` is what `Counts` has of them."""

    def __init__(self) -> None:
        self._pulls = Spans(np.int32, np.int64)
        self._evens = Spans(np.int32, np.int32, np.int64, np.bool_)

    def put(
        self,
        klass: int,
        wishes: Wishes,
        counters: Mapping[Counter, int],
        key_of: Callable[[str], int],
    ) -> None:
        """The class's wishes from now on; `key_of` a label."""
        self._pulls.put(klass, [(counters[each.counter], each.weight) for each in wishes.pulls])
        self._evens.put(
            klass,
            [
                (counters[e.counter], key_of(e.label), e.skew_max, int(e.is_label_needed))
                for e in wishes.evens
            ],
        )

    @property
    def fields(self) -> dict[str, Any]:
        """See the class."""
        counter, weight = self._pulls.columns
        even, label, skew, needed = self._evens.columns
        return {
            "pull_at": self._pulls.at,
            "pull_count": self._pulls.count,
            "pull_counter": counter,
            "pull_weight": weight,
            "even_at": self._evens.at,
            "even_count": self._evens.count,
            "even_counter": even,
            "even_label": label,
            "even_skew": skew,
            "even_needed": needed,
        }
