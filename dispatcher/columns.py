"""Growing columns, blocks in them, and the arithmetic of consecutive slices.

The unit table is built of these; nothing here knows what a unit is.
"""

from __future__ import annotations

from typing import Any, ClassVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from dispatcher.kernels import mix_each, sum_slices

I64s = NDArray[np.int64]
U64s = NDArray[np.uint64]

_ORDER_OF = np.array([max(0, (size - 1).bit_length()) for size in range(4097)], np.int64)


class Columns:
    """Equally long columns, listed as annotations; capacity grows by doubling."""

    types: ClassVar[dict[str, np.dtype[Any]]] = {}

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls.types = {
            name: get_args(hint)[-1]
            for name, hint in hints.items()
            if get_args(hint) and isinstance(get_args(hint)[-1], np.dtype)
        }

    def __init__(self) -> None:
        self.capacity = 0
        for name, dtype in self.types.items():
            setattr(self, name, np.zeros(0, dtype))

    def reserve(self, size: int) -> None:
        """Have at least `size` rows; new ones are zero."""
        if size <= self.capacity:
            return
        capacity = max(1024, 2 * self.capacity, size)
        for name, dtype in self.types.items():
            grown = np.zeros(capacity, dtype)
            grown[: self.capacity] = getattr(self, name)
            setattr(self, name, grown)
        self.capacity = capacity


class Blocks:
    """Consecutive rows for whoever needs several: sizes are rounded up to powers of two, and freed
    blocks are given out again by size."""

    def __init__(self) -> None:
        self.end = 0
        self._free: dict[int, list[int]] = {}

    def take(self, sizes: I64s) -> I64s:
        """Start of a block per size; sizes within 1 to 4096."""
        orders = _ORDER_OF[sizes]
        starts = np.empty(len(sizes), np.int64)
        if len(sizes) and orders.max() == 0:
            return self._take(0, len(sizes))
        for order in np.unique(orders).tolist():
            chosen = orders == order
            starts[chosen] = self._take(order, int(np.count_nonzero(chosen)))
        return starts

    def give(self, starts: I64s, sizes: I64s) -> None:
        """Give blocks back."""
        orders = _ORDER_OF[sizes]
        for order in np.unique(orders).tolist():
            self._free.setdefault(order, []).extend(starts[orders == order].tolist())

    def _take(self, order: int, count: int) -> I64s:
        free = self._free.get(order, [])
        reused = min(count, len(free))
        starts = np.empty(count, np.int64)
        if reused:
            starts[:reused] = free[len(free) - reused :]
            del free[len(free) - reused :]
        fresh = count - reused
        starts[reused:] = self.end + (np.arange(fresh, dtype=np.int64) << order)
        self.end += fresh << order
        return starts


def ranges(starts: I64s, counts: I64s) -> I64s:
    """The row numbers of all slices [start, start + count), one after the other."""
    total = int(counts.sum())
    if total == len(counts) and (total == 0 or counts.min() == 1):
        return starts
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(total, dtype=np.int64)


def offsets(counts: I64s) -> I64s:
    """Where each slice begins when slices of these counts are laid out one after the other."""
    return np.cumsum(counts) - counts


def sums(values: NDArray[Any], counts: I64s) -> I64s:
    """The sum of each of the consecutive slices of these counts; empty slices sum to 0."""
    out = np.empty(len(counts), np.int64)
    sum_slices(values.astype(np.int64), counts, out)
    return out


def mix(digest: U64s, value: NDArray[Any]) -> U64s:
    """Fold another value into digests; equal inputs give equal digests in every process."""
    out = np.empty(len(digest), np.uint64)
    mix_each(digest, value.astype(np.uint64), out)
    return out
