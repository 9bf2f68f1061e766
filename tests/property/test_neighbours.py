"""Counters followed by deltas against a recount, and the kernel's verdicts against a dumb twin."""

from __future__ import annotations

from collections.abc import Mapping
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.between import (
    Between,
    Claim,
    Disk,
    HostPort,
    PodTerm,
    Selector,
    Spread,
    is_meant,
    is_selected,
)
from cell.classes import ClassSpec, normalise
from cell.fit import count_columns
from cell.fit.counting import move
from cell.fit.neighbours import Neighbours, Rows
from cell.fit.static import StaticNodes
from cell.node import ATTACH_PREFIX, NodeSpec, Taint
from cell.node import normalise as node_form
from cell.reasons import Reason
from cell.requirements import Operator, Requirement
from tests.unit.fit.tables import put_nodes

ZONES = st.sampled_from(["", "a", "b", "c"])
APPS = st.sampled_from(["x", "y"])
KEYS = st.sampled_from(["zone", "name"])


def _selector(app: str) -> tuple[Requirement, ...]:
    return (Requirement("app", Operator.IN, (app,)),)


SELECTORS: st.SearchStrategy[Selector] = st.one_of(
    st.none(), st.just(()), st.builds(_selector, APPS)
)
TERMS = st.builds(PodTerm, KEYS, SELECTORS, st.sampled_from([None, ("n",), ("m", "n")]))
SPREADS = st.builds(Spread, KEYS, st.integers(1, 2), SELECTORS, domains_min=st.integers(1, 3))
PORTS = st.builds(HostPort, st.just(80), st.sampled_from(["TCP", "UDP"]))
CLAIMS = st.builds(
    Claim, st.sampled_from(["", "d", "e"]), st.sampled_from(["p", "q", "r"]), st.booleans()
)
DISKS = st.builds(
    Disk,
    st.just("rbd"),
    st.sampled_from(["p", "q"]),
    st.sampled_from([(), ("a",), ("a", "b"), ("b",)]),
    st.booleans(),
)
LIMITS = {"d": 1, "e": 2}
"""Volumes of each driver that nodes of a zone attach; the others any number."""


def _class(namespace: str, app: str, **rules: object) -> ClassSpec:
    made = Between(namespace, (("app", app),), **rules)  # type: ignore[arg-type]
    return normalise(ClassSpec(between=made))


CLASSES = st.builds(
    _class,
    st.sampled_from(["n", "m"]),
    APPS,
    affinity=st.lists(TERMS, max_size=2).map(tuple),
    anti_affinity=st.lists(TERMS, max_size=2).map(tuple),
    spread=st.lists(SPREADS, max_size=2).map(tuple),
    ports=st.lists(PORTS, max_size=1).map(tuple),
    claims=st.lists(CLAIMS, max_size=2).map(tuple),
    disks=st.lists(DISKS, max_size=1).map(tuple),
)
BOOLS: st.SearchStrategy[bool] = st.booleans()
STEPS = st.sampled_from(
    ["node", "node", "node", "comes", "comes", "comes", "planned", "planned", "goes", "covered"]
)
Nodes = list[dict[str, str]]
Replicas = list[tuple[int, int, bool]]
"""Node, class, and whether it is leaving."""


@settings(max_examples=250)
@given(
    st.lists(ZONES, min_size=1, max_size=5),
    st.lists(CLASSES, min_size=1, max_size=4),
    st.sampled_from([8, 8, 0]),
    st.data(),
)
def test_verdicts_follow_whoever_comes_and_goes(
    zones: list[str], classes: list[ClassSpec], spare: int, data: st.DataObject
) -> None:
    """Also nodes that change, come and go; with `spare` 0 the columns have room for no new domain.

    Some replicas are assumed: counted before they are residents.
    """
    cluster, learnt = _Cluster(zones, classes), 0
    with mock.patch.object(count_columns, "SPARE_MIN", spare):
        for _ in range(data.draw(st.integers(6, 24))):
            learnt = max(learnt, data.draw(st.integers(1, len(classes))))
            cluster.learn(learnt)
            cluster.step(data, learnt)
            if data.draw(BOOLS):
                cluster.check(learnt)
        cluster.learn(len(classes))
        cluster.check(len(classes))


