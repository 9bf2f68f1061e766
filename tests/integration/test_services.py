"""Each service by itself: health, reflection, sockets, a clean end, one owner, a full disk."""

from __future__ import annotations

import asyncio
import resource
import signal
import stat
import subprocess
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster
from tests.integration.embedded import NOT_SERVING, SERVICES, SERVING, Embedded
from tests.integration.load import Load, Refused, check_fate, explained
from tests.waiting import until

APIS = {
    "dispatcher": "godel.v1.Placement",
    "binder": "godel.v1.Cluster",
    "sharding": "godel.v1.Release",
}


async def reflected(address: str) -> set[str]:
    """Names of the services that reflection lists."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        reply = await call.read()
        await call.done_writing()
        return {service.name for service in reply.list_services_response.service}


async def test_every_service_has_health_reflection_and_private_sockets(embedded: Embedded) -> None:
    for service in SERVICES:
        names = await reflected(embedded.address(service))
        assert "grpc.health.v1.Health" in names
        assert APIS.get(service, "grpc.health.v1.Health") in names
    for service in ("dispatcher-link", "binder-link"):
        assert "godel.v1.Link" in await reflected(embedded.address(service))
    for path in embedded.state.glob("*.sock"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_sigterm_ends_every_service_with_status_0(embedded: Embedded) -> None:
    for service in SERVICES:
        embedded.signal(service, signal.SIGTERM)
    assert [await embedded.exit_status(service) for service in SERVICES] == [0] * len(SERVICES)


@pytest.mark.parametrize("service", ["binder", "dispatcher", "sharding"])
async def test_a_state_directory_has_one_owner_per_service(
    embedded: Embedded, service: str
) -> None:
    second = await asyncio.to_thread(
        subprocess.run,
        embedded.command(service),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode not in (0, 70), second.stderr
    assert "another process" in second.stderr
    assert "Traceback" not in second.stderr
    assert await embedded.health(service) == SERVING


@pytest.mark.parametrize(
    ("service", "file_bytes_max"), [("binder", 400_000), ("dispatcher", 1_200_000)]
)
async def test_a_full_disk_stops_progress_is_told_and_loses_nothing(
    embedded: Embedded,
    cluster: Cluster,
    placement: PlacementClient,
    service: str,
    file_bytes_max: int,
) -> None:
    embedded.limit_files(service, file_bytes_max)
    await cluster.register(100)
    load = Load("load/", 19_000, 1_000)
    submitting = asyncio.create_task(_submit(load, placement))

    async def is_told() -> bool:
        return "records cannot be written" in embedded.log(service)

    await until("the full disk is told", is_told)
    await until("health says so", lambda: _is_unwell(embedded, service))
    embedded.limit_files(service, resource.RLIM_INFINITY)
    await embedded.serving(service)
    await submitting
    room = 100 * 130
    await explained(cluster, placement, room)
    assert "core failed" not in embedded.log(service)
    embedded.kill()
    embedded.start()
    await embedded.serving()
    await explained(cluster, placement, room)
    assert await check_fate(cluster, placement, load) > 0


async def _is_unwell(home: Embedded, service: str) -> bool:
    return await home.health(service) == NOT_SERVING


async def _submit(load: Load, placement: PlacementClient) -> None:
    """Submit until everything is acknowledged; while the disk is full items are refused for now."""
    while True:
        try:
            await load.submit(placement)
        except Refused as refused:
            if not refused.retry_after_ms:
                raise
            await asyncio.sleep(0.2)
        else:
            return
