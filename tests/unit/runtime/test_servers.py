"""Listeners: where they may listen, file modes, health, reflection, and a port that is taken."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from godel.v1 import cluster_pb2
from runtime.servers import SOCKET_PATH_BYTES_MAX, BadListener, Listener, check_address
from runtime.tls import BadTls

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize(
    ("address", "want_error"),
    [
        ("unix:/run/godel/x.sock", ""),
        ("127.0.0.1:7001", ""),
        ("[::1]:7001", ""),
        ("localhost:0", ""),
        ("0.0.0.0:7001", "mutual TLS"),
        ("[::]:7001", "mutual TLS"),
        ("10.0.0.1:7001", "mutual TLS"),
        ("example.org:7001", "mutual TLS"),
        ("unix:", "1 to 107 bytes"),
        ("unix:/" + "x" * SOCKET_PATH_BYTES_MAX, "1 to 107 bytes"),
        ("127.0.0.1", "neither"),
        ("127.0.0.1:http", "neither"),
        ("", "neither"),
    ],
)
def test_only_private_addresses_are_listened_on(address: str, want_error: str) -> None:
    if not want_error:
        assert check_address(address) is None
        return
    with pytest.raises((BadListener, BadTls), match=want_error):
        check_address(address)


def a_listener(address: str) -> Listener:
    return Listener(
        address,
        [cluster_pb2.DESCRIPTOR.services_by_name["Cluster"].full_name],
        [],
    )


async def test_health_and_reflection_are_on_every_listener(tmp_path: Path) -> None:
    listener = a_listener(f"unix:{tmp_path}/x.sock")
    await listener.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/x.sock") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for is_well, want in [(None, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)]:
            if is_well is not None:
                await listener.set_health(is_well)
            for name in ("", "godel.v1.Cluster"):
                reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
                assert reply.status == want
        names = await reflected(channel)
    await listener.stop()
    assert {"godel.v1.Cluster", "grpc.health.v1.Health"} <= names


async def test_a_message_above_the_limit_ends_its_call(tmp_path: Path) -> None:
    listener = Listener(f"unix:{tmp_path}/x.sock", [], [], message_bytes_max=1000)
    await listener.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/x.sock") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for size, want in (
            (990, grpc.StatusCode.NOT_FOUND),
            (1000, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            call = check(health_pb2.HealthCheckRequest(service="x" * size))
            assert await call.code() is want
    await listener.stop()


async def reflected(channel: grpc.aio.Channel) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    return {
        service.name async for reply in call for service in reply.list_services_response.service
    }


async def test_a_socket_is_for_its_owner_only_and_the_mask_comes_back(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        listener = a_listener(f"unix:{tmp_path}/x.sock")
        await listener.start()
        mode = stat.S_IMODE((await asyncio.to_thread(os.stat, tmp_path / "x.sock")).st_mode)
        await listener.stop()
        assert (mode, os.umask(0o022)) == (0o600, 0o022)
    finally:
        os.umask(before)


async def test_a_dead_ones_socket_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    path.touch()
    listener = a_listener(f"unix:{path}")
    await listener.start()
    await listener.set_health(True)
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    await listener.stop()
    assert reply.status == SERVING


async def test_a_port_that_is_taken_is_refused(unused_tcp_port: int) -> None:
    first = a_listener(f"127.0.0.1:{unused_tcp_port}")
    await first.start()
    with pytest.raises(BadListener, match=str(unused_tcp_port)):
        await a_listener(f"127.0.0.1:{unused_tcp_port}").start()
    await first.stop()
