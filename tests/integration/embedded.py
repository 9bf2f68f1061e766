"""Services as processes in a state directory of their own: started, killed, stopped, continued.

Owned by the fixtures of `conftest`; every wait is for a condition and has a time-out.
"""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.waiting import until

START_SECONDS = 60.0
SERVING = int(health_pb2.HealthCheckResponse.SERVING)
NOT_SERVING = int(health_pb2.HealthCheckResponse.NOT_SERVING)
SERVICES = ("binder", "dispatcher", "scheduler-0", "scheduler-1", "sharding")


class Embedded:
    """One embedded home."""

    def __init__(self) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="godel-it-"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def address(self, service: str) -> str:
        """Where the service listens for clients."""
        return f"unix:{self.state}/{service}.sock"

    def log(self, service: str) -> str:
        """What the service has printed."""
        return (self.state / f"{service}.log").read_text(errors="replace")

    def command(self, service: str) -> list[str]:
        """How the service is started."""
        base = [sys.executable, "-m"]
        state = ["--state", str(self.state)]
        if service.startswith("scheduler-"):
            number = service.removeprefix("scheduler-")
            partition = ["--name", service, "--partition", number, "--partitions", "2"]
            return [*base, "scheduler", *state, *partition]
        return [*base, service, *state]

    def start(self, *services: str) -> None:
        """Start services that do not run."""
        for service in services or SERVICES:
            with (self.state / f"{service}.log").open("ab") as sink:
                self._running[service] = subprocess.Popen(
                    self.command(service), stdout=sink, stderr=sink
                )

    def kill(self, *services: str) -> None:
        """`kill -9`, and wait until they are gone."""
        for service in services or tuple(self._running):
            self._running[service].kill()
        for service in services or tuple(self._running):
            self._running.pop(service).wait()

    def signal(self, service: str, number: signal.Signals) -> None:
        """Send a signal."""
        self._running[service].send_signal(number)

    def limit_files(self, service: str, bytes_max: int) -> None:
        """The largest file that a running service may write: to SQLite the disk is full there."""
        pid = self._running[service].pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (bytes_max, resource.RLIM_INFINITY))

    def has_ended(self, service: str) -> bool:
        """Whether a service that was started runs no more."""
        return self._running[service].poll() is not None

    async def exit_status(self, service: str) -> int:
        """Wait for the end of a service."""

        async def status() -> tuple[int] | None:
            code = self._running[service].poll()
            return None if code is None else (code,)

        code: int = (await until(f"{service} ends", status))[0]
        del self._running[service]
        return code

    async def serving(self, *services: str) -> None:
        """Wait until their health says SERVING."""
        await asyncio.gather(*[self._serving(service) for service in services or SERVICES])

    async def _serving(self, service: str) -> None:
        async def is_serving() -> bool:
            code = self._running[service].poll()
            assert code is None, f"{service} ended with {code}:\n{self.log(service)[-3000:]}"
            return await self.health(service) == SERVING

        await until(f"{service} serves", is_serving, START_SECONDS)

    async def health(self, service: str) -> int:
        """What the service says of itself; -1 when it does not answer."""
        async with grpc.aio.insecure_channel(self.address(service)) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2.0)
            except grpc.RpcError:
                return -1
            return int(reply.status)

    def remove(self) -> None:
        """Kill what runs and delete the state."""
        if self._running:
            self.kill()
        shutil.rmtree(self.state)
