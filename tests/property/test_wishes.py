"""What wishes between replicas are worth, against a dumb twin that scans all replicas, and placing
by them against placing one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.between import Between, PodTerm, PodWish, Spread, is_meant, is_selected
from cell.classes import ClassSpec, normalise
from cell.fit import count_columns
from cell.fit.neighbours import Neighbours
from cell.fit.static import StaticNodes
from cell.node import HOSTNAME_LABEL, NodeSpec
from cell.node import normalise as node_form
from cell.requirements import Operator, Requirement
from tests.property.beside import ZONES, Walk, come
from tests.unit.fit.tables import put_nodes

APPS = st.sampled_from(["x", "y"])
KEYS = st.sampled_from(["zone", HOSTNAME_LABEL])


def _selector(app: str) -> tuple[Requirement, ...]:
    return (Requirement("app", Operator.IN, (app,)),)


SELECTORS = st.one_of(st.just(()), st.builds(_selector, APPS))
TERMS = st.builds(PodTerm, KEYS, SELECTORS, st.sampled_from([None, ("n",), ("m", "n")]))
WEIGHTS = st.sampled_from([-100, -7, 1, 3, 50])
SPREADS = st.builds(
    Spread,
    KEYS,
    st.integers(1, 3),
    SELECTORS,
    is_required=st.just(False),
    are_keys_needed=st.sampled_from([True, True, False]),
)


def _class(namespace: str, app: str, **rules: object) -> ClassSpec:
    made = Between(namespace, (("app", app),), **rules)  # type: ignore[arg-type]
    return normalise(ClassSpec(between=made))


CLASSES = st.builds(
    _class,
    st.sampled_from(["n", "m"]),
    APPS,
    affinity=st.lists(TERMS, max_size=1).map(tuple),
    wishes=st.lists(st.builds(PodWish, WEIGHTS, TERMS), max_size=3).map(tuple),
    spread=st.lists(SPREADS, max_size=2).map(tuple),
)
Labels = list[Mapping[str, str]]
Others = list[tuple[int, Between, bool]]
"""Node, what the replica says, and whether it is leaving."""


@settings(max_examples=250)
@given(
    st.lists(ZONES, min_size=1, max_size=6),
    st.lists(CLASSES, min_size=1, max_size=4),
    st.sampled_from([8, 8, 0]),
    st.data(),
)
def test_what_nodes_are_worth_follows_whoever_comes_and_goes(
    zones: list[str], classes: list[ClassSpec], spare: int, data: st.DataObject
) -> None:
    """Also nodes that change, come and go; with `spare` 0 the columns have room for no new
    domain."""
    walk, learnt = Walk(_node, zones, classes, is_scoring=True), 0
    with mock.patch.object(count_columns, "SPARE_MIN", spare):
        for _ in range(data.draw(st.integers(1, 16))):
            learnt = max(learnt, data.draw(st.integers(1, len(classes))))
            walk.learn(learnt)
            walk.step(data, learnt)
            walk.neighbours.prepare(data.draw(st.sampled_from([[], [0], list(range(learnt))])))
            if data.draw(st.booleans()):
                _check(walk, learnt, data)
        walk.learn(len(classes))
        _check(walk, len(classes), data)


def _check(walk: Walk, learnt: int, data: st.DataObject) -> None:
    walk.neighbours.prepare(list(range(learnt)))
    labels: Labels = [*walk.labels]
    others = [(node, walk.classes[k].between or Between(), gone) for node, k, gone in walk.replicas]
    flags = st.lists(st.booleans(), min_size=len(labels), max_size=len(labels))
    for klass in range(learnt):
        mine = walk.classes[klass].between
        assert mine is not None
        drawn = zip(data.draw(flags), walk.specs, strict=True)
        feasible = [is_open and spec is not None for is_open, spec in drawn]
        open_nodes = [i for i, is_open in enumerate(feasible) if is_open]
        pull, even = walk.neighbours.points(klass, np.array(feasible))
        want = pulled(mine, open_nodes, labels, others)
        assert {i: int(pull[i]) for i in open_nodes} == want
        want = spread(mine, open_nodes, labels, others)
        assert {i: int(even[i]) for i in open_nodes} == want


def test_a_class_that_was_looked_at_hears_of_wishes_that_come_later() -> None:
    statics = StaticNodes()
    put_nodes(statics, {0: _node(0, "a"), 1: _node(1, "b")})
    neighbours = Neighbours(statics, is_scoring=True)
    neighbours.learn(0, _class("n", "x"))
    neighbours.prepare([0])
    wish = PodWish(50, PodTerm("zone", _selector("x"), ("n",)))
    neighbours.learn(1, _class("n", "y", wishes=(wish,)))
    come(neighbours, 1, 1, 1, 0)
    neighbours.prepare([0])
    pull, _ = neighbours.points(0, np.ones(2, np.bool_))
    assert pull.tolist() == [0, 100]


def _node(number: int, zone: str) -> NodeSpec:
    labels = {HOSTNAME_LABEL: f"n{number}", **({"zone": zone} if zone else {})}
    return node_form(NodeSpec(f"n{number}", labels=tuple(labels.items())))


def pulled(mine: Between, nodes: list[int], labels: Labels, others: Others) -> dict[int, int]:
    """Affinity as prose has it: both directions, then from the least to the most."""
    worth = {node: 0 for node in nodes}
    for node in nodes:
        for n, other, _ in others:
            terms = [(w.term, w.weight, other) for w in mine.wishes]
            terms += [(w.term, w.weight, mine) for w in other.wishes]
            terms += [(term, 1, mine) for term in other.affinity]
            for term, weight, meant in terms:
                if _shares(term.key, labels[node], labels[n]) and _means(term, meant):
                    worth[node] += weight
    least, most = min(worth.values(), default=0), max(worth.values(), default=0)
    span = most - least
    return {node: int(100 * ((w - least) / span)) if span else 0 for node, w in worth.items()}


def spread(mine: Between, nodes: list[int], labels: Labels, others: Others) -> dict[int, int]:
    """Spread as kube-scheduler documents it: counts of domains, weighed by their number."""
    wished = [each for each in mine.spread if not each.is_required]
    if not wished:
        return {node: 0 for node in nodes}
    needed = {each.key for each in wished if each.are_keys_needed}
    scored = [node for node in nodes if needed <= labels[node].keys()]
    cost = {node: 0.0 for node in scored}
    for each in wished:
        domains = {labels[node].get(each.key) for node in scored}
        for node in scored:
            if each.key in labels[node]:
                count = _count(mine, each, node, labels, others, needed)
                cost[node] += count * math.log(len(domains) + 2) + each.max_skew - 1
    rounded = {node: math.floor(each + 0.5) for node, each in cost.items()}
    most, least = max(rounded.values(), default=0), min(rounded.values(), default=0)
    points = {n: 100 * (most + least - c) // most if most else 100 for n, c in rounded.items()}
    return {node: points.get(node, 0) for node in nodes}


def _count(
    mine: Between, wish: Spread, node: int, labels: Labels, others: Others, needed: set[str]
) -> int:
    here, is_host = labels[node][wish.key], wish.key == HOSTNAME_LABEL
    return sum(
        bool(wish.selector)
        and not is_leaving
        and other.namespace == mine.namespace
        and is_selected(wish.selector, dict(other.labels))
        and labels[n].get(wish.key) == here
        and (is_host or needed <= labels[n].keys())
        for n, other, is_leaving in others
    )


def _shares(key: str, one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return key in one and one[key] == other.get(key)


def _means(term: PodTerm, between: Between) -> bool:
    return is_meant(term, between.namespace, dict(between.labels))