class _Cluster:
    """Neighbours, and beside them what they were told."""

    def __init__(self, zones: list[str], classes: list[ClassSpec]) -> None:
        self.statics = StaticNodes()
        self.specs: list[NodeSpec | None] = []
        self.neighbours = Neighbours(self.statics)
        self.neighbours.assumed = self.assumed
        self.classes = classes
        self.there = list[tuple[int, int, bool]]()
        self.planned = list[tuple[int, int]]()
        for node, zone in enumerate(zones):
            self.put_node(node, zone)

    def assumed(self) -> tuple[Rows, Rows]:
        pairs = np.array(self.planned, np.int64).reshape(-1, 2)
        return pairs[:, 0].copy(), pairs[:, 1].copy()

    def learn(self, learnt: int) -> None:
        for klass in range(learnt):
            self.neighbours.learn(klass, self.classes[klass])

    def put_node(self, node: int, zone: str | None) -> None:
        """The node as it is from now on, under a name of its own; None: it is gone."""
        self.specs[node:] = [
            None if zone is None else _node(self.statics.changes, zone),
            *self.specs[node + 1 :],
        ]
        put_nodes(self.statics, {node: self.specs[node]})

    def step(self, data: st.DataObject, learnt: int) -> None:
        node = data.draw(st.integers(0, len(self.specs) - 1))
        klass = data.draw(st.integers(0, learnt - 1))
        match data.draw(STEPS):
            case "node":
                at = data.draw(st.integers(0, len(self.specs)))
                self.put_node(at, data.draw(st.one_of(st.none(), ZONES)))
            case "comes":
                is_leaving = data.draw(BOOLS)
                self.there.append((node, klass, is_leaving))
                _move(self.neighbours, node, klass, 1, int(is_leaving))
            case "goes" if self.there:
                node, klass, is_leaving = self.there.pop()
                _move(self.neighbours, node, klass, -1, -int(is_leaving))
            case "planned":
                self.neighbours.prepare([klass])
                move(self.neighbours.columns, klass, node, 1, 0)
                self.planned.append((node, klass))
            case "covered" if self.planned:
                node, klass = self.planned[0]
                self.neighbours.move(*(np.array([each]) for each in (node, klass, -1)))
                self.planned.pop(0)

    def check(self, learnt: int) -> None:
        self.neighbours.prepare(list(range(learnt)))
        labels = [dict(each.labels) if each else {} for each in self.specs]
        there = self.there + [(node, klass, False) for node, klass in self.planned]
        for klass in range(learnt):
            mine = self.classes[klass].between
            assert mine is not None
            nodes = range(len(self.specs))
            want = [_is_allowed(mine, node, labels, there, self.classes) for node in nodes]
            why = self.neighbours.reasons(klass)
            assert [each == 0 for each in why.tolist()] == want
            assert [self.neighbours.reason(klass, node) == 0 for node in nodes] == want


@pytest.mark.parametrize(
    "changed",
    [
        NodeSpec("n0", labels=(("zone", "b"),)),
        NodeSpec("n0", labels=(("zone", "a"),), taints=(Taint("x", "", "NoSchedule"),)),
        None,
    ],
    ids=["its only node is in another now", "its only node is tainted", "its only node is gone"],
)
def test_a_zone_that_no_node_counts_for_is_not_the_emptiest(changed: NodeSpec | None) -> None:
    """Two replicas are in b and none in a: a third may come to b once a is none."""
    statics = StaticNodes()
    put_nodes(statics, {0: _node(0, "a"), 1: _node(1, "b")})
    neighbours = Neighbours(statics)
    spread = Spread("zone", 1, _selector("x"), are_taints_honoured=True)
    neighbours.learn(0, _class("n", "x", spread=(spread,)))
    for _ in range(2):
        _move(neighbours, 1, 0, 1, 0)
    neighbours.prepare([0])
    assert neighbours.reason(0, 1) == Reason.TOPOLOGY_SPREAD
    put_nodes(statics, {0: changed})
    neighbours.prepare([0])
    assert neighbours.reason(0, 1) == 0


def _node(number: int, zone: str) -> NodeSpec:
    labels = {"name": f"n{number}"}
    if zone:
        limits = {f"{ATTACH_PREFIX}{driver}": str(limit) for driver, limit in LIMITS.items()}
        labels |= {"zone": zone, **limits}
    return node_form(NodeSpec(f"n{number}", labels=tuple(labels.items())))


def _move(neighbours: Neighbours, node: int, klass: int, count: int, leaving: int) -> None:
    at, of, many, gone = (np.array([each], np.int64) for each in (node, klass, count, leaving))
    neighbours.add(at, of, many, gone, generation=1)


