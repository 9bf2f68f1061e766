"""Every method of every service ends a call that it cannot take with a status that says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from binder.core import BinderCore
from godel.v1 import cluster_pb2, placement_pb2, release_pb2
from runtime.cluster_api import ClusterServicer
from runtime.placement_api import PlacementServicer
from runtime.release_api import ReleaseServicer
from runtime.servers import Listener
from sharding.core import RollingCore
from tests.unit.runtime.placement_world import FakeCore
from tests.unit.runtime.shells import a_shell

GARBAGE = b"\xff\xff\xff\xff"
METHODS = [
    f"{service.full_name}/{method.name}"
    for file in (placement_pb2, cluster_pb2, release_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
HEALTH = ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"]


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[Any]:
    """A connection to all services on one listener."""
    core, binder = FakeCore(), BinderCore(1)
    servicers: list[Any] = [
        PlacementServicer(a_shell(core), core),
        ClusterServicer(a_shell(binder), binder),
        ReleaseServicer(a_shell(RollingCore())),
    ]
    address = f"unix:{tmp_path}/x.sock"
    listener = Listener(address, [], [servicer.add_to for servicer in servicers])
    await listener.start()
    async with grpc.aio.insecure_channel(address) as made:
        yield made
    await listener.stop()


@pytest.mark.parametrize("method", [*METHODS, *HEALTH])
async def test_garbage_is_an_invalid_argument(method: str, channel: Any) -> None:
    call = channel.stream_stream(f"/{method}")()
    await call.write(GARBAGE)
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await call.details()


async def test_an_unknown_method_is_unimplemented(channel: Any) -> None:
    call = channel.stream_stream("/godel.v1.Placement/Nothing")()
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
