"""Why a unit found no node: counted over nodes after the fact, for units that were not placed only.

Reasons per node are those of `cell.fit`: the first static rule that refuses, in kube-scheduler's order,
else every resource that is short. A unit's own reason is the one that room could cure, if there is one.
"""

from __future__ import annotations

import msgspec
import numpy as np

from cell.fit.static import StaticRules, verdicts
from cell.reasons import WAKERS, Reason, Wake
from scheduler.classes import ClassTable
from scheduler.kernels.layout import ANYWHERE
from scheduler.tables import NodeTables


class Refused(msgspec.Struct, frozen=True):
    """So many nodes refused for a reason; `resource` names what was short."""

    reason: Reason
    resource: str
    nodes: int


class Explanation(msgspec.Struct, frozen=True):
    """Why no node took a replica of a class; `argument` is a resource name or a count."""

    reason: Reason
    argument: str | int
    wakes: Wake
    refused: tuple[Refused, ...]


def explain(tables: NodeTables, classes: ClassTable, klass: int, pin: int) -> Explanation:
    """Why a replica of the class, pinned or not, finds no node in the tables as they are."""
    statics = tables.statics
    present = np.flatnonzero(statics.is_present[: tables.count])
    if not len(present):
        return Explanation(Reason.NO_NODES, 0, WAKERS[Reason.NO_NODES], ())
    refused: list[Refused] = []
    rows = present
    if pin != ANYWHERE:
        rows = present[present == pin]
        if len(rows) < len(present):
            refused.append(Refused(Reason.PINNED_NODE, "", len(present) - len(rows)))
    refused += _static(tables, classes.mask(klass).rules, rows)
    passing = rows[classes.mask(klass).read()[rows]]
    refused += _short(tables, classes, klass, passing)
    if not refused:
        return Explanation(Reason.INSUFFICIENT_RESOURCE, "", Wake.ALL, ())
    chief = _chief(refused)
    wakes = Wake.NONE
    for entry in refused:
        wakes |= WAKERS[entry.reason]
    return Explanation(chief.reason, chief.resource or 0, wakes, tuple(refused))


def unknown_profile() -> Explanation:
    """No scheduler here runs the class's profile."""
    return Explanation(Reason.UNKNOWN_PROFILE, 0, WAKERS[Reason.UNKNOWN_PROFILE], ())


def too_few(single: Explanation, fitting: int) -> Explanation:
    """A gang's group found room for `fitting` replicas, fewer than its minimum."""
    return Explanation(
        Reason.GANG_MINIMUM,
        fitting,
        single.wakes | WAKERS[Reason.GANG_MINIMUM],
        single.refused,
    )


def _static(tables: NodeTables, rules: StaticRules, rows: np.ndarray) -> list[Refused]:
    """The first refusing rule of each row, counted per rule."""
    left = np.ones(len(rows), np.bool_)
    refused = []
    for reason, passed in verdicts(tables.statics, rules, rows):
        count = int(np.count_nonzero(left & ~passed))
        if count:
            refused.append(Refused(reason, "", count))
        left &= passed
    return refused


def _short(
    tables: NodeTables, classes: ClassTable, klass: int, rows: np.ndarray
) -> list[Refused]:
    """How many rows lack each resource; a row may lack several."""
    refused = []
    columns = classes.columns
    names = ("pods", *(name for name, _ in classes.specs[klass].demand))
    for j, name in enumerate(names):
        free = tables.columns.free[columns.resource[klass, j]][rows]
        count = int(np.count_nonzero(free < columns.amount[klass, j]))
        if count:
            refused.append(Refused(Reason.INSUFFICIENT_RESOURCE, name, count))
    return refused


def _chief(refused: list[Refused]) -> Refused:
    """The reason to show first: shortage before rules, then the most nodes, then the number."""
    return min(
        refused,
        key=lambda r: (
            r.reason is not Reason.INSUFFICIENT_RESOURCE,
            r.reason is Reason.PINNED_NODE,
            -r.nodes,
            r.reason,
            r.resource,
        ),
    )
