"""Placing by wishes between replicas is placing one by one, by the scores that verdicts show."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cell.classes import ClassSpec
from cell.node import HOSTNAME_LABEL, NodeSpec
from scheduler.config import SchedulerConfig
from scheduler.warm import Nothing
from tests.property.scheduler.clusters import PROFILES, WISHES
from tests.property.scheduler.twin import Twin
from tests.property.test_wishes import CLASSES
from tests.unit.scheduler.builders import Bench, G, U, a_class, a_node, placed

ZONES = ("a", "a", "b", "")


def _nodes(count: int) -> list[NodeSpec]:
    labels = [
        ((HOSTNAME_LABEL, f"n{i}"), *((("zone", ZONES[i % 4]),) if ZONES[i % 4] else ()))
        for i in range(count)
    ]
    return [
        a_node(cpu=4 + i % 3, memory=9, pods=3, name=f"n{i}", labels=each)
        for i, each in enumerate(labels)
    ]


def _with_between(beside: ClassSpec, profile: str, is_picky: bool) -> ClassSpec:
    wishes = WISHES if is_picky else ()
    return a_class(1, 1, between=beside.between, profile=profile, wishes=wishes)


MADE = st.builds(
    _with_between, CLASSES, st.sampled_from(["default", "pack", "hooked"]), st.booleans()
)
GANGS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(
    st.lists(MADE, min_size=3, max_size=3),
    GANGS,
    st.integers(2, 9),
    st.integers(1, 2),
    st.booleans(),
)
def test_gangs_are_placed_as_one_by_one(
    classes: list[ClassSpec],
    gangs: list[tuple[int, int]],
    count: int,
    partitions: int,
    is_one_message: bool,
) -> None:
    units = [U(i + 1, (G(classes[k], n, min=0),)) for i, (k, n) in enumerate(gangs)]
    config = SchedulerConfig(profiles=PROFILES)
    bench = Bench(_nodes(count), config, 0, partitions, {Nothing.name: Nothing})
    if is_one_message:
        got = placed(bench.assign_all(*units))
    else:
        got = [row for unit in units for row in placed(bench.assign_all(unit))]
    alone = Bench(_nodes(count), config, 0, partitions, {Nothing.name: Nothing})
    want = []
    for unit in units:
        for ordinal in range(unit.rows[0].count):
            node = _best(alone, unit.rows[0].klass, partitions)
            if node is not None:
                want.append((unit.number, 0, ordinal, node))
                pinned = G(unit.rows[0].klass, 1, pin=f"n{node}", first=ordinal)
                assert placed(alone.assign_all(U(100 * unit.number + ordinal, (pinned,))))
    assert got == want


def _best(bench: Bench, klass: ClassSpec, partitions: int) -> int | None:
    """The node that the scores, the partition and the ties name, in that order if it wishes."""
    twin = Twin("scheduler-0", 0, partitions, PROFILES)
    for i, node in bench.stream.nodes.items():
        assert node is not None
        twin.put(i, node)
    verdicts = bench.core.verdicts(klass.encoded())
    table = bench.core._classes
    known = table.intern(klass.encoded())
    is_wishing = table.gains(known).is_wishing or bool(table.columns.is_wishing[known])
    for plugin in ("pod_affinity", "topology_spread"):
        points = {scores.get(plugin, 0) for scores in verdicts.scores.values()}
        is_wishing |= len(points) > 1
    ranked = []
    for name in verdicts.feasible:
        number = int(name[1:])
        total, own = verdicts.scores[name]["total"], int(number % partitions == 0)
        order = (total, own) if is_wishing else (own, total)
        ranked.append((order, twin._rank(number), number))
    return max(ranked)[2] if ranked else None
