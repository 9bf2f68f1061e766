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
    batch: Batch
    least: NDArray[np.uint32]
    """[row]: the minimum of the row's whole group."""
    unit: int = 0

    @property
    def is_done(self) -> bool:
        """Whether every unit was placed or refused."""
        return self.unit == len(self.batch.start) - 1

    @property
    def rest(self) -> Assignments:
        """Rows of the units that are left."""
        return self.rows.take(slice(int(self.batch.start[self.unit]), None))

    def look_up_pins(self, tables: NodeTables) -> None:
        """Find the pinned nodes as the tables are: nodes come and go while units wait."""
        if self.pins:
            nodes = [*(tables.statics.node_of(name) for name in self.pins), ANYWHERE]
            pins = np.where(self.rows.pin == NO_PIN, len(self.pins), self.rows.pin)
            self.batch.pin[:] = np.array(nodes, np.int32)[pins]


def queued(assign: Assign, klass: NDArray[np.int32]) -> Queued:
    """An Assign ready to place; `klass` are its rows' local class numbers."""
    rows = assign.rows
    start, want = unit_starts(rows), rows.count.astype(np.int64)
    pin = np.empty(len(rows), np.int32)
    pin.fill(ANYWHERE)
    batch = Batch(
        start=start,
        total=np.add.reduceat(want, start[:-1]),
        klass=klass,
        pin=pin,
        want=want,
        min=rows.min.astype(np.int64),
    )
    return Queued(assign.term, rows, assign.pins, batch, _group_minima(rows, start))


def _group_minima(rows: Assignments, start: NDArray[np.int64]) -> NDArray[np.uint32]:
    """What is needed of each row's group.

    1. Of a group of four, needed whole, replica 1 is bound. 2. The rest is assigned as two rows,
    with minima 1 and 2. 3. Replica 0 comes to nothing at the binder: two are not enough.
    """
    is_first = np.empty(len(rows), np.bool_)
    is_first[1:] = rows.group[1:] != rows.group[:-1]
    is_first[start[:-1]] = True
    if is_first.all():
        return rows.min
    first = is_first.nonzero()[0]
    sizes = np.diff(np.append(first, len(rows)))
    return np.repeat(np.add.reduceat(rows.min, first), sizes).astype(np.uint32)


def unit_starts(rows: Assignments | PlanRows) -> NDArray[np.int64]:
    """First row of each unit, and the end; int64 [unit + 1]."""
    hi, lo = rows.uid_hi, rows.uid_lo
    is_first = np.empty(len(hi) + 1, np.bool_)
    is_first[0] = is_first[-1] = True
    is_first[1:-1] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
    return is_first.nonzero()[0]
