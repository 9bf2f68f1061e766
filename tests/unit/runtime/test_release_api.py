"""The Release API over a real socket, in front of the real rolling controller's core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from cell.effects import PeerUp, Received
from cell.link import Hello
from cell.release import DISPATCHER
from godel.v1 import release_pb2, release_pb2_grpc, types_pb2
from runtime.link_rpc import END
from runtime.loop import Shell
from runtime.release_api import ReleaseServicer
from runtime.servers import Listener
from sharding.core import RollingCore
from tests.unit.runtime.shells import HandStore, a_shell, turns
from tests.unit.sharding.fake_dispatcher import FakeDispatcher

pb = release_pb2
Code = grpc.StatusCode


class Instant:
    """A port to a dispatcher that answers at once."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._dispatcher = FakeDispatcher()

    def send(self, body: Any) -> None:
        for answer in self._dispatcher.receive(body):
            self._shell.put(Received(DISPATCHER, answer))


@dataclass
class World:
    stub: Any
    shell: Shell
    store: HandStore

    def connect(self) -> None:
        hello = Hello(name=DISPATCHER, role=DISPATCHER)
        self.shell.put(PeerUp(DISPATCHER, hello), Instant(self.shell))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = HandStore()
    shell = a_shell(RollingCore(), store)
    append = store.append

    def durable_at_once(item: Any) -> int:
        ticket = append(item)
        asyncio.get_running_loop().call_soon(store.on_durable, ticket)
        return ticket

    store.append = durable_at_once  # type: ignore[method-assign]
    servicer = ReleaseServicer(shell)
    listener = Listener(
        f"unix:{tmp_path}/r.sock",
        [],
        [servicer.add_to],
    )
    await listener.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/r.sock") as channel:
        yield World(release_pb2_grpc.ReleaseStub(channel), shell, store)
    await listener.stop()


def a_set(name: str = "web", cpu: int = 100, **fields: Any) -> pb.Rollingset:
    affinity = types_pb2.Affinity(
        terms=[
            types_pb2.Term(
                labels=[
                    types_pb2.Requirement(
                        key="zone", operator=types_pb2.OPERATOR_IN, values=["a", "b"]
                    )
                ]
            )
        ]
    )
    spec = types_pb2.ClassSpec(
        demand={"cpu": cpu},
        selector={"disk": "ssd"},
        affinity=affinity,
        tolerations=[types_pb2.Toleration(key="k", operator="Exists")],
    )
    columns = [pb.Column(name="a", spec=spec, count=2)]
    return pb.Rollingset(**{"name": name, "rows": 3, "columns": columns, **fields})


async def test_what_was_created_is_shown_as_it_was_asked_for(world: World) -> None:
    view = await world.stub.Create(pb.CreateRequest(spec=a_set()))
    again = await world.stub.Create(pb.CreateRequest(spec=a_set()))
    assert (view.generation, view.latest, again.generation) == (1, 1, 1)
    want = a_set(max_unavailable="1", max_surge="0", keep="0")
    want.columns[0].spec.profile = "default"
    assert view.spec == want
    listed = await world.stub.ListRollingsets(pb.ListRollingsetsRequest())
    assert [(v.spec.name, len(v.rows)) for v in listed.rollingsets] == [("web", 0)]


@dataclass(frozen=True)
class Case:
    name: str
    request: pb.CreateRequest
    want_code: Code
    want_text: str


def creates(**fields: Any) -> pb.CreateRequest:
    return pb.CreateRequest(spec=a_set(**fields))


