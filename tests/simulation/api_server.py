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
    Answers,
    Code,
    Create,
    Delete,
    Evict,
    GangPhase,
    GangRecord,
    GangState,
    HomeGang,
    HomeGroup,
    HomeUnit,
    Note,
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
from tests.simulation.api_watch import ApiWatch, give
from tests.simulation.node import Node
from tests.simulation.pod_groups import PodGroups
from tests.simulation.world import MS, SECOND, World

HOLDS_ROOM = (ObjectState.BOUND, ObjectState.TERMINATING)
REFUSALS = {Code.CONFLICT: "api conflict", Code.GONE: "api gone"}
"""Answers that a lost one, or somebody else, has brought about: counted as faults."""
NOTE_US_MAX = 400 * MS
GATHER_US_MAX = 10 * MS
GRACE_US = (20 * MS, 400 * MS)
"""How long an object takes from its eviction to its end."""


class ApiServer:
    """See the module. Ratios are shares of calls; all zero means well."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.throttled_ratio = 0.0
        self.lost_ratio = 0.0
        self.slow_ratio = 0.0
        self.watch = ApiWatch(world)
        self.gathered_ratio = 0.0
        """Of answers: told with others, in one event."""
        self.objects: dict[Replica, ObjectView] = {}
        self.records: dict[tuple[int, int], RecordView] = {}
        self.nodes: dict[str, NodeSpec] = {}
        self.pod_groups = PodGroups()
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
        self._newest: dict[str, GangState] = {}
        """How gangs stand, as was to be noted last."""
        self._gathered: dict[int, list[Answered]] = {}

    # The binder's calls

    def call(self, node: Node, body: Any) -> None:
        """Perform a call of a core, in its own time."""
        world, life = self._world, node.life
        if isinstance(body, Note):
            self._newest.update({state.key: state for state in body.states})
            keys = [state.key for state in body.states]
            world.after(world.between(MS, NOTE_US_MAX), lambda: self._write_newest(life, keys))
            return
        if isinstance(body, Write):
            self.pod_groups.put(body)
            if body.is_held:
                self._note(life, GangState(body.gang, GangPhase.SCHEDULED, body.gang_uid))
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
            self.pod_groups.listed(self.records)
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

    def _write_newest(self, life: int, keys: list[str]) -> None:
        """The binder's process writes how gangs stand until that is taken."""
        for key in keys:
            self._note(life, self._newest[key])

    def _note(self, life: int, state: GangState) -> None:
        gang = self.pod_groups.gangs.get(state.key)
        if gang is not None and gang.uid == state.uid and life == self._leader_life:
            self.put_gang(msgspec.structs.replace(gang, phase=state.phase))

    def _answer(self, node: Node, life: int, answer: Any, delay_us: int) -> None:
        is_gathered = isinstance(answer, Answered) and self._world.chance(self.gathered_ratio)
        if is_gathered and node.role == "binder":
            self._gather(node, life, answer)
            return
        packed = wire.pack(answer)
        self._world.after(delay_us, lambda: give(node, life, wire.unpack(packed)))

    def _gather(self, node: Node, life: int, answer: Answered) -> None:
        """The client gathers for some milliseconds what comes quickly."""
        gathered = self._gathered.setdefault(life, [])
        gathered.append(answer)
        if len(gathered) == 1:
            wait_us = self._world.between(MS, GATHER_US_MAX)
            self._world.after(wait_us, lambda: self._tell(node, life))

    def _tell(self, node: Node, life: int) -> None:
        answers = Answers(tuple(self._gathered.pop(life)))
        give(node, life, wire.unpack(wire.pack(answers)))

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
        uid = self.pod_groups.slot_of(body)
        if uid is None or (uid in self.alone and uid not in self.units):
            return Answered(body.call, Code.GONE)
        if self.pod_groups.is_anothers(body, uid):
            return Answered(body.call, Code.THROTTLED)
        present = self.records.get(uid, RecordView(0, None))
        if present.version != body.version:
            return Answered(body.call, Code.CONFLICT)
        kept = self._keep(uid, body.record)
        if body.gang and body.record is not None:
            self.pod_groups.wrote(body.record)
        if uid in self.alone:
            self.on_recorded(self.units[uid], life)
        return Answered(body.call, Code.OK, version=kept.version)

    def _read_record(self, body: ReadRecord) -> Answered:
        uid = self.pod_groups.slot_of(body)
        if uid is None or (uid in self.alone and uid not in self.units):
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
            self.watch.show(Watched(units=(unit,)))
        return kept

    # The watch

    def cut_watch(self) -> None:
        """The watch has a gap from now on (410 Gone): it has to be listed again."""
        watcher = self.watch.cut()
        if watcher is not None:
            node, life = watcher
            self._answer(node, life, WatchLost(), self._world.between(MS, 20 * MS))

    def _relist(self, node: Node, life: int, call: int) -> None:
        if node.life != life:
            return
        self._fence(life)
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
            (*self.units.values(), *self._member_units(*self.objects.values())),
            tuple(self.pod_groups.gangs.values()),
        )
        self.watch.begin(node, life, listed)

    # Everybody else

    def put_gang(self, gang: HomeGang) -> None:
        """Somebody makes or changes a PodGroup, or deletes it."""
        before = self.pod_groups.gangs.get(gang.key)
        if gang.is_over:
            self.pod_groups.gangs.pop(gang.key, None)
        elif gang == before:
            return
        else:
            self.pod_groups.gangs[gang.key] = gang
        self._world.note("api-server", "has no more" if gang.is_over else "has", gang)
        self.watch.show(Watched(gangs=(gang,)))

    def create_pod(self, replica: Replica, unit: HomeUnit) -> None:
        """Somebody makes a pod of a gang."""
        self.pod_groups.add(replica, unit, self._objects_made + 1)
        self.create(replica, unit.groups[0].klass)

    def _member_units(self, *views: ObjectView) -> tuple[HomeUnit, ...]:
        return tuple(unit for view in views for unit in self.pod_groups.units_of(view))

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
        self.watch.show(Watched(units=(unit,)))

    def end_unit(self, uid: tuple[int, int]) -> bool:
        """Nobody wants it any more; whether it was there."""
        unit = self.units.pop(uid, None)
        if unit is not None:
            if uid in self.alone:
                del self.records[uid]
            self._world.note("api-server", "has no more", unit)
            self.watch.show(Watched(units=(msgspec.structs.replace(unit, is_over=True),)))
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
                self.watch.show(Watched(removed=names))
                self._collect(names)
            case _:
                raise AssertionError(f"no request of an operator: {body}")
        answered(Acks(count, tuple(refused)))

    def _put_node(self, node: NodeSpec) -> None:
        self.nodes[node.name] = node
        self.watch.show(Watched(nodes=(node,)))

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
        self.watch.show(Watched((changed,), units=self._member_units(changed)))
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
