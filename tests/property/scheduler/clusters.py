"""Strategies: small clusters with crowded nodes, classes that compete, units that ask too much."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from cell.classes import ClassSpec, NodeWish, Toleration
from cell.node import NodeSpec, Taint
from cell.requirements import Operator, Requirement, Term
from tests.unit.scheduler.builders import G, U, a_class, a_node

PROFILES = {
    "mixed": {"least": 2, "most": 1, "balanced": 3, "node_affinity": 1},
    "hooked": {"least": 1, "balanced": 1, "nothing": 0, "taints": 2, "node_affinity": 3},
    "hooked-pack": {"most": 3, "nothing": 0},
}
"""Beside the built-in ones; `nothing` is a filter that refuses no node (`scheduler.warm`)."""
TAINT = Taint("dedicated", "x", "NoSchedule")
AVOIDED = (Taint("old", "x", "PreferNoSchedule"), Taint("slow", "x", "PreferNoSchedule"))
GB = 1 << 30
WISHES = tuple(
    NodeWish(weight, Term((Requirement(key, Operator.IN, (value,)),)))
    for weight, key, value in ((7, "zone", "a"), (3, "disk", "ssd"))
)


@dataclass(frozen=True)
class Cluster:
    nodes: dict[int, NodeSpec]
    partition: int
    partitions: int


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Nodes at indices over several blocks; a few kinds, so that ties are common."""
    indices = draw(st.lists(st.integers(0, 150), min_size=1, max_size=12, unique=True))
    partitions = draw(st.integers(1, 3))
    return Cluster(
        {index: draw(node_specs(index)) for index in sorted(indices)},
        draw(st.integers(0, partitions - 1)),
        partitions,
    )


@st.composite
def node_specs(draw: st.DrawFn, index: int) -> NodeSpec:
    return a_node(
        cpu=draw(st.sampled_from([0, 1, 4, 7, 16])),
        memory=draw(st.sampled_from([0, 2, 5, 8])) * GB,
        pods=draw(st.sampled_from([1, 3, 20])),
        name=f"n{index}",
        others=draw(st.sampled_from([{}, {"gpu": 2}])),
        labels=draw(st.sampled_from([(), (("zone", "a"),), (("disk", "ssd"), ("zone", "a"))])),
        taints=draw(st.sampled_from([(), (), (), (TAINT,), AVOIDED[:1], AVOIDED])),
        unschedulable=draw(st.sampled_from([False, False, False, True])),
    )


def class_specs() -> st.SearchStrategy[ClassSpec]:
    return st.builds(
        a_class,
        cpu=st.sampled_from([0, 1, 1, 2, 3]),
        memory=st.sampled_from([0, GB, 3 * GB // 2]),
        unasked=st.sampled_from([(), (("memory", GB // 4),), (("cpu", 1), ("memory", GB // 4))]),
        others=st.sampled_from([{}, {}, {"gpu": 1}, {"absent": 1}]),
        selector=st.sampled_from([(), (), (("zone", "a"),)]),
        tolerations=st.sampled_from(
            [(), (Toleration("dedicated", "Exists"),), (Toleration("slow", "Exists"),)]
        ),
        wishes=st.sampled_from([(), (), WISHES[:1], WISHES]),
        profile=st.sampled_from(["default", "default", "pack", "spread", *PROFILES]),
    )


@st.composite
def batches(draw: st.DrawFn, cluster: Cluster) -> list[list[U]]:
    """Messages of units over one small set of classes."""
    classes = draw(st.lists(class_specs(), min_size=1, max_size=5))
    names = ["", "", "", *(node.name for node in cluster.nodes.values()), "nowhere"]
    number = 0
    made = []
    for size in draw(st.lists(st.integers(1, 8), min_size=1, max_size=3)):
        units = []
        for _ in range(size):
            number += 1
            groups = draw(st.integers(1, 3))
            units.append(U(number, tuple(draw(rows(classes, names, g)) for g in range(groups))))
        made.append(units)
    return made


@st.composite
def rows(draw: st.DrawFn, classes: list[ClassSpec], names: list[str], group: int) -> G:
    count = draw(st.sampled_from([1, 1, 2, 5, 12]))
    return G(
        klass=draw(st.sampled_from(classes)),
        count=count,
        min=draw(st.sampled_from([count, count, 1, 0])) if count > 1 else None,
        pin=draw(st.sampled_from(names)),
        group=group,
        first=draw(st.sampled_from([0, 0, 3])),
    )
