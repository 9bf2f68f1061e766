"""Counters followed by deltas against a recount, and the kernel's verdicts against a dumb twin."""

from __future__ import annotations

from collections.abc import Mapping
from unittest import mock

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
from cell.fit import count_columns, volume_columns
from cell.fit.neighbours import Neighbours
from cell.fit.static import StaticNodes
from cell.node import ATTACH_PREFIX, NodeSpec, Taint
from cell.node import normalise as node_form
from cell.reasons import Reason
from cell.requirements import Operator, Requirement
from tests.property.beside import ZONES, Walk, come
from tests.unit.fit.tables import put_nodes

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
LIMITS: dict[str, dict[str, int]] = {
    "": {},
    "a": {"d": 1, "e": 2},
    "b": {"d": 2, "e": 1},
    "c": {"d": 0},
}
"""Volumes of each driver that nodes of a zone attach; of the others any number."""


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
Nodes = list[dict[str, str]]
Replicas = list[tuple[int, int, bool]]
"""Node, class, and whether it is leaving."""


@settings(max_examples=250)
@given(
    st.lists(ZONES, min_size=1, max_size=5),
    st.lists(CLASSES, min_size=1, max_size=4),
    st.sampled_from([8, 8, 0]),
    st.sampled_from([1 << 16, 2]),
    st.data(),
)
def test_verdicts_follow_whoever_comes_and_goes(
    zones: list[str], classes: list[ClassSpec], spare: int, seats: int, data: st.DataObject
) -> None:
    """Also nodes that change, come and go; with `spare` 0 the columns have room for no new domain,
    with few seats the table of volumes is soon crowded."""
    walk, learnt = Walk(_node, zones, classes), 0
    with (
        mock.patch.object(count_columns, "SPARE_MIN", spare),
        mock.patch.object(volume_columns, "SEATS_SPARE", seats),
    ):
        for _ in range(data.draw(st.integers(6, 24))):
            learnt = max(learnt, data.draw(st.integers(1, len(classes))))
            walk.learn(learnt)
            walk.step(data, learnt)
            if data.draw(BOOLS):
                _check(walk, learnt)
        walk.learn(len(classes))
        _check(walk, len(classes))


def _check(walk: Walk, learnt: int) -> None:
    walk.neighbours.prepare(list(range(learnt)))
    labels, nodes = walk.labels, range(len(walk.specs))
    for klass in range(learnt):
        mine = walk.classes[klass].between
        assert mine is not None
        want = [_is_allowed(mine, node, labels, walk.replicas, walk.classes) for node in nodes]
        why = walk.neighbours.reasons(klass)
        assert [each == 0 for each in why.tolist()] == want
        assert [walk.neighbours.reason(klass, node) == 0 for node in nodes] == want


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
        come(neighbours, 1, 0, 1, 0)
    neighbours.prepare([0])
    assert neighbours.reason(0, 1) == Reason.TOPOLOGY_SPREAD
    put_nodes(statics, {0: changed})
    neighbours.prepare([0])
    assert neighbours.reason(0, 1) == 0


def test_a_claim_that_classes_know_by_two_drivers_is_a_volume_of_each() -> None:
    statics = StaticNodes()
    put_nodes(statics, {0: _node(0, "a")})
    neighbours = Neighbours(statics)
    of_d, of_e = (_class("n", "x", claims=(Claim(driver, "p"),)) for driver in ("d", "e"))
    two = _class("n", "x", claims=(Claim("e", "q"), Claim("e", "r")))
    for klass, spec in enumerate([of_d, of_e, two]):
        neighbours.learn(klass, spec)
    neighbours.prepare([0, 1, 2])
    come(neighbours, 0, 0, 1, 0)
    assert neighbours.reason(2, 0) == 0
    come(neighbours, 0, 1, 1, 0)
    assert neighbours.reason(2, 0) == Reason.VOLUME_LIMIT


def test_who_was_there_before_a_driver_was_counted_has_its_volumes() -> None:
    statics = StaticNodes()
    put_nodes(statics, {0: _node(0, "a")})
    neighbours = Neighbours(statics)
    neighbours.learn(0, _class("n", "x", ports=(HostPort(80),)))
    neighbours.prepare([0])
    neighbours.learn(1, _class("n", "x", claims=(Claim("d", "p"),)))
    neighbours.learn(2, _class("n", "x", claims=(Claim("d", "q"),)))
    come(neighbours, 0, 1, 1, 0)
    neighbours.prepare([2])
    assert neighbours.reason(2, 0) == Reason.VOLUME_LIMIT


def test_a_crowded_table_of_volumes_loses_nobody() -> None:
    statics = StaticNodes()
    put_nodes(statics, {0: _node(0, ""), 1: _node(1, "b")})
    neighbours = Neighbours(statics)
    many = tuple(Claim("d", f"{number}") for number in range(20))
    for klass, claims in enumerate([many, many[:1], many[1:3]]):
        neighbours.learn(klass, _class("n", "x", claims=claims))
    with mock.patch.object(volume_columns, "SEATS_SPARE", 2):
        neighbours.prepare([0, 1, 2])
        come(neighbours, 0, 0, 1, 0)
        come(neighbours, 1, 1, 1, 0)
        neighbours.prepare([2])
    assert neighbours.reason(2, 1) == Reason.VOLUME_LIMIT


def _node(number: int, zone: str) -> NodeSpec:
    limits = {f"{ATTACH_PREFIX}{driver}": str(limit) for driver, limit in LIMITS[zone].items()}
    labels = {"name": f"n{number}", **({"zone": zone} if zone else {}), **limits}
    return node_form(NodeSpec(f"n{number}", labels=tuple(labels.items())))


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
        and all(
            _is_attached(mine, here, driver, limit)
            for driver, limit in LIMITS[labels[node].get("zone", "")].items()
        )
    )


def _clash(one: Disk, other: Disk) -> bool:
    are_apart = one.hosts and other.hosts and not {*one.hosts} & {*other.hosts}
    is_same = one.name == other.name and not are_apart
    return is_same and not (one.is_read_only and other.is_read_only)


def _is_attached(mine: Between, here: list[Between], driver: str, limit: int) -> bool:
    there = {claim.name for each in here for claim in each.claims if claim.driver == driver}
    wanted = {claim.name for claim in mine.claims if claim.driver == driver}
    return wanted <= there or len(there | wanted) <= limit


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
