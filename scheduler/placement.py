"""Placement: runs the placing kernel over assigned units, and the hooks where a profile needs them.

The core calls `place` with units in order of law; what is returned is already taken from the
tables' columns, whole units up to a limit.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.classes import ClassTable
from scheduler.hooked import Hooked
from scheduler.kernels.layout import (
    HOOKED,
    MADE,
    SPENT,
    UNIT,
    Limits,
    Placements,
    Rows,
)
from scheduler.kernels.place import place
from scheduler.slots import ClassSlots
from scheduler.tables import LOG_SIZE, NodeTables

LAG_MIN = 64
_SCAN_NODES_PER_REPAIR = 6
"""A scan of this many nodes costs as much as one repair."""


class Batch(msgspec.Struct, frozen=True):
    """Units by row, `start` delimiting them; classes are local numbers, pins node indices."""

    start: NDArray[np.int64]
    total: NDArray[np.int64]
    """[unit]: at most so many replicas."""
    klass: NDArray[np.int32]
    pin: NDArray[np.int32]
    want: NDArray[np.int64]
    min: NDArray[np.int64]


class Placed(msgspec.Struct, frozen=True):
    """What became of the units before `unit`; `out` has what was made, `spent` is estimated ns."""

    unit: int
    spent: int
    out: Placements


class Placement:
    """Places over one session's node tables."""

    def __init__(self, tables: NodeTables, classes: ClassTable, slots_max: int) -> None:
        self._tables = tables
        self._classes = classes
        self._slots = ClassSlots(tables, classes, slots_max)
        self._hooked = Hooked(tables, classes)
        self._calls = 0

    def place(self, batch: Batch, unit: int, rows_max: int, spent_max: int) -> Placed:
        """Place units from `unit` on, at least one of them.

        No further unit is begun when the estimated nanoseconds are spent, and none that could make
        more than `rows_max` placements.
        """
        self._calls += 1
        units, present = self._units_at_once(batch, unit)
        lo, hi = batch.start[unit], batch.start[units]
        self._classes.look_around(present.tolist())
        slot = np.empty(len(batch.klass), np.int32)
        cost = self._slots.hold(present, self._calls)
        slot[lo:hi] = self._slots.of(batch.klass[lo:hi])
        rows = Rows(batch.start, batch.total, batch.klass, slot, batch.pin, batch.want, batch.min)
        padded = self._tables.padded_count
        limits = Limits(
            nodes=padded,
            lag_max=min(LOG_SIZE, max(LAG_MIN, padded // _SCAN_NODES_PER_REPAIR)),
            first=unit,
            units=units,
            rows_max=rows_max,
            spent_max=spent_max,
            call=self._calls,
        )
        size = max(rows_max, int(batch.total[unit:units].max()))
        out = Placements(
            row=np.empty(size, np.int32),
            node=np.empty(size, np.int32),
            nth=np.empty(size, np.int32),
            got=np.zeros(len(batch.klass), np.int64),
            short=np.empty(len(batch.start) - 1, np.int32),
        )
        progress = np.array([unit, 0, cost], np.int64)
        self._run(rows, out, progress, limits)
        made = int(progress[MADE])
        cut = out._replace(row=out.row[:made], node=out.node[:made], nth=out.nth[:made])
        return Placed(int(progress[UNIT]), int(progress[SPENT]), cut)

    def _run(
        self, rows: Rows, out: Placements, progress: NDArray[np.int64], limits: Limits
    ) -> None:
        tables, slots = self._tables, self._slots.columns
        counts = tables.neighbours.columns
        units = rows, out, progress, limits
        shared = tables.columns, self._classes.columns, counts, slots, tables.log
        while place(*shared, *units) == HOOKED:
            self._hooked.place_unit(slots, rows, out, progress, limits)

    def _units_at_once(self, batch: Batch, unit: int) -> tuple[int, NDArray[np.int64]]:
        """End of the units from `unit` on whose classes have slots for all of them, and their
        distinct classes."""
        lo, end = int(batch.start[unit]), len(batch.start) - 1
        klass = batch.klass[lo:]
        present = np.bincount(klass).nonzero()[0]
        if len(present) > self._slots.slots_max:
            first = np.sort(np.unique(klass, return_index=True)[1])
            row = lo + int(first[self._slots.slots_max])
            end = int(np.searchsorted(batch.start, row, side="right")) - 1
            present = np.bincount(batch.klass[lo : batch.start[end]]).nonzero()[0]
        return end, present
