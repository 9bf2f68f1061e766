"""Why a unit found no node: counted over nodes after the fact, for units that got nothing only.

Reasons per node are those of `cell.fit`: the first static rule that refuses, in kube-scheduler's
order, else every resource that is short. A unit's own reason is the one that room could cure, if
there is one; its wakes are all that could cure any.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.classes import demanded
from cell.fit.pinned import pinned
from cell.fit.static import StaticRules, verdicts
from cell.reasons import WAKERS, Reason, Wake
from scheduler.classes import ClassTable
from scheduler.kernels.layout import ANYWHERE
from scheduler.tables import NodeTables

Rows = NDArray[np.int64]


class Refused(msgspec.Struct, frozen=True):
    """So many nodes refused for a reason; `resource` names what was short."""

    reason: Reason
    nodes: int
    resource: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """Why a unit got nothing; `argument` is a name or a count."""

    reason: Reason
    argument: str | int
    refused: tuple[Refused, ...] = ()

    @property
    def wakes(self) -> Wake:
        """All that could cure a refusal."""
        wakes = WAKERS[self.reason]
        for entry in self.refused:
            wakes |= WAKERS[entry.reason]
        return wakes


class Explainer:
    """Explains over one session's node tables; keeps what the static rules say of classes."""

    def __init__(self, tables: NodeTables, classes: ClassTable) -> None:
        self._tables = tables
        self._classes = classes
        self._static: dict[StaticRules, list[Refused]] = {}
        self._changes = -1

    def unit(self, klass: int, pin: int, got: int) -> Explanation:
        """Why a unit got nothing: `got` replicas of the class found room, too few."""
        profile = self._classes.profiles[klass]
        if profile is None:
            return Explanation(Reason.UNKNOWN_PROFILE, self._classes.specs[klass].profile)
        statics = self._tables.statics
        present = np.flatnonzero(statics.is_present[: statics.count])
        if not len(present):
            return Explanation(Reason.NO_NODES, 0)
        refused = self._by_rules(klass, present) if pin == ANYWHERE else []
        rows = present
        if pin != ANYWHERE:
            rows = present[pinned(pin, present)]
            refused = _counted(Reason.PINNED_NODE, len(present) - len(rows))
            refused += self._first_refusals(self._classes.mask(klass).rules, rows)
        short, left = self._short(klass, rows)
        beside, fitting = self._beside(klass, left)
        refused += short + beside
        if got or (fitting and profile.is_fused):
            return Explanation(Reason.GANG_MINIMUM, got, tuple(refused))
        if fitting:
            return Explanation(Reason.PROFILE, profile.name, tuple(refused))
        chief = min(refused, key=_rank)
        return Explanation(chief.reason, chief.resource or 0, tuple(refused))

    def _by_rules(self, klass: int, present: Rows) -> list[Refused]:
        """What the static rules say of all nodes: kept until a node's spec changes."""
        changes = self._tables.statics.changes
        if self._changes != changes:
            self._static.clear()
            self._changes = changes
        rules = self._classes.mask(klass).rules
        known = self._static.get(rules)
        if known is None:
            known = self._static[rules] = self._first_refusals(rules, present)
        return list(known)

    def _first_refusals(self, rules: StaticRules, rows: Rows) -> list[Refused]:
        """The first refusing rule of each row, counted per rule."""
        left = np.ones(len(rows), np.bool_)
        refused = []
        for reason, passed in verdicts(self._tables.statics, rules, rows):
            refused += _counted(reason, int(np.count_nonzero(left & ~passed)))
            left &= passed
        return refused

    def _short(self, klass: int, rows: Rows) -> tuple[list[Refused], Rows]:
        """How many passing rows lack each resource, one row maybe several; those that lack none."""
        rows = rows[self._classes.mask(klass).read()[rows]]
        is_fitting = np.ones(len(rows), np.bool_)
        columns = self._classes.columns
        refused = []
        for j, (name, amount) in enumerate(demanded(self._classes.specs[klass])):
            is_short = self._tables.columns.free[columns.resource[klass, j]][rows] < amount
            refused += _counted(Reason.INSUFFICIENT_RESOURCE, int(np.count_nonzero(is_short)), name)
            is_fitting &= ~is_short
        return refused, rows[is_fitting]

    def _beside(self, klass: int, rows: Rows) -> tuple[list[Refused], int]:
        """How many rows with room the rules between replicas refuse, and how many they do not."""
        self._classes.look_around([klass])
        why = self._tables.neighbours.reasons(klass)[rows]
        reasons, nodes = np.unique(why[why != 0], return_counts=True)
        refused = [
            Refused(Reason(reason), count)
            for reason, count in zip(reasons.tolist(), nodes.tolist(), strict=True)
        ]
        return refused, int(np.count_nonzero(why == 0))


def _counted(reason: Reason, nodes: int, resource: str = "") -> list[Refused]:
    return [Refused(reason, nodes, resource)] if nodes else []


def _rank(refused: Refused) -> tuple[bool, bool, int, int, str]:
    """Order of reasons to show: shortage before rules, then the most nodes, then the number."""
    return (
        refused.reason is not Reason.INSUFFICIENT_RESOURCE,
        refused.reason is Reason.PINNED_NODE,
        -refused.nodes,
        refused.reason,
        refused.resource,
    )
