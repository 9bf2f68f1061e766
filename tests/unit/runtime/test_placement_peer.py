"""The rolling controller's session with a dispatcher: a real Placement API, real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cell.classes import ClassSpec, Toleration, normalise
from cell.effects import Answer, Effect, PeerDown, PeerUp, Publish, Received, Request
from cell.messages import (
    NO_NODE,
    Acks,
    Amend,
    AmendItem,
    ChangeRows,
    Changes,
    ReplicaView,
    Submit,
    Summary,
    UnitView,
)
from cell.reasons import Reason, Refusal, Status
from cell.release import (
    Call,
    CreateRollingset,
    DeleteRollingset,
    GetRollingset,
    ReleaseColumn,
    RollingsetSpec,
    RollingsetView,
    Seen,
    UpdateRollingset,
    Watch,
)
from cell.requirements import Operator, Requirement, Term
from cell.unit import NO_PIN, WHOLE_UNIT, GroupBatch, GroupSpec, Phase, Place, UnitBatch, uid_of
from godel.v1 import types_pb2
from runtime import wire, wire_units, wire_views
from runtime.loop import Shell
from runtime.placement_api import PlacementServicer
from runtime.placement_client import PlacementClient
from runtime.placement_peer import (
    PlacementPeer,
    acks_of,
    amend_request,
    changes_of,
    submit_request,
    unit_view,
)
from runtime.servers import Listener
from runtime.wire_classes import ClassNumbers
from sharding.core import RollingCore
from tests.unit.runtime.shells import a_shell, until
from tests.unit.sharding.fake_dispatcher import FakeDispatcher

CLASSES = (
    normalise(ClassSpec(demand=(("cpu", 100),))),
    normalise(
        ClassSpec(
            demand=(("cpu", 200), ("memory", 1 << 30)),
            selector=(("disk", "ssd"),),
            affinity=(
                Term((Requirement("zone", Operator.NOT_IN, ("a", "b")),)),
                Term((), (Requirement("metadata.name", Operator.IN, ("n1",)),)),
            ),
            tolerations=(Toleration("k", "Exists", "", "NoSchedule"),),
            profile="pack",
        )
    ),
    normalise(ClassSpec(affinity=())),
)


async def test_a_submission_arrives_as_it_was_meant() -> None:
    uids = [uid_of(key) for key in ("a", "b")]
    body = Submit(
        units=UnitBatch.of(
            uid_hi=[hi for hi, _ in uids],
            uid_lo=[lo for _, lo in uids],
            priority=[-3, 7],
            groups=[1, 2],
        ),
        groups=GroupBatch.of(klass=[2, 0, 1], count=[1, 2, 3], min=[1, 2, 1], pin=[NO_PIN, 0, 1]),
        keys=("a", "b"),
        classes=CLASSES,
        roles=("x", "y", "z"),
        pins=("n1", "n2"),
    )
    client = PlacementClient("unix:/nowhere.sock")
    client.class_number(types_pb2.ClassSpec(demand={"other": 1}))
    request = submit_request(body, client)
    request.classes.extend(client._classes)
    arrived = wire_units.submit(request, ClassNumbers(10), 10)
    await client.close()
    made = arrived.body
    assert isinstance(made, Submit)
    assert not arrived.refused
    assert made.units.rows() == body.units.rows()
    specs = [made.classes[k] for k in made.groups.klass.tolist()]
    assert specs == [CLASSES[k] for k in body.groups.klass.tolist()]
    for name in ("count", "min"):
        assert getattr(made.groups, name).tolist() == getattr(body.groups, name).tolist()
    pins = [made.pins[p] if p >= 0 else "" for p in made.groups.pin.tolist()]
    assert (made.keys, made.roles, pins) == (("a", "b"), ("x", "y", "z"), ["", "n1", "n2"])


def test_an_amendment_arrives_as_it_was_meant() -> None:
    groups = tuple(GroupSpec(spec, f"r{i}", i + 1, i + 1) for i, spec in enumerate(CLASSES))
    body = Amend(
        (
            AmendItem("a", 2, groups, Place.ANYWHERE),
            AmendItem("b", 5, groups[::-1], Place.KEEP),
        )
    )
    arrived = wire.amend(amend_request(body), 10, 10)
    assert (arrived.body, arrived.refused) == (body, [])


def test_changes_come_back_as_they_were_published() -> None:
    rows = ChangeRows.of(
        revision=[1, 2],
        group=[0, 1],
        ordinal=[0, WHOLE_UNIT],
        phase=[Phase.BOUND, Phase.WAITING],
        node=[0, NO_NODE],
        reason=[0, Reason.INSUFFICIENT_RESOURCE],
        argument=[0, 0],
    )
    changes = Changes(("a", "b"), rows, ("n1",), ("cpu",), 77)
    made = changes_of(wire_views.packed_reply([changes]))
    assert (made.keys, made.nodes, made.resources, made.at_us) == (
        ("a", "b"),
        ("n1",),
        ("cpu",),
        77,
    )
    assert made.rows.rows() == rows.rows()


def test_a_unit_of_a_snapshot_comes_back_as_it_is() -> None:
    replicas = (ReplicaView(0, 0, "READY", "n1"), ReplicaView(1, 3, "WAITING"))
    view = UnitView("a", "00", 3, -1, "RUNNING", {"READY": 1}, "why", ("w",), 5, 6, 2, replicas)
    assert unit_view(wire_views.unit_view(view)) == view


def test_an_answer_keeps_its_refusals() -> None:
    refused = ((1, Refusal(Status.RESOURCE_EXHAUSTED, "key", "too many", 500)),)
    reply = types_pb2.BatchReply(count=3, refused=wire_views.refused_items(refused))
    assert acks_of(reply) == Acks(3, refused)


class StandIn:
    """A dispatcher's core made of the fake that the controller's own tests use."""

    def __init__(self) -> None:
        self.fake = FakeDispatcher()
        self.fake.receive(Watch(""))
        self.requests: list[Any] = []

    def handle(self, now_us: int, event: Any) -> list[Effect]:
        self.fake.now_us = now_us
        if isinstance(event, Request):
            self.requests.append(event.body)
            called, *news = self.fake.receive(Call(0, event.body))
            return [Answer(event.token, called.body), *map(Publish, news)]
        assert isinstance(event, Received)
        return [Publish(c) for key in self.fake.units for c in self.fake.report(key, event.body)]

    def snapshot(self) -> list[Any]:
        return []

    def unit(self, key: str) -> UnitView | None:
        return None

    def units(self, prefix: str, word: str, count_max: int) -> list[UnitView]:
        return []

    def units_whole(self, prefix: str) -> list[UnitView]:
        (seen,) = self.fake.receive(Watch(prefix))
        assert isinstance(seen, Seen)
        return list(seen.views)

    def summary(self) -> Summary:
        return Summary({}, {})


@asynccontextmanager
async def serving(shell: Shell, core: StandIn, path: Path) -> AsyncIterator[None]:
    servicer = PlacementServicer(shell, core)
    listener = Listener(
        f"unix:{path}",
        [],
        [servicer.add_to],
    )
    await listener.start()
    try:
        yield
    finally:
        await listener.stop()


class World:
    """A controller that dials a dispatcher's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.core = Noting()
        self.shell = a_shell(self.core)
        self.peer = PlacementPeer(self.shell, f"unix:{path}")
        self.dispatcher = StandIn()
        self.dispatcher_shell = a_shell(self.dispatcher)

    def serving(self) -> Any:
        return serving(self.dispatcher_shell, self.dispatcher, self.path)

    async def view(self) -> Any:
        """The rollingset, or why there is none."""
        return await self.shell.ask(GetRollingset("web"))

    def report(self, phase: Phase) -> None:
        self.dispatcher_shell.put(Received("node", phase))

    async def rows(self, condition: Any) -> None:
        async def is_so() -> bool:
            return bool(condition(await self.view()))

        await until(is_so)


