"""Verdicts: what the rules say of every node for one class, by node, as `explain` counts them.

For what-if questions, where each node is shown. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec, demanded
from cell.fit.pinned import pinned
from cell.fit.static import verdicts
from cell.reasons import Reason, text
from scheduler.classes import ClassTable
from scheduler.framework.plugin import View
from scheduler.framework.profiles import WISHED_COUNT, Profile
from scheduler.hooked import Hooked
from scheduler.kernels.layout import ANYWHERE
from scheduler.tables import NodeTables

TOTAL = "total"


class Verdicts(msgspec.Struct, frozen=True):
    """`feasible` in order of node numbers; `scores` by feasible node and plugin, `reasons` by the
    other nodes."""

    feasible: tuple[str, ...]
    scores: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, tuple[str, ...]]


def verdicts_of(tables: NodeTables, classes: ClassTable, klass: int, pin: int) -> Verdicts:
    """What the rules say of the present nodes, for a replica of the class."""
    statics = tables.statics
    present = np.flatnonzero(statics.is_present[: statics.count])
    why: dict[int, list[str]] = {}
    left = present
    if pin != ANYWHERE:
        left = _kept(why, left, pinned(pin, left), Reason.PINNED_NODE)
    for reason, passed in verdicts(statics, classes.mask(klass).rules, present):
        left = _kept(why, left, passed[np.searchsorted(present, left)], reason)
    left = _with_room(tables, classes, klass, left, why)
    classes.look_around([klass])
    beside = tables.neighbours.reasons(klass)
    for node in left.tolist():
        if beside[node]:
            why[node] = [text(int(beside[node]))]
    names = _names(tables, present)
    feasible = np.array([node for node in left.tolist() if node not in why], np.int64)
    return Verdicts(
        tuple(names[node] for node in feasible.tolist()),
        _scores(tables, classes, klass, feasible, names),
        {names[node]: tuple(said) for node, said in why.items()},
    )


def _kept(
    why: dict[int, list[str]],
    rows: NDArray[np.int64],
    passed: NDArray[np.bool_],
    reason: Reason,
) -> NDArray[np.int64]:
    """The rows that pass; the reason is noted for the others."""
    why.update((node, [text(reason)]) for node in rows[~passed].tolist())
    return rows[passed]


def _with_room(
    tables: NodeTables,
    classes: ClassTable,
    klass: int,
    rows: NDArray[np.int64],
    why: dict[int, list[str]],
) -> NDArray[np.int64]:
    """The rows with room; every resource that is short is noted for the others."""
    columns = classes.columns
    has_room = np.ones(len(rows), np.bool_)
    for j, (name, amount) in enumerate(demanded(classes.specs[klass])):
        is_short = tables.columns.free[columns.resource[klass, j]][rows] < amount
        has_room &= ~is_short
        for node in rows[is_short].tolist():
            why.setdefault(node, []).append(text(Reason.INSUFFICIENT_RESOURCE, name))
    return rows[has_room]


def _scores(
    tables: NodeTables,
    classes: ClassTable,
    klass: int,
    rows: NDArray[np.int64],
    names: Mapping[int, str],
) -> dict[str, dict[str, int]]:
    """Each plugin's points before its weight, and the weighted total."""
    profile = classes.profiles[klass]
    if profile is None:
        return {}
    scores: dict[str, dict[str, int]] = {names[node]: {TOTAL: 0} for node in rows.tolist()}
    found = _hooked_points(Hooked(tables, classes).view(rows), classes.specs[klass], profile)
    found += [(name, weight, each[rows]) for name, weight, each in classes.gains(klass).points()]
    found += _wished_points(tables, klass, rows, profile)
    for name, weight, points in found:
        for node, each in zip(rows.tolist(), points.tolist(), strict=True):
            scores[names[node]][name] = each
            scores[names[node]][TOTAL] += weight * each
    return scores


def _hooked_points(
    view: View, spec: ClassSpec, profile: Profile
) -> list[tuple[str, int, NDArray[np.int64]]]:
    """Name, weight and points of the scores that look at what is left of nodes."""
    feasible = np.ones(len(view.names), np.bool_)
    found = []
    for plugin, weight in profile.scores:
        points = np.zeros(len(view.names), np.int64)
        if plugin.is_about(spec):
            plugin.score(view, spec, feasible, points)
        found.append((plugin.name, weight, points))
    return found


def _wished_points(
    tables: NodeTables, klass: int, rows: NDArray[np.int64], profile: Profile
) -> list[tuple[str, int, NDArray[np.int64]]]:
    """The same of wishes between replicas; classes were looked around for."""
    points = np.zeros((WISHED_COUNT, tables.count), np.int64)
    if tables.neighbours.is_needed:
        is_feasible = np.zeros(tables.count, np.bool_)
        is_feasible[rows] = True
        points[:] = tables.neighbours.points(klass, is_feasible)
    return [(plugin.name, weight, points[plugin.wished, rows]) for plugin, weight in profile.wishes]


def _names(tables: NodeTables, rows: NDArray[np.int64]) -> dict[int, str]:
    texts = tables.statics.strings.texts
    return {node: texts[tables.statics.names[node]] for node in rows.tolist()}