CASES = [
    Case("no spec", pb.CreateRequest(), Code.INVALID_ARGUMENT, "spec: is absent"),
    Case("no name", creates(name=""), Code.INVALID_ARGUMENT, "name: is empty"),
    Case("surge", creates(max_surge="1"), Code.UNIMPLEMENTED, "max_surge: "),
    Case("a place for later", creates(place=1), Code.UNIMPLEMENTED, "place: "),
    Case("no such place", creates(place=9), Code.INVALID_ARGUMENT, "place: 9 is no place"),
    Case("no columns", creates(columns=[]), Code.INVALID_ARGUMENT, "columns: "),
    Case(
        "a column without a class",
        creates(columns=[pb.Column(name="a")]),
        Code.INVALID_ARGUMENT,
        "columns[0].spec: is absent",
    ),
    Case(
        "a negative demand", creates(cpu=-5), Code.INVALID_ARGUMENT, "columns[0].spec.demand[cpu]: "
    ),
    Case(
        "a budget of nothing",
        creates(max_unavailable="0"),
        Code.INVALID_ARGUMENT,
        "max_unavailable: ",
    ),
    Case("no number", creates(keep="some"), Code.INVALID_ARGUMENT, "keep: "),
    Case(
        "columns by the thousand",
        creates(columns=[pb.Column(spec=types_pb2.ClassSpec())] * 17),
        Code.INVALID_ARGUMENT,
        "columns: 17 entries, limit 16",
    ),
    Case("too many rows", creates(rows=1 << 20), Code.INVALID_ARGUMENT, "rows: "),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_what_cannot_be_released_is_refused_by_its_field(case: Case, world: World) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.stub.Create(case.request)
    assert refused.value.code() is case.want_code
    assert (refused.value.details() or "").startswith(case.want_text)
    assert world.store.appended == []


async def test_requests_about_what_is_not_there_or_has_changed(world: World) -> None:
    codes = []
    await world.stub.Create(pb.CreateRequest(spec=a_set()))
    for call in (
        world.stub.GetRollingset(pb.GetRollingsetRequest(name="x")),
        world.stub.Delete(pb.DeleteRequest(name="x")),
        world.stub.Update(pb.UpdateRequest(spec=a_set("x"))),
        world.stub.Update(pb.UpdateRequest(spec=a_set(cpu=200), generation=7)),
        world.stub.Create(pb.CreateRequest(spec=a_set(cpu=200))),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        codes.append(refused.value.code())
    assert codes == [
        Code.NOT_FOUND,
        Code.NOT_FOUND,
        Code.NOT_FOUND,
        Code.FAILED_PRECONDITION,
        Code.ALREADY_EXISTS,
    ]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.stub.WatchRollingset(pb.WatchRollingsetRequest(name="x")).read()
    assert refused.value.code() is Code.NOT_FOUND


async def test_a_rollingset_is_followed_until_it_is_deleted(world: World) -> None:
    world.connect()
    await world.stub.Create(pb.CreateRequest(spec=a_set()))
    watch = world.stub.WatchRollingset(pb.WatchRollingsetRequest(name="web"))
    first = await watch.read()
    assert (first.spec.name, list(first.rows)) == ("web", [])
    await world.stub.Update(pb.UpdateRequest(spec=a_set(cpu=200), generation=1))
    await world.stub.Delete(pb.DeleteRequest(name="web"))
    seen = []
    while (view := await watch.read()) is not END:
        seen.append(view)
    assert [view.word for view in seen][-1] == "Deleted"
    assert 2 in [view.latest for view in seen]
    assert all(not view.rows for view in seen)


async def test_one_rollingset_is_shown_with_its_rows(world: World) -> None:
    world.connect()
    await world.stub.Create(pb.CreateRequest(spec=a_set()))
    await turns(20)
    view = await world.stub.GetRollingset(pb.GetRollingsetRequest(name="web"))
    assert [(row.ordinal, row.key, row.replicas) for row in view.rows] == [
        (i, f"web/{i}/{i + 1}", 2) for i in range(3)
    ]
    assert "0 of 2 replicas are ready" in view.why


async def test_nothing_is_changed_while_records_cannot_be_written(world: World) -> None:
    world.store.on_health(False, "database or disk is full")
    await turns()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.stub.Create(pb.CreateRequest(spec=a_set()))
    assert refused.value.code() is Code.UNAVAILABLE
    assert "disk is full" in (refused.value.details() or "")
    assert world.store.appended == []
