"""Placing against the dumb twin, and the three ways to compute a key against each other."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cell.classes import ClassSpec
from cell.node import NodeSpec
from scheduler.classes import ClassTable
from scheduler.config import SchedulerConfig
from scheduler.framework.profiles import load_profiles
from scheduler.hooked import Hooked
from scheduler.kernels.keys import UNFIT, key_of, node_of, scan
from scheduler.kernels.layout import BLOCK
from scheduler.slots import ClassSlots
from scheduler.tables import NodeTables, Resources, Ties
from scheduler.warm import Nothing
from tests.property.scheduler.clusters import (
    PROFILES,
    Cluster,
    batches,
    class_specs,
    clusters,
    node_specs,
)
from tests.property.scheduler.twin import Twin, taken
from tests.unit.scheduler.builders import Bench, Stream, U, a_class, a_node, placed, refused

REGISTRY = {Nothing.name: Nothing}


def bench_and_twin(cluster: Cluster, config: SchedulerConfig) -> tuple[Bench, Twin]:
    bench = Bench(cluster.nodes, config, cluster.partition, cluster.partitions, REGISTRY)
    twin = Twin("scheduler-0", cluster.partition, cluster.partitions, PROFILES)
    for index, node in cluster.nodes.items():
        twin.put(index, node)
    return bench, twin


@given(
    st.data(),
    clusters(),
    st.sampled_from([1, 2, 7, 800]),
    st.sampled_from([16, 512]),
    st.booleans(),
)
def test_placing_is_greedy_one_by_one(
    data: st.DataObject, cluster: Cluster, rows_max: int, slots_max: int, is_followed: bool
) -> None:
    """Same nodes for the same replicas in the same order, same units refused, message by message.

    In between, the stream's echo of what was planned changes nothing, and a node changes its spec.
    """
    config = SchedulerConfig(plan_rows_max=rows_max, class_slots_max=slots_max, profiles=PROFILES)
    bench, twin = bench_and_twin(cluster, config)
    for units in data.draw(batches(cluster)):
        effects = bench.assign_all(*units)
        want_rows, want_refused = twin.place(units)
        assert placed(effects) == want_rows
        assert set(refused(effects)) == want_refused
        if is_followed:
            for _, index, spec in _claims(units, want_rows):
                bench.stream.use(index, taken(spec))
            bench.stream.watermark += len(want_rows)
            bench.follow(bench.stream.state({row[3] for row in want_rows}))
            index = data.draw(st.sampled_from(sorted(cluster.nodes)))
            node = data.draw(node_specs(index))
            bench.stream.put(index, node)
            twin.nodes[index] = node
            bench.follow(bench.stream.state([index]))


def _claims(
    units: list[U], rows: list[tuple[int, int, int, int]]
) -> list[tuple[int, int, ClassSpec]]:
    by_number = {unit.number: unit for unit in units}
    return [
        (number, node, next(r.klass for r in by_number[number].rows if r.group == group))
        for number, group, _, node in rows
    ]


@settings(max_examples=20)
@given(st.integers(65, 140), st.integers(1, 60), st.sampled_from(["default", "pack", "hooked"]))
def test_a_gang_of_like_replicas_spreads_as_one_by_one(
    count: int, replicas: int, profile: str
) -> None:
    """Over several blocks of nodes, whole or refused."""
    cluster = Cluster({i: a_node(4 + i % 3, 9 + i % 2, name=f"n{i}") for i in range(count)}, 0, 2)
    bench, twin = bench_and_twin(cluster, SchedulerConfig(profiles=PROFILES))
    gang = U(1, (U(1).rows[0].__class__(a_class(2, 1, profile=profile), replicas),))
    effects = bench.assign_all(gang)
    want_rows, want_refused = twin.place([gang])
    assert placed(effects) == want_rows
    assert set(refused(effects)) == want_refused


BIG = 3 << 40


@given(
    st.lists(
        st.tuples(st.integers(0, BIG), st.integers(0, 1 << 20), st.integers(0, 999)), max_size=150
    ),
    class_specs(),
    st.integers(1, 3),
)
@example([(7, 3, 0), (0, 0, 0), (10, 0, 500), (0, 10, 999)], a_class(3, 1), 1)
def test_scan_repair_and_hooks_give_the_same_keys(
    nodes: list[tuple[int, int, int]], spec: ClassSpec, partitions: int
) -> None:
    """And the formula's score, and a key names its node."""
    stream, twin = Stream(), Twin("t", 0, partitions, PROFILES)
    for i, (memory, cpu, used) in enumerate(nodes):
        node = a_node(cpu, memory, 5, name=f"n{i}")
        stream.put(i, node)
        twin.put(i, node)
        use = {"cpu": cpu * used // 1000, "memory": memory * used // 900}
        stream.use(i, use)
        twin.used[i] = use
    seed = twin._seed
    tables = NodeTables(resources := Resources(), Ties(seed, 0, partitions))
    classes = ClassTable(resources, load_profiles(PROFILES, REGISTRY))
    classes.follow(tables.statics, tables.neighbours)
    tables.apply(stream.state(), classes.columns)
    klass = classes.intern(spec.encoded())
    slots = ClassSlots(tables, classes, 16)
    slots.hold(np.array([klass]), 1)
    scan(tables.columns, classes.columns, slots.columns, 0, tables.padded_count)
    scanned = slots.columns.keys[0, : len(nodes)]
    repaired = [
        key_of(tables.columns, classes.columns, slots.columns, 0, i) for i in range(len(nodes))
    ]
    assert scanned.tolist() == repaired
    assert (
        scanned.tolist()
        == Hooked(tables, classes).keys(slots.columns, 0, np.arange(len(nodes))).tolist()
    )
    for i, key in enumerate(repaired):
        assert (key == UNFIT) is not twin._is_fitting(i, spec, "")
        if key != UNFIT:
            is_wishing = twin.is_wishing(spec)
            own, low = (20, 21) if is_wishing else (30, 20)
            assert key >> low & 1023 == twin.score(i, spec)
            assert (key >> own & 1 == 1) is (i % partitions == 0)
            assert node_of(key, tables.columns.ties) == i
    padded = slots.columns.keys[0, : tables.padded_count].reshape(-1, BLOCK)
    tops = slots.columns.tops[0, : len(padded)]
    assert tops.tolist() == padded.max(axis=1, initial=-1).tolist()


def test_a_node_of_nothing_and_the_largest_amounts() -> None:
    """Shares stay within 0 to 100 at the edges of what a spec may say."""
    most = 1 << 52
    for free, want in ((0, 100), (most, 0)):
        bench = Bench([NodeSpec("n", (("cpu", most), ("pods", 9)))])
        twin = Twin("scheduler-0", 0, 1, {})
        twin.put(0, bench.stream.nodes[0])  # type: ignore[arg-type]
        twin.used[0] = {"cpu": most - free}
        assert twin.score(0, a_class(0, profile="pack")) == 300 + want
        bench.stream.use(0, twin.used[0])
        bench.follow(bench.stream.state())
        assert placed(bench.assign(U(1))) == ([(1, 0, 0, 0)] if free else [])