class Noting(RollingCore):
    """The real core, with its sessions written down."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[str] = []

    def handle(self, now_us: int, event: Any) -> list[Effect]:
        if isinstance(event, PeerUp | PeerDown):
            self.sessions.append(type(event).__name__)
        return super().handle(now_us, event)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "d.sock")
    task = asyncio.ensure_future(made.peer.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def a_set(cpu: int, rows: int = 3) -> RollingsetSpec:
    klass = normalise(ClassSpec(demand=(("cpu", cpu),)))
    return RollingsetSpec(name="web", rows=rows, columns=(ReleaseColumn("a", klass, 2),))


def all_ready(view: RollingsetView) -> bool:
    return view.ready_rows == view.spec.rows


async def test_a_service_is_released_through_the_placement_api(world: World) -> None:
    async with world.serving():
        await world.shell.ask(CreateRollingset(a_set(100)))
        await until(lambda: len(world.dispatcher.fake.units) == 3)
        world.report(Phase.READY)
        await world.rows(all_ready)
        await world.shell.ask(UpdateRollingset(a_set(200)))
        for count in (1, 2, 3):
            await until(lambda n=count: amended(world.dispatcher) == n)  # type: ignore[misc]
            world.report(Phase.READY)
        await world.rows(lambda view: all_ready(view) and view.word == "Settled")
    assert [v.version for v in (await world.view()).versions] == [2]


def amended(dispatcher: StandIn) -> int:
    return sum(unit.revision == 2 for unit in dispatcher.fake.units.values())


async def test_a_lost_dispatcher_is_told_once_and_found_again(world: World) -> None:
    async with world.serving():
        await world.shell.ask(CreateRollingset(a_set(100)))
        await until(lambda: len(world.dispatcher.fake.units) == 3)
    await until(lambda: world.core.sessions == ["PeerUp", "PeerDown"])
    for key in world.dispatcher.fake.units:
        world.dispatcher.fake.report(key, Phase.READY)
    async with world.serving():
        await world.rows(all_ready)
    assert world.core.sessions[:3] == ["PeerUp", "PeerDown", "PeerUp"]


async def test_a_dispatcher_without_a_rollingset_to_watch_is_noticed_too(world: World) -> None:
    async with world.serving():
        await until(lambda: world.core.sessions == ["PeerUp"])
    await until(lambda: len(world.core.sessions) == 2)
    async with world.serving():
        await until(lambda: len(world.core.sessions) >= 3)
    assert world.core.sessions[:3] == ["PeerUp", "PeerDown", "PeerUp"]


async def test_a_deleted_rollingset_is_cancelled_and_no_longer_watched(world: World) -> None:
    async with world.serving():
        await world.shell.ask(CreateRollingset(a_set(100)))
        await until(lambda: len(world.dispatcher.fake.units) == 3)
        await world.shell.ask(DeleteRollingset("web"))
        await until(lambda: all(u.is_over for u in world.dispatcher.fake.units.values()))
        await world.rows(lambda view: isinstance(view, Refusal))
        await world.shell.ask(CreateRollingset(a_set(300)))
        await until(lambda: len(world.dispatcher.fake.units) == 6)
        world.report(Phase.READY)
        await world.rows(all_ready)
        assert world.core.sessions == ["PeerUp"]
