"""A simulated API server: the authority of the Kubernetes home, slow, lossy and shared with others.

Objects and records have versions that only grow. A call may be throttled, lost, applied with its
answer lost, or applied late; the watch lags, is delivered in order, and may be cut with a gap.
`call` is a node's `home`: it performs the calls of a core and gives it what comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cell.home import (
    Answered,
    Code,
    Create,
    Delete,
    Evict,
    GangRecord,
    HomeGroup,
    HomeUnit,
    ObjectState,
    ObjectView,
    Post,
    Read,
    ReadRecord,
    RecordView,
    Relist,
    Relisted,
    Replica,
    Watched,
    WatchLost,
    Write,
)
from cell.messages import Acks, CordonNodes, RegisterNodes, RemoveNodes
from cell.node import NodeSpec
from cell.reasons import Refusal, Status
from cell.unit import UnitSpec, uid_of
from tests.simulation import wire
from tests.simulation.node import Node
from tests.simulation.world import MS, SECOND, World

HOLDS_ROOM = (ObjectState.BOUND, ObjectState.TERMINATING)
REFUSALS = {Code.CONFLICT: "api conflict", Code.GONE: "api gone"}
"""Answers that a lost one, or somebody else, has brought about: counted as faults."""
GRACE_US = (20 * MS, 400 * MS)
"""How long an object takes from its eviction to its end."""


class ApiServer:
    """See the module. Ratios are shares of calls; all zero means well."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.throttled_ratio = 0.0
        self.lost_ratio = 0.0
        self.slow_ratio = 0.0
        self.watch_lag_us = 20 * MS
        self.list_us = 10 * MS
        """What a list takes at most: on a large cluster longer than links to come up."""
        self.objects: dict[Replica, ObjectView] = {}
        self.records: dict[tuple[int, int], RecordView] = {}
        self.nodes: dict[str, NodeSpec] = {}
        self.units: dict[tuple[int, int], HomeUnit] = {}
        self.alone: set[tuple[int, int]] = set()
        """Units whose replicas are no objects, over or not."""
        self.keys: set[str] = set()
        """Of all units there ever were: a key is used once, as if it had a uid in it."""
        self.on_changed: Callable[[ObjectView], None] = lambda view: None
        """Told of each change of an object."""
        self.on_recorded: Callable[[HomeUnit, int], None] = lambda unit, life: None
        """Told of each write of a record of a unit without objects, and of its binder's life."""
        self.on_bound: Callable[[ObjectView, int], None] = lambda view, life: None
        """Told of each binding that took effect, and in which life of the binder it was asked for;
        life 0 stands for somebody else."""
        self.classes: dict[Replica, bytes] = {}
        """What the last object of each name demands."""
        self.on_collected: Callable[[ObjectView], None] = lambda view: None
        """Told of each object that is to end because its node is gone."""
        self.since_us: dict[Replica, int] = {}
        """When each object changed last."""
        self._version = 1
        self._objects_made = 0
        self._calls = 0
        self._open: dict[int, tuple[int, Any]] = {}
        """Calls that will be applied some time: (life of the caller, body)."""
        self._leader_life = 0
        self._watcher: tuple[Node, int] | None = None
        self._watch = 0
        self._queue: list[Watched] = []
        self._is_flushing = False
        self._list_arrives_us = 0

    # The binder's calls

    def call(self, node: Node, body: Any) -> None:
        """Perform a call of a core, in its own time."""
        world, life = self._world, node.life
        delay_us = world.between(200, 5 * MS)
        if world.chance(self.slow_ratio):
            world.fault("api call slow")
            delay_us = world.between(50 * MS, 900 * MS)
        if isinstance(body, Relist):
            world.after(delay_us, lambda: self._relist(node, life, body.call))
            return
        if world.chance(self.throttled_ratio):
            world.fault("api throttled")
            self._answer(node, life, Answered(body.call, Code.THROTTLED), delay_us)
        elif world.chance(self.lost_ratio):
            self._lose(node, life, body)
        else:
            number = self._begin(life, body)
            world.after(delay_us, lambda: self._serve_call(node, life, number))

    def _begin(self, life: int, body: Any) -> int:
        self._calls += 1
        self._open[self._calls] = (life, body)
        return self._calls

    def _serve_call(self, node: Node, life: int, number: int) -> None:
        """Applied now, answered a little later: the watch may be faster."""
        if number in self._open:
            answer = self._serve(*self._open.pop(number))
            if answer.code in REFUSALS:
                self._world.fault(REFUSALS[answer.code])
            self._answer(node, life, answer, self._world.between(100, 5 * MS))

    def _serve_late(self, number: int) -> None:
        if number in self._open:
            self._serve(*self._open.pop(number))

    def _fence(self, life: int) -> None:
        """A new leader has waited out lease and time-outs: what is open is applied now or never."""
        if life != self._leader_life:
            self._leader_life = life
            for number, (caller, body) in list(self._open.items()):
                if caller == life or isinstance(body, Create | Delete):
                    continue
                del self._open[number]
                if self._world.chance(0.5):
                    self._serve(caller, body)

    def _lose(self, node: Node, life: int, body: Any) -> None:
        """Done, not done, or still to be done within a second: the caller cannot know. Or a proxy
        has asked again by itself: what is answered then is the repetition."""
        world = self._world
        fate = world.random.choice(("not done", "done", "done late", "repeated"))
        world.fault(f"api answer lost, {fate}")
        answer = Answered(body.call, Code.UNKNOWN)
        match fate:
            case "done":
                self._serve(life, body)
            case "done late":
                number = self._begin(life, body)
                world.after(world.between(1, SECOND - MS), lambda: self._serve_late(number))
            case "repeated":
                self._serve(life, body)
                answer = self._serve(life, body)
        self._answer(node, life, answer, world.between(MS, 50 * MS))

    def _answer(self, node: Node, life: int, answer: Any, delay_us: int) -> None:
        packed = wire.pack(answer)
        self._world.after(delay_us, lambda: self._give(node, life, wire.unpack(packed)))

    def _give(self, node: Node, life: int, event: Any) -> None:
        if node.life == life:
            node.give(event)

    def _serve(self, life: int, body: Any) -> Answered:
        match body:
            case Post():
                return Answered(body.call, self._post(life, body))
            case Read():
                found = self.objects.get(body.replica)
                return Answered(body.call, Code.OK if found else Code.GONE, found)
            case Evict():
                return Answered(body.call, self._evict(body))
            case Write():
                return self._write(life, body)
            case ReadRecord():
                return self._read_record(body)
            case Create():
                return Answered(body.call, self._create_unit(body))
            case Delete():
                is_there = self.end_unit(uid_of(body.key))
                return Answered(body.call, Code.OK if is_there else Code.GONE)
        raise AssertionError(f"no call of a binder: {body}")

    def _post(self, life: int, body: Post) -> Code:
        found = self.objects.get(body.replica)
        if found is None:
            return Code.GONE
        if found.object != body.object or found.state is not ObjectState.PENDING or found.node:
            return Code.CONFLICT
        self.on_bound(self._change(found, state=ObjectState.BOUND, node=body.node), life)
        return Code.OK

    def _evict(self, body: Evict) -> Code:
        found = self.objects.get(body.replica)
        if found is None:
            return Code.GONE
        if found.object != body.object:
            return Code.CONFLICT
        self.terminate(found)
        return Code.OK

    def _write(self, life: int, body: Write) -> Answered:
        uid = (body.uid_hi, body.uid_lo)
        if uid in self.alone and uid not in self.units:
            return Answered(body.call, Code.GONE)
        present = self.records.get(uid, RecordView(0, None))
        if present.version != body.version:
            return Answered(body.call, Code.CONFLICT)
        kept = self._keep(uid, body.record)
        if uid in self.alone:
            self.on_recorded(self.units[uid], life)
        return Answered(body.call, Code.OK, version=kept.version)

    def _read_record(self, body: ReadRecord) -> Answered:
        uid = (body.uid_hi, body.uid_lo)
        if uid in self.alone and uid not in self.units:
            return Answered(body.call, Code.GONE)
        kept = self.records.get(uid, RecordView(0, None))
        return Answered(body.call, Code.OK, kept=kept)

    def _create_unit(self, body: Create) -> Code:
        """As often as it is asked for; what has ended is not made again."""
        key = body.unit.key
        wanted = unit_of(body.unit)
        found = self.units.get((wanted.uid_hi, wanted.uid_lo))
        if found is not None:
            is_same = msgspec.structs.replace(found, kept=None) == wanted
            return Code.OK if is_same else Code.CONFLICT
        if body.is_known or key in self.keys:
            return Code.GONE
        self.put_unit(wanted, is_alone=True)
        return Code.OK

    def _keep(self, uid: tuple[int, int], record: GangRecord | None) -> RecordView:
        """A record is as it was written; that of a unit without objects is a part of it."""
        self._version += 1
        kept = self.records[uid] = RecordView(self._version, record)
        if uid in self.alone:
            unit = self.units[uid] = msgspec.structs.replace(self.units[uid], kept=kept)
            self._world.note("api-server", "has", unit)
            self._show(Watched(units=(unit,)))
        return kept

    # The watch

    def cut_watch(self) -> None:
        """The watch has a gap from now on (410 Gone): it has to be listed again."""
        if self._watcher is not None:
            node, life = self._watcher
            self._watcher = None
            self._queue = []
            self._answer(node, life, WatchLost(), self._world.between(MS, 20 * MS))

    def _relist(self, node: Node, life: int, call: int) -> None:
        if node.life != life:
            return
        self._fence(life)
        self._watch += 1
        self._watcher = (node, life)
        self._queue = []
        records = tuple(
            view
            for uid, view in self.records.items()
            if view.record is not None and uid not in self.alone
        )
        listed = Relisted(
            call,
            tuple(self.objects.values()),
            tuple(self.nodes.values()),
            records,
            tuple(self.units.values()),
        )
        delay_us = self._world.between(200, self.list_us)
        self._list_arrives_us = self._world.now_us + delay_us
        self._deliver(self._watch, wire.pack(listed), delay_us)

    def _show(self, delta: Watched) -> None:
        if self._watcher is None:
            return
        self._queue.append(delta)
        if not self._is_flushing:
            self._is_flushing = True
            self._world.after(self._world.between(MS, self.watch_lag_us), self._flush)

    def _flush(self) -> None:
        """Several changes travel in one message, behind the list; the order of objects is kept."""
        if self._world.now_us < self._list_arrives_us:
            self._world.at(self._list_arrives_us, self._flush)
            return
        self._is_flushing = False
        queued, self._queue = self._queue, []
        if not queued or self._watcher is None:
            return
        for run in _runs(queued):
            nodes = tuple(node for delta in run for node in delta.nodes)
            removed = tuple(name for delta in run for name in delta.removed)
            objects = tuple(view for delta in run for view in delta.objects)
            units = tuple(unit for delta in run for unit in delta.units)
            body = Watched(objects, nodes, removed, units)
            self._deliver(self._watch, wire.pack(body), 0)

    def _deliver(self, watch: int, packed: wire.Packed, delay_us: int) -> None:
        def arrive() -> None:
            if self._watcher is not None and watch == self._watch:
                node, life = self._watcher
                self._give(node, life, wire.unpack(packed))

        self._world.after(delay_us, arrive)

    # Everybody else

    def touch_unit(self, uid: tuple[int, int]) -> None:
        """Somebody labels a unit without objects: its version is another, its record the same."""
        self._keep(uid, self.records[uid].record)

    def put_unit(self, unit: HomeUnit, *, is_alone: bool = False) -> None:
        """Somebody wants a unit placed, or has changed it; alone: its replicas are no objects."""
        self.keys.add(unit.key)
        uid = unit.uid_hi, unit.uid_lo
        self.units[uid] = unit
        if is_alone:
            self.alone.add(uid)
            self._keep(uid, None)
            return
        self._world.note("api-server", "has", unit)
        self._show(Watched(units=(unit,)))

    def end_unit(self, uid: tuple[int, int]) -> bool:
        """Nobody wants it any more; whether it was there."""
        unit = self.units.pop(uid, None)
        if unit is not None:
            if uid in self.alone:
                del self.records[uid]
            self._world.note("api-server", "has no more", unit)
            self._show(Watched(units=(msgspec.structs.replace(unit, is_over=True),)))
        return unit is not None

    def create(
        self,
        replica: Replica,
        klass: bytes,
        *,
        revision: int = 1,
        node: str = "",
        ours: bool = True,
    ) -> None:
        """A controller makes an object, unless one of that name is there."""
        if replica in self.objects:
            return
        self._objects_made += 1
        self.classes[replica] = klass
        state = ObjectState.BOUND if node else ObjectState.PENDING
        view = ObjectView(replica, self._objects_made, 0, state, node, revision, klass, ours)
        self._change(view)
        if node:
            self.on_bound(self.objects[replica], 0)

    def bind(self, view: ObjectView, node: str) -> None:
        """Somebody else binds an object of ours."""
        self.on_bound(self._change(view, state=ObjectState.BOUND, node=node), 0)

    def terminate(self, view: ObjectView) -> None:
        """Mark for deletion; it is gone after a while, at once when it has no node."""
        present = self.objects.get(view.replica)
        if present is None or present.object != view.object:
            return
        if not present.node or present.state in (ObjectState.DONE, ObjectState.FAILED):
            self._end(present)
        elif present.state is not ObjectState.TERMINATING:
            changed = self._change(present, state=ObjectState.TERMINATING)
            self._world.after(self._world.between(*GRACE_US), lambda: self._end(changed))

    def finish(self, view: ObjectView, state: ObjectState) -> None:
        """The kubelet says that it has ended by itself."""
        present = self.objects.get(view.replica)
        is_same = present is not None and present.object == view.object
        if present is not None and is_same and present.state is ObjectState.BOUND:
            self._change(present, state=state)

    def ask(self, body: Any, answered: Callable[[Any], None]) -> None:
        """The cluster's operator: nodes are objects of the API server, too."""
        refused: list[tuple[int, Refusal]] = []
        match body:
            case RegisterNodes(nodes=nodes):
                for node in nodes:
                    self._put_node(node)
                count = len(nodes)
            case CordonNodes(names=names, is_cordoned=is_cordoned):
                count = len(names)
                for name in names:
                    if name in self.nodes:
                        present = self.nodes[name]
                        self._put_node(msgspec.structs.replace(present, unschedulable=is_cordoned))
            case RemoveNodes(names=names):
                count = len(names)
                for i, name in enumerate(names):
                    if self.nodes.pop(name, None) is None:
                        refused.append((i, Refusal(Status.NOT_FOUND, "name", "unknown")))
                self._show(Watched(removed=names))
                self._collect(names)
            case _:
                raise AssertionError(f"no request of an operator: {body}")
        answered(Acks(count, tuple(refused)))

    def _put_node(self, node: NodeSpec) -> None:
        self.nodes[node.name] = node
        self._show(Watched(nodes=(node,)))

    def _collect(self, names: tuple[str, ...]) -> None:
        """Objects on nodes that are gone are deleted by the garbage collector, some time later."""
        for view in list(self.objects.values()):
            if view.node in names:
                self.on_collected(view)
                self._world.after(
                    self._world.between(50 * MS, SECOND),
                    lambda view=view: self._end(view),  # type: ignore[misc]
                )

    def _change(self, view: ObjectView, **fields: Any) -> ObjectView:
        self._version += 1
        changed = msgspec.structs.replace(view, version=self._version, **fields)
        self.objects[view.replica] = changed
        self.since_us[view.replica] = self._world.now_us
        self._world.note("api-server", "has", changed)
        self._show(Watched((changed,)))
        self.on_changed(changed)
        return changed

    def _end(self, view: ObjectView) -> None:
        present = self.objects.get(view.replica)
        if present is not None and present.object == view.object:
            changed = self._change(present, state=ObjectState.DELETED)
            del self.objects[changed.replica]


def unit_of(spec: UnitSpec) -> HomeUnit:
    """A unit as the home has it."""
    groups = tuple(HomeGroup(g.klass.encoded(), g.count, g.min, g.pin) for g in spec.groups)
    return HomeUnit(*uid_of(spec.key), spec.key, 1, spec.priority, groups)


def _runs(deltas: list[Watched]) -> list[list[Watched]]:
    """Neighbours of one kind: within a message nodes count first, then units."""
    runs: list[list[Watched]] = []
    kind = ""
    for delta in deltas:
        before, kind = kind, "objects" if delta.objects else "units" if delta.units else ""
        # A node that is removed and comes back is two messages: one has no order within.
        if kind and kind == before:
            runs[-1].append(delta)
        else:
            runs.append([delta])
    return runs
