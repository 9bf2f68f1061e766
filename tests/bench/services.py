"""Starts the measured processes and reads their CPU."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from godel.v1 import cluster_pb2, cluster_pb2_grpc
from tests import waiting

GIB = 1 << 30
NODE = {"cpu": 2_000_000, "memory": 8_000 * GIB, "pods": 10_000}
"""Large enough that no round fills the cluster: what is measured is scheduling, not waiting."""
REGISTER_BATCH = 1_000
START_SECONDS = 60.0


@contextmanager
def processes(commands: dict[str, list[str]], log: Path) -> Iterator[dict[str, psutil.Process]]:
    """Run `python -m ...` per role; killed at the end."""
    started = {}
    with log.open("ab") as sink:
        for role, command in commands.items():
            started[role] = subprocess.Popen(
                [sys.executable, "-m", *command], stdout=sink, stderr=sink
            )
    try:
        yield {role: psutil.Process(process.pid) for role, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
        for process in started.values():
            process.wait()


def null_commands(directory: Path) -> dict[str, list[str]]:
    """The null pipeline's three services."""
    roles = ("dispatcher", "scheduler", "binder")
    return {role: ["tests.bench.null", role, str(directory)] for role in roles}


def real_commands(directory: Path) -> dict[str, list[str]]:
    """The embedded home with one scheduler, like the null pipeline."""
    state = ["--state", str(directory)]
    scheduler = ["--name", "scheduler-0", "--partition", "0", "--partitions", "1"]
    return {
        "binder": ["binder", *state],
        "dispatcher": ["dispatcher", *state],
        "scheduler": ["scheduler", *state, *scheduler],
    }


async def ready(directory: Path, nodes: int) -> None:
    """Wait for all services, with `nodes` like nodes registered."""
    for name in ("binder", "dispatcher", "scheduler-0"):
        await until(directory / f"{name}.sock")
        await serving(directory / f"{name}.sock")
    await register(directory / "binder.sock", nodes)


async def serving(socket: Path) -> None:
    """Wait until the health service says so."""
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        async for reply in stub.Watch(request, wait_for_ready=True, timeout=START_SECONDS):
            if reply.status == health_pb2.HealthCheckResponse.SERVING:
                return


def cpu_seconds(of: dict[str, psutil.Process]) -> dict[str, float]:
    """User and system time per role, the client (this process) included."""
    times = {role: process.cpu_times() for role, process in of.items()}
    times["client"] = psutil.Process().cpu_times()
    return {role: t.user + t.system for role, t in times.items()}


async def register(socket: Path, count: int) -> None:
    """Register `count` like nodes."""
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)
        for start in range(0, count, REGISTER_BATCH):
            nodes = [
                cluster_pb2.Node(name=f"node-{i:05}", allocatable=NODE)
                for i in range(start, min(count, start + REGISTER_BATCH))
            ]
            reply = await stub.Register(
                cluster_pb2.RegisterRequest(nodes=nodes), wait_for_ready=True
            )
            if reply.refused:
                raise RuntimeError(f"node refused: {reply.refused[0]}")


async def until(socket: Path, seconds: float = START_SECONDS) -> None:
    """Wait for a service to bind its socket."""
    await waiting.until(f"{socket} is there", lambda: os.path.exists(socket), seconds)
