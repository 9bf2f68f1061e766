"""Neighbours: who is where, as far as rules between replicas read it, and what they say of a class.

Owned by a scheduler's tables and by the binder's ledger, each with its own numbers of classes and
nodes, so that both judge alike. What must hold: each counter is the sum of the residents' weights
over the domains of its key, as nodes and residents are now; `tests/property` compares it with a
recount.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.between import Between
from cell.classes import ClassSpec
from cell.fit.counters import EVERYWHERE, NODE, Check, Counter, Eligible
from cell.fit.counting import Counts, Seats, judge, judge_node, move_all
from cell.fit.labels import ABSENT, attracted, selected
from cell.fit.pod_affinity import Holders, affinity_checks, held_checks, holders
from cell.fit.ports import port_checks
from cell.fit.residents import Residents
from cell.fit.spread import spread_checks
from cell.fit.static import StaticNodes, rules_of
from cell.fit.volumes import Attached, volume_checks
from cell.fit.weighing import weigh
from cell.fit.wish_columns import spans, wish_columns
from cell.fit.wishes import Wanting, Wishes, wantings, wishes_of
from cell.node import ATTACH_PREFIX

Rows = NDArray[np.int64]

SEATS_SPARE = 1 << 16
"""Volumes that nodes may attach before the table of them is made anew."""


class Neighbours:
    """See the module. `columns` is what kernels read; right after `prepare`."""

    def __init__(self, statics: StaticNodes, *, is_scoring: bool = False) -> None:
        self.residents = Residents()
        self.columns = _no_counts()
        self._statics = statics
        self._specs: dict[int, ClassSpec] = {}
        self._counters: dict[Counter, int] = {}
        self._held: list[Holders] = []
        self._keys: dict[str, int] = {}
        self._checks: dict[int, list[Check]] = {}
        self._volumes: dict[str, int] = {}
        self._is_scoring = is_scoring
        """Whether wishes matter: to who places, not to who only judges."""
        self._wanted: list[Wanting] = []
        self._wishes: dict[int, Wishes] = {}
        self._is_stale = False
        """Whether classes, counters or nodes came that the columns do not show."""
        self._changes = 0
        self.assumed: Callable[[], tuple[Rows, Rows]] = _nobody
        """Nodes and classes of replicas that are counted and are no residents yet."""

    @property
    def is_needed(self) -> bool:
        """Whether any class says anything of others."""
        return bool(self._specs)

    def learn(self, klass: int, spec: ClassSpec) -> None:
        """A class under its owner's number; classes that say nothing between replicas are left
        out."""
        if self._specs.get(klass) == spec:
            return
        self._checks.pop(klass, None)
        self._wishes.pop(klass, None)
        if spec.between is None:
            self._specs.pop(klass, None)
            return
        self._specs[klass] = spec
        for counter in holders(spec.between):
            if counter not in self._counters:
                self._held.append(counter)
                self._count(counter)
                self._checks.clear()
        for wanting in wantings(spec.between) if self._is_scoring else ():
            if wanting not in self._counters:
                self._wanted.append(wanting)
                self._count(wanting)
                self._wishes.clear()
        self._is_stale = True

    def has_checks(self, klass: int) -> bool:
        """Whether any rule between replicas says where the class may be."""
        return bool(self._checks_of(klass))

    def has_wishes(self, klass: int) -> tuple[bool, bool]:
        """Whether the class has wishes to be near others or far from them, and to be spread."""
        wishes = self._wishes_of(klass)
        return bool(wishes.pulls), bool(wishes.evens)

    def put(self, nodes: Rows, klasses: Rows, counts: Rows, leaving: Rows) -> None:
        """Residents as they are from now on: so many of a class on a node, some of them leaving."""
        self._moved(nodes, klasses, *self.residents.put(nodes, klasses, counts, leaving))

    def add(self, nodes: Rows, klasses: Rows, counts: Rows, leaving: Rows, generation: int) -> None:
        """Residents come (negative: go)."""
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
        """Replicas come that are no residents yet (negative: go again, or become residents)."""
        self._moved(nodes, klasses, counts, np.zeros_like(counts))

    def prepare(self, klasses: list[int]) -> None:
        """Make the columns right for these classes and for the nodes as they are."""
        for klass in klasses:
            self._checks_of(klass)
            self._wishes_of(klass)
        if self._changes != self._statics.changes:
            self._changes = self._statics.changes
            self._is_stale = self._is_stale or bool(self._counters)
        if self._is_stale or self._is_crowded():
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
        # 1. A node comes. 2. Somebody is on it. 3. The columns have no domain of it yet.
        self._is_stale |= self._changes != self._statics.changes
        if not self._is_stale and len(self.columns.at):
            move_all(self.columns, klasses, nodes, counts, leaving)

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
        self._checks[klass] = checks
        self._is_stale |= bool(checks)
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
        self._is_stale |= bool(wishes.counters)
        return wishes

    def _count(self, counter: Counter) -> None:
        if counter not in self._counters:
            self._counters[counter] = len(self._counters)
            self._is_stale = True

    # Columns

    def _rebuild(self) -> None:
        """All columns afresh, from residents and nodes."""
        self._is_stale = False
        counters = list(self._counters)
        evens = [even for wishes in self._wishes.values() for even in wishes.evens]
        for name in (*(c.key for c in counters), *(even.label for even in evens)):
            if name not in self._keys:
                self._keys[name] = len(self._keys)
        domain, sizes = self._map_domains()
        key = np.array([self._keys[each.key] for each in counters], np.int32)
        lengths = sizes[key].astype(np.int64)
        at = np.cumsum(lengths) - lengths
        rows: dict[Eligible, int] = {}
        for counter in counters:
            if counter.eligible is not None:
                rows.setdefault(counter.eligible, len(rows))
        masks = [self._eligible(each) for each in rows]
        self.columns = Counts(
            domain=domain,
            sizes=sizes,
            key=key,
            at=at,
            pool=np.zeros(int(lengths.sum()), np.int64),
            members=np.zeros(int(lengths.sum()), np.int32),
            total=np.zeros(len(counters), np.int64),
            is_leaving_counted=np.array([c.is_leaving_counted for c in counters], np.bool_),
            row=np.array(
                [-1 if c.eligible is None else rows[c.eligible] for c in counters], np.int32
            ),
            eligible=np.array(masks, np.bool_).reshape(len(masks), domain.shape[1]),
            **self._moves(counters),
            **self._check_columns(),
            **self._volume_columns(counters),
            **wish_columns(self._wishes, self._counters, self._keys),
            bad=np.zeros((len(sizes), int(sizes.max(initial=0)) + 1), np.uint8),
            why=np.zeros(domain.shape[1], np.uint8),
            worth=np.zeros((len(sizes), int(sizes.max(initial=0)) + 1)),
            pull=np.zeros(domain.shape[1], np.int64),
            even=np.zeros(domain.shape[1], np.int64),
            cost=np.zeros(domain.shape[1]),
        )
        self._count_members()
        held = self.residents
        move_all(self.columns, held.klass, held.node, held.count, held.leaving)
        nodes, klasses = self.assumed()
        move_all(self.columns, klasses, nodes, np.ones_like(nodes), np.zeros_like(nodes))

    def _map_domains(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """[key, node] with room for nodes to come, and [key]."""
        count, size = self._statics.count, len(self._statics.names)
        domain = np.zeros((len(self._keys), size), np.int32)
        sizes = np.zeros(len(self._keys), np.int32)
        for name, key in self._keys.items():
            if name in (NODE, EVERYWHERE):
                sizes[key] = size if name == NODE else 1
                domain[key] = np.arange(size) if name == NODE else 0
                continue
            column = self._statics.labels.column(self._statics.strings.intern(name))[:count]
            values, inverse = np.unique(column, return_inverse=True)
            is_lacked = len(values) > 0 and values[0] == ABSENT
            sizes[key] = len(values) - is_lacked
            domain[key] = sizes[key]
            domain[key, :count] = (inverse - 1) % len(values) if is_lacked else inverse
        return domain, sizes

    def _eligible(self, which: Eligible) -> NDArray[np.bool_]:
        statics = self._statics
        rows = np.arange(statics.count)
        held = statics.is_present[rows].copy()
        for name in which.keys:
            held &= statics.labels.column(statics.strings.intern(name))[rows] != ABSENT
        held &= selected(statics.labels, which.selector, rows)
        held &= attracted(statics.labels, statics.names, statics.strings, which.affinity, rows)
        if which.tolerations is not None:
            held &= statics.taints.tolerated(which.tolerations, rows)
        mask = np.zeros(len(statics.names), np.bool_)
        mask[rows] = held
        return mask

    def _count_members(self) -> None:
        """Eligible nodes per domain, for counters that have such."""
        columns = self.columns
        for counter in np.flatnonzero(columns.row >= 0).tolist():
            key, at = columns.key[counter], columns.at[counter]
            size = int(columns.sizes[key])
            domains = columns.domain[key][columns.eligible[columns.row[counter]]]
            counted = np.bincount(domains, minlength=size + 1)[:size]
            columns.members[at : at + size] = counted

    def _is_crowded(self) -> bool:
        """Whether more volumes were attached than were expected."""
        seats = self.columns.seats
        return len(seats.key) > 1 and 2 * int(seats.filled[0]) > len(seats.key)

    def _volume_columns(self, counters: list[Counter]) -> dict[str, Any]:
        """What nodes can attach, and which volumes classes use that somebody counts."""
        drivers = {each.driver: i for i, each in enumerate(counters) if isinstance(each, Attached)}
        limit_row = np.full(len(counters), -1, np.int32)
        limit_row[list(drivers.values())] = np.arange(len(drivers))
        uses: dict[int, list[tuple[int, int]]] = {}
        for klass, spec in self._specs.items():
            claims = spec.between.claims if spec.between is not None and drivers else ()
            counted = [claim for claim in claims if claim.driver in drivers]
            used = {(drivers[each.driver], self._volume(each.name)) for each in counted}
            if used:
                uses[klass] = sorted(used)
        entries = [entry for listed in uses.values() for entry in listed]
        return {
            **spans("use", {klass: len(listed) for klass, listed in uses.items()}),
            "use_counter": np.array([counter for counter, _ in entries], np.int32),
            "use_volume": np.array([volume for _, volume in entries], np.int64),
            "limits": np.array([self._limits(driver) for driver in drivers], np.int64).reshape(
                len(drivers), len(self._statics.names)
            ),
            "limit_row": limit_row,
            "seats": self._seats(uses),
        }

    def _seats(self, uses: dict[int, list[tuple[int, int]]]) -> Seats:
        """An empty table with room for who is there, and some more."""
        size = 1
        if uses:
            per_class = np.zeros(max(uses) + 1, np.int64)
            per_class[list(uses)] = [len(listed) for listed in uses.values()]
            klasses = self.residents.klass
            taken = int(per_class[klasses[klasses < len(per_class)]].sum())
            size = 1 << (4 * taken + SEATS_SPARE).bit_length()
        return Seats(np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(1, np.int64))

    def _volume(self, claim: str) -> int:
        return self._volumes.setdefault(claim, len(self._volumes))

    def _limits(self, driver: str) -> NDArray[np.int64]:
        """[node]: what labels say of how many volumes of the driver a node can attach."""
        statics = self._statics
        column = statics.labels.column(statics.strings.intern(f"{ATTACH_PREFIX}{driver}"))
        values, inverse = np.unique(column, return_inverse=True)
        texts = ["-1" if value == ABSENT else statics.strings.texts[value] for value in values]
        return np.array([int(each) for each in texts], np.int64)[inverse]

    def _moves(self, counters: list[Counter]) -> dict[str, Any]:
        found = {
            klass: _weights(counters, spec.between)
            for klass, spec in self._specs.items()
            if spec.between is not None
        }
        entries = [entry for listed in found.values() for entry in listed]
        return {
            **spans("move", {klass: len(listed) for klass, listed in found.items()}),
            "move_counter": np.array([c for c, _ in entries], np.int32),
            "move_weight": np.array([w for _, w in entries], np.int32),
        }

    def _check_columns(self) -> dict[str, Any]:
        checks = [check for listed in self._checks.values() for check in listed]
        ends = np.cumsum([len(each.volumes) for each in checks], dtype=np.int64).tolist()
        return {
            "wanted": np.array([self._volume(v) for c in checks for v in c.volumes], np.int64),
            **spans("check", {klass: len(listed) for klass, listed in self._checks.items()}),
            "check_kind": np.array([each.reason for each in checks], np.uint8),
            "check_counter": np.array([self._counters[c.counter] for c in checks], np.int32),
            "check_self": np.array([each.is_self for each in checks], np.int64),
            "check_skew": np.array(
                [
                    end - len(c.volumes) if c.volumes else c.skew_max
                    for c, end in zip(checks, ends, strict=True)
                ],
                np.int64,
            ),
            "check_least": np.array(
                [end if c.volumes else c.domains_min for c, end in zip(checks, ends, strict=True)],
                np.int64,
            ),
        }


def _nobody() -> tuple[Rows, Rows]:
    return np.empty(0, np.int64), np.empty(0, np.int64)


def _weights(counters: list[Counter], between: Between) -> list[tuple[int, int]]:
    """(counter, weight) of each counter in which a class counts."""
    weights = ((i, counter.weight(between)) for i, counter in enumerate(counters))
    return [(i, weight) for i, weight in weights if weight]


def _no_counts() -> Counts:
    small, large, bits = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    return Counts(
        domain=small.reshape(0, 0),
        sizes=small,
        key=small,
        at=large,
        pool=large,
        members=small,
        total=large,
        is_leaving_counted=bits,
        row=small,
        eligible=bits.reshape(0, 0),
        move_at=small,
        move_count=small,
        move_counter=small,
        move_weight=small,
        check_at=small,
        check_count=small,
        check_kind=np.zeros(0, np.uint8),
        check_counter=small,
        check_self=large,
        check_skew=large,
        check_least=large,
        wanted=large,
        limits=large.reshape(0, 0),
        limit_row=small,
        use_at=small,
        use_count=small,
        use_counter=small,
        use_volume=large,
        seats=Seats(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64)),
        **wish_columns({}, {}, {}),
        bad=np.zeros((0, 0), np.uint8),
        why=np.zeros(0, np.uint8),
        worth=np.zeros((0, 0)),
        pull=large,
        even=large,
        cost=np.zeros(0),
    )
