"""Tables that follow a stream: free = allocatable - used - assumed, whatever happens in between."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cell.classes import ClassSpec, decode
from cell.effects import PeerDown
from cell.messages import Plan
from scheduler.config import SchedulerConfig
from scheduler.kernels.layout import HEAD
from scheduler.tables import NodeTables, Resources, Ties
from tests.property.scheduler.clusters import class_specs, node_specs
from tests.property.scheduler.twin import taken
from tests.unit.scheduler.builders import (
    BINDER,
    DISPATCHER,
    UP_BINDER,
    UP_DISPATCHER,
    Bench,
    G,
    Sender,
    Stream,
    U,
    a_class,
    a_node,
    placed,
    plans,
    refused,
)

INDICES = st.integers(0, 140)
ROOMS = st.sampled_from([2, 5, 30])
CLASSES = st.one_of(st.builds(a_class, st.integers(0, 2)), class_specs())


class Following(RuleBasedStateMachine):
    """A binder that commits or refuses plan rows in order, and tells of it when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.changed: set[int] = set()
        self.waiting: list[tuple[int, ClassSpec]] = []
        """Plan rows not yet told of, in order: node and class."""
        self.classes: dict[int, ClassSpec] = {}

    @initialize(limits=st.sampled_from([(800, 512), (3, 16)]), rooms=st.lists(ROOMS, min_size=1))
    def begin(self, limits: tuple[int, int], rooms: list[int]) -> None:
        nodes = {7 * i: a_node(cpu=room, pods=room) for i, room in enumerate(rooms)}
        config = SchedulerConfig(plan_rows_max=limits[0], class_slots_max=limits[1])
        self.bench = Bench(nodes, config)

    @property
    def stream(self) -> Stream:
        return self.bench.stream

    @rule(data=st.data(), index=INDICES)
    def put_node(self, data: st.DataObject, index: int) -> None:
        self.stream.put(index, data.draw(node_specs(index)))
        self.changed.add(index)

    @rule(data=st.data())
    def remove_node(self, data: st.DataObject) -> None:
        present = sorted(i for i, node in self.stream.nodes.items() if node)
        if present:
            index = data.draw(st.sampled_from(present))
            self.stream.put(index, None)
            self.changed.add(index)

    @rule(data=st.data(), cpu=st.integers(-2, 3))
    def others_claim(self, data: st.DataObject, cpu: int) -> None:
        present = sorted(i for i, node in self.stream.nodes.items() if node)
        if present:
            index = data.draw(st.sampled_from(present))
            self.stream.use(index, {"cpu": cpu, "gpu": 1})
            self.changed.add(index)

    @rule(klass=CLASSES, count=st.sampled_from([1, 3, 70]), units=st.integers(1, 5))
    def assign(self, klass: ClassSpec, count: int, units: int) -> None:
        made = []
        for _ in range(units):
            self.number += 1
            made.append(U(self.number, (G(klass, count, min=1),)))
        effects = self.bench.assign_all(*made)
        if self.bench.core.is_ready:
            for plan in plans(effects):
                self._note(plan)
            answered = {row[0] for row in placed(effects)} | set(refused(effects))
            assert answered == {unit.number for unit in made}

    def _note(self, plan: Plan) -> None:
        assert plan.first == self.stream.watermark + len(self.waiting)
        self.classes.update((entry.index, decode(entry.encoded)) for entry in plan.classes)
        for row in plan.rows.rows():
            assert row["incarnation"] == self.stream.incarnations[row["node"]]
            self.waiting.append((row["node"], self.classes[row["klass"]]))

    @rule(count=st.integers(0, 100), is_committed=st.booleans())
    def judge(self, count: int, is_committed: bool) -> None:
        """The next rows are committed or refused; a State to come will cover them."""
        for node, spec in self.waiting[:count]:
            if is_committed and self.stream.nodes[node]:
                self.stream.use(node, taken(spec))
                self.changed.add(node)
        self.stream.watermark += len(self.waiting[:count])
        del self.waiting[:count]
        self.tell()

    @rule()
    def tell(self) -> None:
        self.bench.follow(self.stream.state(self.changed))
        self.changed = set()

    @rule()
    def lose_dispatcher(self) -> None:
        self.bench.handle(PeerDown(DISPATCHER))
        self.bench.sender = Sender()
        self.bench.handle(UP_DISPATCHER)

    @rule()
    def lose_binder(self) -> None:
        """A new session knows what was committed and nothing of what was not."""
        self.bench.handle(PeerDown(BINDER))
        old, new = self.stream, Stream()
        new.nodes, new.used, new.incarnations = old.nodes, old.used, old.incarnations
        self.waiting, self.changed = [], set()
        self.bench.stream = new
        self.bench.handle(UP_BINDER)
        rows = sorted(new.nodes)
        half = len(rows) // 2
        self.bench.follow(new.state(rows[:half], is_last=False))
        assert not self.bench.core.is_ready
        self.bench.follow(new.state(rows[half:]))

    @invariant()
    def free_is_what_is_left(self) -> None:
        """Judged for nodes of which all changes were told."""
        if not hasattr(self, "bench"):
            return
        tables = self.bench.core.tables
        numbers = tables.resources.numbers
        assumed: dict[tuple[int, str], int] = {}
        for node, spec in self.waiting:
            for name, amount in taken(spec).items():
                assumed[node, name] = assumed.get((node, name), 0) + amount
        for index, spec_now in self.stream.nodes.items():
            if index in self.changed or spec_now is None:
                continue
            for name, number in numbers.items():
                room = dict(spec_now.allocatable).get(name, 0) - self.stream.used[index].get(
                    name, 0
                )
                room -= assumed.get((index, name), 0)
                assert tables.columns.free[number, index] == room
                assert tables.columns.rows[index, HEAD + number] == room

    @invariant()
    def tables_are_as_built_afresh(self) -> None:
        """Incremental columns against tables that saw one snapshot and the same assumptions."""
        if not hasattr(self, "bench") or self.changed or not self.stream.nodes:
            return
        tables, classes = self.bench.core.tables, self.bench.core._classes
        fresh = NodeTables(Resources(), Ties(1, 0, 1))
        snapshot = Stream()
        snapshot.nodes, snapshot.used = self.stream.nodes, self.stream.used
        snapshot.incarnations = self.stream.incarnations
        fresh.apply(snapshot.state(), classes.columns)
        count = max(self.stream.nodes) + 1
        present = np.flatnonzero(fresh.statics.is_present[:count])
        assert np.array_equal(present, np.flatnonzero(tables.statics.is_present[: tables.count]))
        for side in ("capacity", "inverse"):
            one, other = getattr(tables.columns, side), getattr(fresh.columns, side)
            assert np.array_equal(one[:, present], other[:, present])
        assert np.array_equal(tables.incarnations[present], fresh.incarnations[present])


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=60, stateful_step_count=40)
