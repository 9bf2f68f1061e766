"""Units as rows of an Assign: what is still to be placed of each.

A unit of which nothing has room is one row per group. Of a unit that has some, the replicas that
still wait are told as runs of ordinals, and the minimum is what is missing of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.messages import Assign, ClassDef
from cell.unit import NO_PIN, Assignments
from dispatcher.codes import Phase
from dispatcher.columns import I64s
from dispatcher.table import Table


def rows_of(table: Table, handles: I64s, attempts: NDArray[Any]) -> Assignments:
    """Rows for the units in order; `klass` and `pin` are numbers of the log."""
    units = table.units
    is_untouched = units.bound_us[handles] == 0
    if is_untouched.all():
        return _whole(table, handles, attempts)
    parts = []
    for i in range(len(handles)):
        build = _whole if is_untouched[i] else _rest
        parts.append(build(table, handles[i : i + 1], attempts[i : i + 1]))
    return Assignments.concat(parts)


def count_rows(table: Table, handle: int) -> int:
    """How many rows the waiting rest of a unit takes."""
    return sum(len(first) for _, first, _ in _runs(table, handle))


def message(term: int, rows: Assignments, table: Table, is_sent: NDArray[np.bool_]) -> Assign:
    """The message: pins as its own names, and classes that the session has not had, marked now."""
    classes = np.unique(rows.klass)
    fresh = classes[~is_sent[classes]]
    is_sent[fresh] = True
    defs = tuple(ClassDef(n, table.classes.entries[n]) for n in fresh.tolist())
    pinned = rows.pin != NO_PIN
    if not pinned.any():
        return Assign(term, rows, defs)
    names, position = np.unique(rows.pin[pinned], return_inverse=True)
    pins = rows.pin.copy()
    pins[pinned] = position
    columns = {**rows.__dict__, "pin": pins}
    return Assign(
        term, Assignments(**columns), defs, tuple(table.names.text(n) for n in names.tolist())
    )


def _whole(table: Table, handles: I64s, attempts: NDArray[Any]) -> Assignments:
    units, groups = table.units, table.groups
    counts = units.groups[handles]
    rows = table.group_rows(handles)
    if len(rows) != len(handles):
        handles = np.repeat(handles, counts)
        attempts = np.repeat(attempts, counts)
    group = rows - units.group_at[handles]
    count = groups.count[rows].astype(np.uint32)
    minimum = groups.min[rows].astype(np.uint32)
    return _table(
        table, handles, attempts, group, rows, np.zeros(len(rows), np.uint32), count, minimum
    )


def _rest(table: Table, handles: I64s, attempts: NDArray[Any]) -> Assignments:
    handle = int(handles[0])
    group: list[int] = []
    first: list[int] = []
    count: list[int] = []
    minimum: list[int] = []
    for g, starts, counts in _runs(table, handle):
        row = int(table.units.group_at[handle]) + g
        missing = max(0, int(table.groups.min[row]) - _claimed(table, handle, row))
        for start, length in zip(starts, counts, strict=True):
            group.append(g)
            first.append(start)
            count.append(length)
            minimum.append(min(missing, length))
            missing -= minimum[-1]
    size = len(group)
    groups = np.array(group, np.int64)
    rows = table.units.group_at[handle] + groups
    return _table(
        table,
        np.repeat(handles, size),
        np.repeat(attempts, size),
        groups,
        rows,
        np.array(first, np.uint32),
        np.array(count, np.uint32),
        np.array(minimum, np.uint32),
    )


def _table(
    table: Table,
    handles: I64s,
    attempts: NDArray[Any],
    group: I64s,
    rows: I64s,
    first: NDArray[Any],
    count: NDArray[Any],
    minimum: NDArray[Any],
) -> Assignments:
    units, groups = table.units, table.groups
    return Assignments(
        handle=handles.astype(np.uint32),
        uid_hi=units.uid_hi[handles],
        uid_lo=units.uid_lo[handles],
        revision=units.revision[handles],
        attempt=attempts,
        group=group.astype(np.uint8),
        klass=groups.klass[rows].astype(np.uint32),
        first=first,
        count=count,
        min=minimum,
        priority=units.priority[handles],
        pin=groups.pin[rows],
    )


def _runs(table: Table, handle: int) -> list[tuple[int, list[int], list[int]]]:
    """(group, starts, lengths) of the runs of waiting ordinals."""
    units, found = table.units, []
    for g in range(int(units.groups[handle])):
        row = int(units.group_at[handle]) + g
        waits = table.replicas.phase[_slice(table, handle, row)] == Phase.WAITING
        edges = np.flatnonzero(np.diff(np.concatenate(([False], waits, [False]))))
        if len(edges):
            starts = edges[::2]
            found.append((g, starts.tolist(), (edges[1::2] - starts).tolist()))
    return found


def _claimed(table: Table, handle: int, row: int) -> int:
    part = _slice(table, handle, row)
    rows = np.arange(part.start, part.stop, dtype=np.int64)
    return int(np.count_nonzero(table.is_claim(rows) | (table.replicas.phase[rows] == Phase.DONE)))


def _slice(table: Table, handle: int, row: int) -> slice:
    start = int(table.units.replica_at[handle] + table.groups.offset[row])
    return slice(start, start + int(table.groups.count[row]))
