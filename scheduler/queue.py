"""What a scheduler was assigned and has not placed yet: one entry per Assign, in order of arrival.

The core places from the front, unit by unit; a unit's rows are consecutive.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.messages import Assign
from cell.unit import NO_PIN, Assignments, PlanRows
from scheduler.kernels.layout import ANYWHERE
from scheduler.placement import Batch
from scheduler.tables import NodeTables


class Queued(msgspec.Struct):
    """The units of one Assign from `unit` on; the class column has local numbers."""

    term: int
    rows: Assignments
    pins: tuple[str, ...]
    start: NDArray[np.int64]
    klass: NDArray[np.int32]
    want: NDArray[np.int64]
    min: NDArray[np.int64]
    unit: int = 0

    @property
    def is_done(self) -> bool:
        """Whether every unit was placed or refused."""
        return self.unit == len(self.start) - 1

    @property
    def rest(self) -> Assignments:
        """Rows of the units that are left."""
        return self.rows.take(slice(int(self.start[self.unit]), None))

    def batch(self, tables: NodeTables) -> Batch:
        """For kernels: pins are looked up now, because nodes come and go while units wait."""
        if self.pins:
            nodes = [*(tables.statics.node_of(name) for name in self.pins), ANYWHERE]
            pin = np.array(nodes, np.int32)[np.where(self.rows.pin == NO_PIN, -1, self.rows.pin)]
        else:
            pin = np.full(len(self.rows), ANYWHERE, np.int32)
        return Batch(self.start, self.klass, pin, self.want, self.min)


def queued(assign: Assign, classes: NDArray[np.int32]) -> Queued:
    """An Assign ready to place; `classes` maps the stream's class numbers to local ones."""
    rows = assign.rows
    return Queued(
        term=assign.term,
        rows=rows,
        pins=assign.pins,
        start=unit_starts(rows),
        klass=classes[rows.klass],
        want=rows.count.astype(np.int64),
        min=rows.min.astype(np.int64),
    )


def unit_starts(rows: Assignments | PlanRows) -> NDArray[np.int64]:
    """First row of each unit, and the end; int64 [unit + 1]."""
    hi, lo = rows.uid_hi, rows.uid_lo
    is_first = np.ones(len(rows) + 1, np.bool_)
    is_first[1:-1] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
    return np.flatnonzero(is_first)
