"""Loads every kernel the dispatcher uses, so that no first client waits for a compiler."""

from __future__ import annotations

import numpy as np

from cell.uid_index import UidIndex
from dispatcher.columns import mix, sums
from dispatcher.kernels import digest_groups


def warm_up() -> None:
    """Call each kernel once."""
    index, one = UidIndex(), np.ones(1, np.uint64)
    index.put(one, one, np.zeros(1, np.int64))
    index.find(one, one)
    index.drop(one, one)
    count, number = np.ones(1, np.int64), np.zeros(1, np.int32)
    mix(one, one)
    sums(count, count)
    digest_groups(one, one, number, number, number, number, number, count, np.empty(1, np.uint64))
