"""Why units got nothing: reason, argument, wakes and counts per group of like nodes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from cell.classes import ClassSpec
from cell.node import NodeSpec, Taint
from cell.reasons import Reason, Wake
from cell.requirements import Operator, Requirement, Term
from scheduler.config import SchedulerConfig
from scheduler.framework.plugin import FilterPlugin, View
from tests.unit.scheduler.builders import Bench, G, U, Why, a_class, a_node, why

GPU = Taint("dedicated", "gpu", "NoSchedule")
ROOM = Wake.ALL
NODES = Wake.NODE_ADDED | Wake.NODE_CHANGED
SHORT = Reason.INSUFFICIENT_RESOURCE


@dataclass(frozen=True)
class Case:
    name: str
    nodes: list[NodeSpec]
    rows: tuple[G, ...]
    want: Reason
    want_argument: str | int
    want_wakes: Wake
    want_nodes: dict[tuple[Reason, str], int] = field(default_factory=dict)
    config: SchedulerConfig | None = None


class Never(FilterPlugin):
    name = "never"

    def filter(self, view: View, spec: ClassSpec, feasible: NDArray[np.bool_]) -> None:
        feasible[:] = False


def one(klass: ClassSpec, **fields: object) -> tuple[G, ...]:
    return (G(klass, **fields),)  # type: ignore[arg-type]


ZONE = a_class(affinity=(Term((Requirement("zone", Operator.IN, ("a",)),)),))
CASES = [
    Case("no nodes", [], one(a_class()), Reason.NO_NODES, 0, Wake.NODE_ADDED),
    Case(
        "one resource is short",
        [a_node(cpu=2), a_node(cpu=1)],
        one(a_class(cpu=3)),
        SHORT,
        "cpu",
        ROOM,
        {(SHORT, "cpu"): 2},
    ),
    Case(
        "a node may be short of several, the one short on most is told",
        [a_node(cpu=1, memory=1), a_node(cpu=9, memory=1)],
        one(a_class(cpu=3, memory=3)),
        SHORT,
        "memory",
        ROOM,
        {(SHORT, "cpu"): 1, (SHORT, "memory"): 2},
    ),
    Case(
        "pod slots are a resource",
        [a_node(pods=0)],
        one(a_class()),
        SHORT,
        "pods",
        ROOM,
        {(SHORT, "pods"): 1},
    ),
    Case(
        "a resource that no node has",
        [a_node()],
        one(a_class(others={"gpu": 1})),
        SHORT,
        "gpu",
        ROOM,
        {(SHORT, "gpu"): 1},
    ),
    Case(
        "room is told before rules, and both wake",
        [a_node(cpu=1), a_node(taints=(GPU,)), a_node(taints=(GPU,))],
        one(a_class(cpu=2)),
        SHORT,
        "cpu",
        ROOM,
        {(SHORT, "cpu"): 1, (Reason.TAINT, ""): 2},
    ),
    Case(
        "taints alone are not cured by room",
        [a_node(taints=(GPU,))],
        one(a_class()),
        Reason.TAINT,
        0,
        NODES,
        {(Reason.TAINT, ""): 1},
    ),
    Case(
        "the first rule that refuses a node counts",
        [a_node(unschedulable=True, taints=(GPU,)), a_node(taints=(GPU,)), a_node()],
        one(a_class(selector=(("zone", "a"),))),
        Reason.NODE_SELECTOR,
        0,
        NODES,
        {(Reason.UNSCHEDULABLE, ""): 1, (Reason.TAINT, ""): 1, (Reason.NODE_SELECTOR, ""): 1},
    ),
    Case(
        "node affinity",
        [a_node(labels=(("zone", "b"),))],
        one(ZONE),
        Reason.NODE_AFFINITY,
        0,
        NODES,
        {(Reason.NODE_AFFINITY, ""): 1},
    ),
    Case(
        "the pinned node is full, the others do not count as room",
        [a_node(cpu=1), a_node()],
        one(a_class(cpu=2), pin="n0"),
        SHORT,
        "cpu",
        ROOM,
        {(Reason.PINNED_NODE, ""): 1, (SHORT, "cpu"): 1},
    ),
    Case(
        "the pinned node is not there",
        [a_node()],
        one(a_class(), pin="elsewhere"),
        Reason.PINNED_NODE,
        0,
        NODES,
        {(Reason.PINNED_NODE, ""): 1},
    ),
    Case(
        "an unknown profile",
        [a_node()],
        one(a_class(profile="magic")),
        Reason.UNKNOWN_PROFILE,
        "magic",
        Wake.NONE,
    ),
    Case(
        "a gang is told how far it came",
        [a_node(cpu=2), a_node(cpu=1)],
        one(a_class(), count=9, min=4),
        Reason.GANG_MINIMUM,
        3,
        ROOM,
    ),
    Case(
        "a gang that fits nowhere is told what is short",
        [a_node(cpu=1)],
        one(a_class(cpu=2), count=3),
        SHORT,
        "cpu",
        ROOM,
        {(SHORT, "cpu"): 1},
    ),
    Case(
        "the second group found its room taken by the first",
        [a_node(cpu=2)],
        (G(a_class(cpu=2)), G(a_class(cpu=1), group=1)),
        Reason.GANG_MINIMUM,
        0,
        ROOM,
    ),
    Case(
        "elastic replicas alone that find nothing",
        [a_node(cpu=1)],
        one(a_class(cpu=2), count=3, min=0),
        SHORT,
        "cpu",
        ROOM,
        {(SHORT, "cpu"): 1},
    ),
    Case(
        "a plugin outside the tree refuses every node with room",
        [a_node(), a_node(cpu=0)],
        one(a_class(profile="picky")),
        Reason.PROFILE,
        "picky",
        ROOM,
        {(SHORT, "cpu"): 1},
        SchedulerConfig(profiles={"picky": {"never": 0}}),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reason(case: Case) -> None:
    bench = Bench(case.nodes, case.config, registry={"never": Never})
    want = Why(case.want, case.want_argument, case.want_wakes, case.want_nodes)
    assert why(bench.assign(U(1, case.rows))) == {1: want}


def test_like_units_are_told_alike_in_one_message() -> None:
    bench = Bench([a_node(cpu=1)])
    units = [U(i, one(a_class(cpu=2 + i % 2))) for i in range(6)]
    said = why(bench.assign(*units))
    assert list(said) == list(range(6))
    assert all(answer == said[0] for answer in said.values())


def test_counts_of_rules_follow_the_nodes() -> None:
    bench = Bench([a_node(taints=(GPU,))])
    unit = U(1, one(a_class()))
    assert why(bench.assign(unit))[1].nodes == {(Reason.TAINT, ""): 1}
    bench.stream.put(1, a_node(taints=(GPU,)))
    bench.follow(bench.stream.state())
    assert why(bench.assign(unit))[1].nodes == {(Reason.TAINT, ""): 2}
    bench.stream.put(0, None)
    bench.follow(bench.stream.state())
    assert why(bench.assign(unit))[1].nodes == {(Reason.TAINT, ""): 1}
