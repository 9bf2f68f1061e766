"""Neighbours: who is where, as far as rules between replicas read it, and what they say of a class.

Owned by a scheduler's tables and by the binder's ledger, each with its own numbers of classes and
nodes, so that both judge alike. What must hold: each counter is the sum of the residents' weights
over the domains of its key, as nodes and residents are now; `tests/property` compares it with a
recount. What comes is added and who moves is moved: classes and counters are appended, residents of
a node whose spec changes leave their old domains and enter the new. All is counted anew only when
there is no room left, or when more nodes changed than `StaticNodes` remembers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cell.between import Between
from cell.classes import ClassSpec
from cell.fit.count_columns import CountColumns
from cell.fit.counters import Check, Counter
from cell.fit.counting import Counts, count_all, judge, judge_node, move_all
from cell.fit.pod_affinity import Holders, affinity_checks, held_checks, holders
from cell.fit.ports import port_checks
from cell.fit.residents import BY_CLASS, BY_NODE, Residents
from cell.fit.spread import spread_checks
from cell.fit.static import StaticNodes, rules_of
from cell.fit.volumes import Attached, volume_checks
from cell.fit.weighing import weigh
from cell.fit.wishes import Wanting, Wishes, wantings, wishes_of

Rows = NDArray[np.int64]


class Neighbours:
    """See the module. `columns` is what kernels read; right after `prepare`."""

    def __init__(self, statics: StaticNodes, *, is_scoring: bool = False) -> None:
        self.residents = Residents()
        self._statics = statics
        self._table = CountColumns(statics)
        self._specs: dict[int, ClassSpec] = {}
        self._counters: dict[Counter, int] = {}
        self._held: list[Holders] = []
        self._checks: dict[int, list[Check]] = {}
        self._is_scoring = is_scoring
        """Whether wishes matter: to who places, not to who only judges."""
        self._wanted: list[Wanting] = []
        self._wishes: dict[int, Wishes] = {}
        self._is_stale = False
        """Whether the columns have to be made anew."""
        self._changes = 0
        """Changes of nodes that the columns show."""
        self.assumed: Callable[[], tuple[Rows, Rows]] = _nobody
        """Nodes and classes of replicas that are counted and are no residents yet."""

    @property
    def columns(self) -> Counts:
        """See the class."""
        return self._table.counts

    @property
    def is_needed(self) -> bool:
        """Whether any class says anything of others."""
        return bool(self._specs)

    def learn(self, klass: int, spec: ClassSpec) -> None:
        """A class under its owner's number; classes that say nothing between replicas are left
        out."""
        known = self._specs.get(klass)
        if known == spec or (known is None and spec.between is None):
            return
        self._is_stale |= known is not None or len(self.residents.of(BY_CLASS, _one(klass))) > 0
        self._checks.pop(klass, None)
        self._wishes.pop(klass, None)
        if spec.between is None:
            del self._specs[klass]
            return
        self._specs[klass] = spec
        if not self._is_stale:
            self._table.put_moves(klass, _weights(self._counters, spec.between))
            self._table.put_uses(klass, spec.between.claims)
        for counter in holders(spec.between):
            if counter not in self._counters:
                self._held.append(counter)
                self._count(counter)
                self._check_all(counter)
        for wanting in wantings(spec.between) if self._is_scoring else ():
            if wanting not in self._counters:
                self._wanted.append(wanting)
                self._count(wanting)
                self._wishes.clear()

    def has_checks(self, klass: int) -> bool:
        """Whether any rule between replicas says where the class may be."""
        return bool(self._checks_of(klass))

    def has_wishes(self, klass: int) -> tuple[bool, bool]:
        """Whether the class has wishes to be near others or far from them, and to be spread."""
        wishes = self._wishes_of(klass)
        return bool(wishes.pulls), bool(wishes.evens)

    def put(self, nodes: Rows, klasses: Rows, counts: Rows, leaving: Rows) -> None:
        """Residents as they are from now on: so many of a class on a node, some of them leaving."""
        self._follow_nodes()
        self._moved(nodes, klasses, *self.residents.put(nodes, klasses, counts, leaving))

    def add(self, nodes: Rows, klasses: Rows, counts: Rows, leaving: Rows, generation: int) -> None:
        """Residents come (negative: go)."""
        self._follow_nodes()
        self.residents.add(nodes, klasses, counts, leaving, generation)
        self._moved(nodes, klasses, counts, leaving)

    def recount(
        self, nodes: Rows, klasses: Rows, is_leaving: NDArray[np.bool_], generation: int
    ) -> None:
        """All residents anew, one entry each."""
        held = self.residents
        ones = np.ones_like(nodes)
        held.add(held.node.copy(), held.klass.copy(), -held.count, -held.leaving, generation)
        held.add(nodes, klasses, ones, is_leaving.astype(np.int64), generation)
        self._is_stale = True

    def move(self, nodes: Rows, klasses: Rows, counts: Rows) -> None:
        """Replicas come that are no residents yet (negative: go again, or become residents).

        To be called while `assumed` still tells of them."""
        self._follow_nodes()
        self._moved(nodes, klasses, counts, np.zeros_like(counts))

    def prepare(self, klasses: list[int]) -> None:
        """Make the columns right for these classes and for the nodes as they are."""
        self._follow_nodes()
        for klass in klasses:
            self._checks_of(klass)
            self._wishes_of(klass)
        if self._is_stale or self._table.is_crowded:
            self._rebuild()

    def reasons(self, klass: int) -> NDArray[np.uint8]:
        """Per node 0, or the Reason for which a prepared class may not be there."""
        why = np.zeros(self._statics.count, np.uint8)
        judge(self.columns, klass, len(why), why)
        return why

    def points(self, klass: int, is_feasible: NDArray[np.bool_]) -> tuple[Rows, Rows]:
        """Per feasible node what wishes to be near others, and to be spread, give a prepared class:
        0 to 100."""
        columns, count = self.columns, len(is_feasible)
        columns.why[:count] = 0
        weigh(columns, klass, np.where(is_feasible, 0, -1).astype(np.int32), count)
        return columns.pull[:count].copy(), columns.even[:count].copy()

    def reason(self, klass: int, node: int) -> int:
        """The same for one node."""
        return judge_node(self.columns, klass, node)

    def _moved(self, nodes: Rows, klasses: Rows, counts: Rows, leaving: Rows) -> None:
        if not self._is_stale and self._counters:
            move_all(self.columns, klasses, nodes, counts, leaving)

    # Classes and counters come

    def _checks_of(self, klass: int) -> list[Check]:
        known = self._checks.get(klass)
        if known is not None:
            return known
        spec = self._specs.get(klass)
        checks: list[Check] = []
        if spec is not None and spec.between is not None:
            rules = rules_of(spec, self._statics.strings)
            checks = port_checks(spec.between) + volume_checks(spec.between)
            checks += spread_checks(spec.between, rules)
            checks += affinity_checks(spec.between)
            checks += held_checks(self._held, spec.between)
        for check in checks:
            self._count(check.counter)
        self._put_checks(klass, checks)
        return checks

    def _wishes_of(self, klass: int) -> Wishes:
        known = self._wishes.get(klass)
        if known is not None:
            return known
        spec, wishes = self._specs.get(klass), Wishes()
        if self._is_scoring and spec is not None and spec.between is not None:
            rules = rules_of(spec, self._statics.strings)
            wishes = wishes_of(spec.between, self._wanted, rules)
        for counter in wishes.counters:
            self._count(counter)
        self._wishes[klass] = wishes
        if not self._is_stale:
            self._table.put_wishes(klass, wishes, self._counters)
        return wishes

    def _check_all(self, counter: Holders) -> None:
        """Let the classes that are meant by a new term, and that were looked at, mind it."""
        for klass, checks in list(self._checks.items()):
            between = self._specs[klass].between if klass in self._specs else None
            held = held_checks([counter], between) if between is not None else []
            if held:
                self._put_checks(klass, checks + held)

    def _put_checks(self, klass: int, checks: list[Check]) -> None:
        self._checks[klass] = checks
        if not self._is_stale:
            self._table.put_checks(klass, checks, self._counters)

    def _count(self, counter: Counter) -> None:
        """One more counter, if it is one, with all that it counts."""
        if counter in self._counters:
            return
        self._follow_nodes()
        number = self._counters[counter] = len(self._counters)
        if self._is_stale:
            return
        self._table.add(counter)
        if isinstance(counter, Attached):
            self._count_volumes(counter)
            return
        nodes, klasses = self.assumed()
        for klass, spec in self._specs.items():
            weight = counter.weight(spec.between) if spec.between is not None else 0
            if not weight:
                continue
            self._table.add_move(klass, number, weight)
            held, pairs = self.residents, self.residents.of(BY_CLASS, _one(klass))
            there = held.node[pairs], held.count[pairs], held.leaving[pairs]
            count_all(self.columns, number, weight, *there)
            mine = nodes[klasses == klass]
            count_all(self.columns, number, weight, mine, np.ones_like(mine), np.zeros_like(mine))

    def _count_volumes(self, counter: Attached) -> None:
        """A driver's first volumes are its first class's own; who is there already is counted
        with all others."""
        assumed = set(self.assumed()[1].tolist())
        for klass, spec in self._specs.items():
            claims = spec.between.claims if spec.between is not None else ()
            if any(each.driver == counter.driver for each in claims):
                self._table.put_uses(klass, claims)
                there = self.residents.of(BY_CLASS, _one(klass))
                self._is_stale |= klass in assumed or len(there) > 0

    # Nodes change

    def _follow_nodes(self) -> None:
        """Let residents of nodes that changed leave their domains, and enter those of now."""
        statics = self._statics
        if self._changes == statics.changes:
            return
        changed = statics.changed_since(self._changes)
        self._changes = statics.changes
        if changed is None or self._table.nodes != len(statics.names):
            self._is_stale = True
        elif self._counters and not self._is_stale:
            self._remap(np.unique(np.array(changed, np.int64)))

    def _remap(self, nodes: Rows) -> None:
        held, pairs = self.residents, self.residents.of(BY_NODE, nodes)
        there = held.klass[pairs], held.node[pairs], held.count[pairs], held.leaving[pairs]
        is_changed = np.zeros(self._table.nodes, np.bool_)
        is_changed[nodes] = True
        at, klasses = self.assumed()
        mine = is_changed[at]
        at, klasses = at[mine], klasses[mine]
        ones, none = np.ones_like(at), np.zeros_like(at)
        move_all(self.columns, there[0], there[1], -there[2], -there[3])
        move_all(self.columns, klasses, at, -ones, none)
        if not self._table.map_nodes(nodes):
            self._is_stale = True
            return
        move_all(self.columns, *there)
        move_all(self.columns, klasses, at, ones, none)

    def _rebuild(self) -> None:
        """All columns afresh, from residents and nodes."""
        self._is_stale = False
        self._table = CountColumns(self._statics, self._volumes_there())
        for counter in self._counters:
            self._table.add(counter)
        for klass, spec in self._specs.items():
            if spec.between is not None:
                self._table.put_moves(klass, _weights(self._counters, spec.between))
                self._table.put_uses(klass, spec.between.claims)
        for klass, wishes in self._wishes.items():
            self._table.put_wishes(klass, wishes, self._counters)
        for klass, checks in self._checks.items():
            self._table.put_checks(klass, checks, self._counters)
        held = self.residents
        move_all(self.columns, held.klass, held.node, held.count, held.leaving)
        nodes, klasses = self.assumed()
        move_all(self.columns, klasses, nodes, np.ones_like(nodes), np.zeros_like(nodes))

    def _volumes_there(self) -> int:
        """Volumes of residents, each as often as it is used, where any driver is counted."""
        if not any(isinstance(counter, Attached) for counter in self._counters):
            return 0
        pairs = np.bincount(self.residents.klass)
        using = (
            (klass, len(spec.between.claims))
            for klass, spec in self._specs.items()
            if spec.between is not None and klass < len(pairs)
        )
        return 1 + sum(int(pairs[klass]) * claims for klass, claims in using)


def _nobody() -> tuple[Rows, Rows]:
    return np.empty(0, np.int64), np.empty(0, np.int64)


def _one(number: int) -> Rows:
    return np.array([number], np.int64)


def _weights(counters: dict[Counter, int], between: Between) -> list[tuple[int, ...]]:
    """(counter, weight) of each counter in which a class counts."""
    weights = ((i, counter.weight(between)) for counter, i in counters.items())
    return [(i, weight) for i, weight in weights if weight]
