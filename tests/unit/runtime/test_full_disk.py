"""A disk that fills up: whoever waits for a record is told so by every service, in one way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from binder.core import BinderCore
from godel.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    placement_pb2,
    placement_pb2_grpc,
    release_pb2,
    release_pb2_grpc,
)
from runtime.cluster_api import ClusterLimits, ClusterServicer
from runtime.feed import FeedLimits
from runtime.loop import Shell
from runtime.placement_api import PlacementLimits, PlacementServicer
from runtime.release_api import ReleaseServicer
from runtime.servers import Listener
from sharding.core import RollingCore
from tests.unit.runtime.placement_world import FakeCore, a_batch, a_class, a_unit
from tests.unit.runtime.shells import HandStore, a_shell, turns, until
from tests.unit.runtime.test_release_api import a_set

FULL = "database or disk is full"
WAIT_MS = 500


@dataclass(frozen=True)
class Case:
    """One service: its parts, and calls that write, read and follow."""

    name: str
    make_core: Callable[[], Any]
    serve: Callable[[Shell, Any], Any]
    stub: Callable[[Any], Any]
    write: Callable[[Any], Any]
    reads: Callable[[Any], list[Any]]


def submit(stub: Any) -> Any:
    return stub.Submit(iter([a_batch(1, [a_unit("a")], a_class())])).read()


CASES = [
    Case(
        "dispatcher",
        FakeCore,
        lambda shell, core: PlacementServicer(shell, core, PlacementLimits(wait_ms_max=WAIT_MS)),
        placement_pb2_grpc.PlacementStub,
        submit,
        lambda stub: [
            stub.Get(placement_pb2.GetRequest(key="a")),
            stub.List(placement_pb2.ListRequest()),
            stub.Watch(placement_pb2.WatchRequest(is_snapshot_wanted=True)),
        ],
    ),
    Case(
        "binder",
        lambda: BinderCore(1),
        lambda shell, core: ClusterServicer(shell, core, ClusterLimits(wait_ms_max=WAIT_MS)),
        cluster_pb2_grpc.ClusterStub,
        lambda stub: stub.Register(cluster_pb2.RegisterRequest(nodes=[{"name": "n"}])),  # type: ignore[list-item]
        lambda stub: [
            stub.ListNodes(cluster_pb2.ListNodesRequest()),
            stub.WatchLedger(cluster_pb2.WatchLedgerRequest()),
        ],
    ),
    Case(
        "sharding",
        RollingCore,
        lambda shell, _: ReleaseServicer(shell, FeedLimits(wait_ms_max=WAIT_MS)),
        release_pb2_grpc.ReleaseStub,
        lambda stub: stub.Create(release_pb2.CreateRequest(spec=a_set())),
        lambda stub: [
            stub.GetRollingset(release_pb2.GetRollingsetRequest(name="web")),
            stub.ListRollingsets(release_pb2.ListRollingsetsRequest()),
            stub.WatchRollingset(release_pb2.WatchRollingsetRequest(name="web")),
        ],
    ),
]


@dataclass
class World:
    """A served core whose records are never durable, and a client of it."""

    store: HandStore
    stub: Any


@pytest.fixture(params=CASES, ids=lambda case: case.name)
async def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.param
    return made


@pytest.fixture
async def world(case: Case, tmp_path: Path) -> AsyncIterator[World]:
    core, store = case.make_core(), HandStore()
    shell = a_shell(core, store)
    listener = Listener(f"unix:{tmp_path}/x.sock", [], [case.serve(shell, core).add_to])
    await listener.start()
    async with grpc.aio.insecure_channel(listener.address) as channel:
        yield World(store, case.stub(channel))
    await listener.stop()


async def told(call: Any) -> tuple[int, str]:
    """Code and reason, whether the call ended with them or its one item was refused."""
    try:
        (refused,) = (await call).refused
    except grpc.aio.AioRpcError as error:
        return error.code().value[0], str(error.details())
    return refused.code, refused.reason


async def test_whoever_waits_when_the_disk_fills_is_told_so(case: Case, world: World) -> None:
    unavailable = grpc.StatusCode.UNAVAILABLE.value[0]
    under_way = asyncio.ensure_future(told(case.write(world.stub)))
    await until(lambda: world.store.appended)
    world.store.on_health(False, FULL)
    await turns()
    for call in case.reads(world.stub):
        async with asyncio.timeout(10):
            assert (await call.code(), FULL in await call.details()) == (
                grpc.StatusCode.UNAVAILABLE,
                True,
            )
    code, reason = await under_way
    assert (code, FULL in reason, "may still be done" in reason) == (unavailable, True, True)
    code, reason = await told(case.write(world.stub))
    assert (code, reason) == (unavailable, f"records cannot be written: {FULL}")
    assert len(world.store.appended) == 1
