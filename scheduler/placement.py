"""Placement: keeps the keys of classes in use and runs the placing kernel over slices of assignments.

The core calls `place` with rows in order of law; what is returned is already assumed in the tables'
columns. Slots are given to classes as they come and taken from the longest unused.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.classes import ClassTable
from scheduler.kernels.layout import BLOCK, NO_SLOT, Placements, Rows, Slots
from scheduler.kernels.place import place
from scheduler.tables import LOG_SIZE, NodeTables

NEVER = -(1 << 40)
"""`seen` of a slot whose keys were never computed."""
LAG_MIN = 64
_SCAN_NODES_PER_REPAIR = 10
"""A scan of this many nodes costs as much as one repair."""


class Batch(msgspec.Struct, frozen=True):
    """Rows to place by column, `start` delimiting units; classes are local numbers."""

    start: NDArray[np.int64]
    klass: NDArray[np.int32]
    pin: NDArray[np.int32]
    count: NDArray[np.int64]
    min: NDArray[np.int64]


class Placement:
    """Keys per class over one session's node tables."""

    def __init__(self, tables: NodeTables, classes: ClassTable, slots_max: int) -> None:
        self._tables = tables
        self._classes = classes
        self._slots_max = slots_max
        self._slots = _slots(1, len(tables.columns.base))
        self._slot_of = np.full(64, NO_SLOT, np.int32)
        self._used_at = np.zeros(slots_max, np.int64)
        self._mask_at = np.zeros(slots_max, np.int64)
        self._filled = 0
        self._calls = 0

    @property
    def slots_max(self) -> int:
        """Most classes that one call can place."""
        return self._slots_max

    def place(self, batch: Batch) -> Placements:
        """Place units in order and assume what was placed; arrays are cut to what was made."""
        self._calls += 1
        self._fit_arrays()
        slots = self._take_slots(batch.klass)
        replicas = int(batch.count.sum())
        out = Placements(
            row=np.empty(replicas, np.int32),
            node=np.empty(replicas, np.int32),
            index=np.empty(replicas, np.int32),
            got=np.zeros(len(batch.klass), np.int64),
            is_placed=np.zeros(len(batch.start) - 1, np.bool_),
        )
        rows = Rows(batch.start, batch.klass, slots, batch.pin, batch.count, batch.min)
        count = self._tables.padded_count
        lag_max = min(LOG_SIZE, max(LAG_MIN, count // _SCAN_NODES_PER_REPAIR))
        made = place(
            self._tables.columns,
            self._classes.columns,
            self._slots,
            self._tables.log,
            rows,
            out,
            count,
            lag_max,
        )
        return out._replace(row=out.row[:made], node=out.node[:made], index=out.index[:made])

    def _fit_arrays(self) -> None:
        """Follow growth of the tables, and of what classes can demand."""
        if self._slots.keys.shape[1] != len(self._tables.columns.base):
            self._slots = _slots(len(self._slots.klass), len(self._tables.columns.base))
            self._slot_of[:] = NO_SLOT
            self._filled = 0
        if len(self._slot_of) < len(self._classes.specs):
            grown = np.full(2 * len(self._classes.specs), NO_SLOT, np.int32)
            grown[: len(self._slot_of)] = self._slot_of
            self._slot_of = grown
        for klass in self._classes.resolve():
            if self._slot_of[klass] != NO_SLOT:
                self._slots.seen[self._slot_of[klass]] = NEVER

    def _take_slots(self, klass: NDArray[np.int32]) -> NDArray[np.int32]:
        """Slot per row, with masks up to date; NO_SLOT for classes without a profile."""
        present = np.flatnonzero(np.bincount(klass))
        held = self._slot_of[present]
        self._used_at[held[held != NO_SLOT]] = self._calls
        for number in present[held == NO_SLOT].tolist():
            if self._classes.profiles[number] is not None:
                self._give_slot(number)
        changes = self._tables.statics.changes
        held = self._slot_of[present]
        is_stale = (held != NO_SLOT) & (self._mask_at[held] != changes)
        for number in present[is_stale].tolist():
            slot = self._slot_of[number]
            mask = self._classes.mask(number).read()
            self._slots.mask[slot, : len(mask)] = mask
            self._mask_at[slot] = changes
        return self._slot_of[klass]

    def _give_slot(self, klass: int) -> None:
        if self._filled == self._slots_max:
            slot = int(np.argmin(self._used_at))
            self._slot_of[self._slots.klass[slot]] = NO_SLOT
        else:
            slot = self._filled
            self._filled += 1
            if slot == len(self._slots.klass):
                self._grow_slots(min(2 * slot, self._slots_max))
        self._slot_of[klass] = slot
        self._slots.klass[slot] = klass
        self._slots.seen[slot] = NEVER
        self._slots.mask[slot] = False
        self._mask_at[slot] = -1
        self._used_at[slot] = self._calls

    def _grow_slots(self, size: int) -> None:
        new = _slots(size, self._slots.keys.shape[1])
        for before, after in zip(self._slots, new, strict=True):
            after[: len(before)] = before
        self._slots = new


def _slots(size: int, nodes: int) -> Slots:
    return Slots(
        klass=np.zeros(size, np.int32),
        keys=np.full((size, nodes), -1, np.int32),
        tops=np.full((size, nodes // BLOCK), -1, np.int32),
        mask=np.zeros((size, nodes), np.bool_),
        seen=np.full(size, NEVER, np.int64),
    )