def _is_allowed(
    mine: Between, node: int, labels: Nodes, there: Replicas, classes: list[ClassSpec]
) -> bool:
    """The rules as prose would have them, by scanning all replicas."""
    others = [(n, classes[k].between or Between(), leaving) for n, k, leaving in there]
    here = [between for n, between, _ in others if n == node]
    ports = {port for between in here for port in between.ports}
    return (
        not ports & {*mine.ports}
        and _is_drawn(mine, labels[node], labels, others)
        and not any(_has(term, labels[node], labels, others) for term in mine.anti_affinity)
        and not any(
            _shares(term.key, labels[node], labels[n])
            and is_meant(term, mine.namespace, dict(mine.labels))
            for n, between, _ in others
            for term in between.anti_affinity
        )
        and all(_is_even(mine, each, node, labels, others) for each in mine.spread)
        and not {c.name for c in mine.claims if c.is_alone}
        & {claim.name for _, between, _ in others for claim in between.claims}
        and not any(_clash(one, other) for one in mine.disks for b in here for other in b.disks)
        and ("zone" not in labels[node] or all(_is_attached(mine, here, d) for d in LIMITS))
    )


def _clash(one: Disk, other: Disk) -> bool:
    are_apart = one.hosts and other.hosts and not {*one.hosts} & {*other.hosts}
    is_same = one.name == other.name and not are_apart
    return is_same and not (one.is_read_only and other.is_read_only)


def _is_attached(mine: Between, here: list[Between], driver: str) -> bool:
    there = {claim.name for each in here for claim in each.claims if claim.driver == driver}
    wanted = {claim.name for claim in mine.claims if claim.driver == driver}
    return wanted <= there or len(there | wanted) <= LIMITS[driver]


Others = list[tuple[int, Between, bool]]


def _shares(key: str, one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return key in one and one[key] == other.get(key)


def _means(term: PodTerm, between: Between) -> bool:
    return is_meant(term, between.namespace, dict(between.labels))


def _has(term: PodTerm, here: Mapping[str, str], labels: Nodes, others: Others) -> bool:
    return any(
        _shares(term.key, here, labels[n]) and _means(term, between) for n, between, _ in others
    )


def _is_drawn(mine: Between, here: Mapping[str, str], labels: Nodes, others: Others) -> bool:
    terms = mine.affinity
    if not terms:
        return True
    if any(term.key not in here for term in terms):
        return False
    meant = [(n, b) for n, b, _ in others if all(_means(term, b) for term in terms)]
    seen = [n for n, _ in meant if any(term.key in labels[n] for term in terms)]
    if not seen and all(_means(term, mine) for term in terms):
        return True
    return all(any(_shares(term.key, here, labels[n]) for n, _ in meant) for term in terms)


def _is_even(mine: Between, spread: Spread, node: int, labels: Nodes, others: Others) -> bool:
    keys = [each.key for each in mine.spread]
    if spread.key not in labels[node]:
        return False
    eligible = [n for n in range(len(labels)) if all(key in labels[n] for key in keys)]
    counts = {labels[n][spread.key]: 0 for n in eligible}
    for n, between, is_leaving in others:
        is_counted = n in eligible and not is_leaving and between.namespace == mine.namespace
        if is_counted and spread.selector and is_selected(spread.selector, dict(between.labels)):
            counts[labels[n][spread.key]] += 1
    least = min(counts.values(), default=0) if len(counts) >= spread.domains_min else 0
    itself = int(is_selected(spread.selector, dict(mine.labels)))
    return counts.get(labels[node][spread.key], 0) + itself - least <= spread.max_skew


def test_kinds_of_checks_are_reasons() -> None:
    from cell.fit import counting

    kinds = (
        counting.R_PORT,
        counting.R_AFFINITY,
        counting.R_ANTI_AFFINITY,
        counting.R_HELD,
        counting.R_SPREAD,
        counting.R_CLAIM,
        counting.R_DISK,
        counting.R_VOLUMES,
    )
    assert kinds == (
        Reason.HOST_PORT,
        Reason.POD_AFFINITY,
        Reason.POD_ANTI_AFFINITY,
        Reason.HELD_ANTI_AFFINITY,
        Reason.TOPOLOGY_SPREAD,
        Reason.CLAIM_IN_USE,
        Reason.DISK_IN_USE,
        Reason.VOLUME_LIMIT,
    )
