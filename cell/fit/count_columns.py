"""The columns of counters: grown by key, counter and class, repaired for nodes that changed.

Owned by `Neighbours`, which says who counts and where; here is which node is in which domain, and
where things stand. A key has room for some domains more than it has; when that is used up, or
nodes have outgrown the arrays, the owner begins anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.between import Claim
from cell.fit.counters import EVERYWHERE, NODE, Check, Counter, Eligible
from cell.fit.counting import Counts, enroll
from cell.fit.labels import ABSENT, attracted, selected
from cell.fit.spans import Entry, Spans
from cell.fit.static import StaticNodes
from cell.fit.volume_columns import VolumeColumns
from cell.fit.volumes import Attached
from cell.fit.wish_columns import WishColumns
from cell.fit.wishes import Wishes

SPARE_MIN = 8
"""Domains of a key for values to come: so many at least, or one in SPARE_IN."""
SPARE_IN = 8

Rows = NDArray[np.int64]


class CountColumns:
    """See the module. `counts` is what kernels read; it is another one after each growth."""

    def __init__(self, statics: StaticNodes, seats: int = 0) -> None:
        """`seats`: volumes that residents have attached, each as often as it is used."""
        self._statics = statics
        self.nodes = len(statics.names)
        """Nodes that there is room for."""
        self._keys: dict[str, int] = {}
        self._domain_of: list[NDArray[np.int32]] = []
        """By key: the domain of each value id, -1 for none yet."""
        self._used: list[int] = []
        """By key: domains that have a value."""
        self._eligible: dict[Eligible, int] = {}
        self._counters = 0
        self._filled = 0
        """Entries of the pools."""
        self._moves = Spans(np.int32, np.int32)
        self._checks = Spans(np.uint8, np.int32, np.int64, np.int64, np.int64)
        self._volumes = VolumeColumns(statics, seats)
        self._wishes = WishColumns()
        self.counts = _no_counts(self.nodes, self._volumes, self._wishes)

    @property
    def is_crowded(self) -> bool:
        """Whether more volumes are attached than there is good room for."""
        return self._volumes.is_crowded

    def add(self, counter: Counter) -> None:
        """The next counter, which has counted nobody yet."""
        key = self._key(counter.key)
        row = -1 if counter.eligible is None else self._row(counter.eligible)
        number, size = self._counters, int(self.counts.sizes[key])
        self._counters, at = number + 1, self._filled
        self._filled = at + size
        self._grow(_PER_COUNTER, self._counters)
        self._grow(_PER_DOMAIN, self._filled)
        counts = self.counts
        counts.key[number], counts.at[number], counts.row[number] = key, at, row
        counts.is_leaving_counted[number] = counter.is_leaving_counted
        counts.limit_row[number] = -1
        if isinstance(counter, Attached):
            counts.limit_row[number] = self._volumes.add(counter.driver, number)
            self.counts = counts._replace(**self._volumes.fields)
        if row >= 0:
            domains = counts.domain[key][counts.eligible[row]]
            counts.members[at : at + size] = np.bincount(domains, minlength=size + 1)[:size]

    def put_moves(self, klass: int, entries: list[Entry]) -> None:
        """(counter, weight) for each counter in which the class counts."""
        self._moves.put(klass, entries)
        counter, weight = self._moves.columns
        self.counts = self.counts._replace(
            move_at=self._moves.at,
            move_count=self._moves.count,
            move_counter=counter,
            move_weight=weight,
        )

    def add_move(self, klass: int, counter: int, weight: int) -> None:
        """The class counts in one more."""
        self.put_moves(klass, [*self._moves.of(klass), (counter, weight)])

    def put_checks(self, klass: int, checks: list[Check], numbers: dict[Counter, int]) -> None:
        """The conditions of the class, in order."""
        entries: list[Entry] = []
        for c in checks:
            limits = c.skew_max, c.domains_min
            if isinstance(c.counter, Attached):
                limits = self._volumes.want(c.counter.driver, c.volumes)
            entries.append((int(c.reason), numbers[c.counter], int(c.is_self), *limits))
        self._checks.put(klass, entries)
        kind, counter, itself, skew, least = self._checks.columns
        self.counts = self.counts._replace(
            check_at=self._checks.at,
            check_count=self._checks.count,
            check_kind=kind,
            check_counter=counter,
            check_self=itself,
            check_skew=skew,
            check_least=least,
            check_floor=np.zeros_like(least),
            **self._volumes.fields,
        )

    def put_uses(self, klass: int, claims: tuple[Claim, ...]) -> None:
        """The volumes of the class."""
        self._volumes.put_uses(klass, claims)
        self.counts = self.counts._replace(**self._volumes.fields)

    def put_wishes(self, klass: int, wishes: Wishes, numbers: dict[Counter, int]) -> None:
        """What the class wishes of others, and they of it."""
        self._wishes.put(klass, wishes, numbers, self._key)
        self.counts = self.counts._replace(**self._wishes.fields)

    def map_nodes(self, nodes: Rows) -> bool:
        """Look again where these are and in which rows they count; False if there is no room for a
        new domain. What was counted there has been taken out before."""
        counts = self.counts
        enroll(counts, self._counters, nodes, -1)
        for name, key in self._keys.items():
            if name not in (NODE, EVERYWHERE) and not self._map(name, key, nodes):
                return False
        for which, row in self._eligible.items():
            counts.eligible[row, nodes] = self._is_eligible(which, nodes)
        enroll(counts, self._counters, nodes, 1)
        self._volumes.map_nodes(nodes)
        return True

    def _key(self, name: str) -> int:
        key = self._keys.get(name)
        if key is not None:
            return key
        key, known = len(self._keys), np.arange(self._statics.count)
        self._keys[name] = key
        size = self.nodes if name == NODE else 1
        if name not in (NODE, EVERYWHERE):
            column = self._statics.labels.column(self._statics.strings.intern(name))
            values = len(np.unique(column[known]))
            size = values + max(SPARE_MIN, values // SPARE_IN)
        self._grow(("sizes", "domain"), key + 1)
        self.counts.sizes[key] = size
        self._domain_of.append(np.full(0, -1, np.int32))
        self._used.append(0)
        scratch = len(self.counts.sizes), int(self.counts.sizes.max()) + 1
        self.counts = self.counts._replace(bad=np.zeros(scratch, np.uint8), worth=np.zeros(scratch))
        if name in (NODE, EVERYWHERE):
            self.counts.domain[key] = np.arange(self.nodes) if name == NODE else 0
        else:
            self.counts.domain[key] = size
            self._map(name, key, known)
        return key

    def _map(self, name: str, key: int, nodes: Rows) -> bool:
        """domain[key, node] by the nodes' labels; False if a new domain has no room."""
        size, strings = int(self.counts.sizes[key]), self._statics.strings
        values = self._statics.labels.column(strings.intern(name))[nodes]
        has, domains = values != ABSENT, self._domain_of[key]
        top = int(values.max(initial=ABSENT)) + 1
        if top > len(domains):
            domains = np.concatenate([domains, np.full(2 * top - len(domains), -1, np.int32)])
            self._domain_of[key] = domains
        fresh = np.unique(values[has][domains[values[has]] < 0])
        if self._used[key] + len(fresh) > size:
            return False
        domains[fresh] = self._used[key] + np.arange(len(fresh))
        self._used[key] += len(fresh)
        found = np.full(len(nodes), size, np.int32)
        found[has] = domains[values[has]]
        self.counts.domain[key, nodes] = found
        return True

    def _row(self, which: Eligible) -> int:
        row = self._eligible.get(which)
        if row is None:
            row = self._eligible[which] = len(self._eligible)
            self._grow(("eligible",), row + 1)
            known = np.arange(self._statics.count)
            self.counts.eligible[row, known] = self._is_eligible(which, known)
        return row

    def _is_eligible(self, which: Eligible, nodes: Rows) -> NDArray[np.bool_]:
        statics = self._statics
        held = statics.is_present[nodes].copy()
        for name in which.keys:
            held &= statics.labels.column(statics.strings.intern(name))[nodes] != ABSENT
        held &= selected(statics.labels, which.selector, nodes)
        held &= attracted(statics.labels, statics.names, statics.strings, which.affinity, nodes)
        if which.tolerations is not None:
            held &= statics.taints.tolerated(which.tolerations, nodes)
        return held

    def _grow(self, names: tuple[str, ...], length: int) -> None:
        """Columns with room for `length` along their first axis."""
        grown: dict[str, Any] = {}
        for name in names:
            old: NDArray[Any] = getattr(self.counts, name)
            if length > len(old):
                new = np.zeros((max(4, 2 * length), *old.shape[1:]), old.dtype)
                new[: len(old)] = old
                grown[name] = new
        if grown:
            self.counts = self.counts._replace(**grown)


_PER_COUNTER = ("key", "at", "total", "is_leaving_counted", "row", "limit_row")
_PER_DOMAIN = ("pool", "members")


def _no_counts(nodes: int, volumes: VolumeColumns, wishes: WishColumns) -> Counts:
    small, large, bits = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    return Counts(
        domain=np.zeros((0, nodes), np.int32),
        sizes=small,
        key=small,
        at=large,
        pool=large,
        members=small,
        total=large,
        is_leaving_counted=bits,
        row=small,
        eligible=np.zeros((0, nodes), np.bool_),
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
        check_floor=large,
        limit_row=small,
        **volumes.fields,
        **wishes.fields,
        bad=np.zeros((0, 0), np.uint8),
        why=np.zeros(nodes, np.uint8),
        worth=np.zeros((0, 0)),
        pull=np.zeros(nodes, np.int64),
        even=np.zeros(nodes, np.int64),
        cost=np.zeros(nodes),
    )
