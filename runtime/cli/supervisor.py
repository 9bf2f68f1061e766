"""Runs each service as its own process on one state directory: start, health, restart, stop.

Used by `godel up` and `godel demo`. What must hold: one supervisor per state directory; a service
that died is started again after a backoff, and the log says so; stopping goes from those who ask to
those who own: nodes, sharding, schedulers, dispatcher, binder. The processes of a supervisor that
was killed are found by their recorded start time and ended before new ones are started.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.config import client_address
from runtime.kernel_cache import export_kernel_cache
from runtime.link_rpc import CHANNEL_OPTIONS
from runtime.log import Log
from runtime.store import Lock, StoreInUse, private_directory

START_SECONDS_MAX = 300.0
"""Until all are healthy; compiling kernels on a cold cache is the most of it."""
HEALTH_POLL_SECONDS = 0.1
HEALTH_SECONDS_MAX = 2.0
BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 5.0
STEADY_SECONDS = 30.0
"""A service that lived so long begins again with the least backoff."""
STOP_SECONDS_MAX = 8.0
LOG_BYTES_MAX = 16 << 20
"""A log larger than this at a service's start is moved to NAME.log.1."""
LOG_TAIL_LINES = 5
START_TIME_SLACK_SECONDS = 0.5


class StartFailed(RuntimeError):
    """The services cannot be started; the text says which one and why."""


@dataclass(frozen=True)
class ServiceCommand:
    """One service: `python -m module arguments`, healthy at `address`; stopped in `stage` order."""

    name: str
    module: str
    arguments: tuple[str, ...]
    address: str
    stage: int


def commands(
    state: Path, *, schedulers: int, nodes: str, seed: int, configs: Path | None = None
) -> list[ServiceCommand]:
    """The services of an embedded home, in the order of their start; no simulator without nodes."""

    def command(name: str, module: str, stage: int, *arguments: str) -> ServiceCommand:
        config = () if configs is None else _config(configs / f"{module}.yaml")
        whole = ("--state", str(state), *config, *arguments)
        return ServiceCommand(name, module, whole, client_address(state, name), stage)

    made = [command("binder", "binder", 3), command("dispatcher", "dispatcher", 2)]
    for i in range(schedulers):
        name = f"scheduler-{i}"
        share = ("--partition", str(i), "--partitions", str(schedulers))
        made.append(command(name, "scheduler", 1, "--name", name, *share))
    made.append(command("sharding", "sharding", 0))
    if nodes:
        simulator = ("--state", str(state), "--nodes", nodes, "--seed", str(seed))
        address = client_address(state, "nodes")
        made.append(ServiceCommand("nodes", "loadtest.nodes", simulator, address, 0))
    return made


def _config(path: Path) -> tuple[str, ...]:
    return ("--config", str(path)) if path.is_file() else ()


class Child:
    """One service's process, started again and again."""

    def __init__(self, command: ServiceCommand) -> None:
        self.command = command
        self.process: asyncio.subprocess.Process | None = None
        self.started_s = 0.0
        self.restarts = 0
        self.was_healthy = False
        self.is_healthy = False

    @property
    def pid(self) -> int:
        """Of the present process; 0: none."""
        return self.process.pid if self.process is not None else 0


class Supervisor:
    """`start`, then `run` until cancelled, then `stop`. Raises StartFailed when the state directory
    is in use.
    """

    def __init__(self, state: Path, services: Sequence[ServiceCommand], log: Log) -> None:
        try:
            self.state = private_directory(state.absolute())
            self._lock = Lock(self.state / "up.lock")
        except StoreInUse:
            owner = _owner(state)
            raise StartFailed(f"{state} is in use by another `godel up`{owner}") from None
        except OSError as error:
            raise StartFailed(f"{state}: {error}") from None
        self.logs = private_directory(self.state / "log")
        self.children = [Child(command) for command in services]
        self._log = log
        self._is_stopping = False
        self._keepers: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] | None = None

    async def start(self, on_waiting: Callable[[list[str]], None] = lambda _: None) -> None:
        """Start all and wait until they are healthy; `on_waiting` is told now and then of whom.

        Raises StartFailed with the last lines of a service's log.
        """
        self._end_left_over()
        self._failed = asyncio.get_running_loop().create_future()
        held_back = _like_earlier(self.children) if is_cache_cold() else []
        for child in self.children:
            if child not in held_back:
                await self._begin(child)
        deadline = time.monotonic() + START_SECONDS_MAX
        while waiting := [c.command.name for c in self.children if not c.was_healthy]:
            if self._failed.done():
                self._failed.result()
            held_back = await self._begin_ready(held_back)
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{', '.join(waiting)} not healthy after {START_SECONDS_MAX:.0f} s; "
                    f"see {self.logs}"
                )
            on_waiting(waiting)
            await asyncio.sleep(HEALTH_POLL_SECONDS)

    async def _begin(self, child: Child) -> None:
        await self._spawn(child)
        self._keepers.append(asyncio.ensure_future(self._keep(child)))

    async def _begin_ready(self, held_back: list[Child]) -> list[Child]:
        """Begin those whose like is healthy and has filled the kernel cache; who still waits."""
        warm = {child.command.module for child in self.children if child.was_healthy}
        for child in held_back:
            if child.command.module in warm:
                await self._begin(child)
        return [child for child in held_back if child.command.module not in warm]

    async def run(self) -> None:
        """Keep all running; returns only by being cancelled, or raises what a keeper raised."""
        await asyncio.gather(*self._keepers)

    async def stop(self) -> None:
        """End all services in order, then give the state directory back."""
        self._is_stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for stage in sorted({child.command.stage for child in self.children}):
            ending = [child for child in self.children if child.command.stage == stage]
            await asyncio.gather(*[self._end(child) for child in ending])
        (self.state / "up.json").unlink(missing_ok=True)
        self._lock.close()

    async def _spawn(self, child: Child) -> None:
        command = child.command
        with _open_log(self.logs / f"{command.name}.log") as sink:
            child.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", command.module, *command.arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        child.started_s = time.monotonic()
        child.is_healthy = False
        self._record()

    async def _keep(self, child: Child) -> None:
        """Wait for health, then for death, start again; until cancelled."""
        name, backoff_s = child.command.name, BACKOFF_SECONDS_MIN
        while True:
            process = child.process
            assert process is not None
            ended = asyncio.ensure_future(process.wait())
            try:
                await self._until_healthy(child, ended)
                status = await ended
            finally:
                ended.cancel()
            child.is_healthy = False
            if not child.was_healthy and status > 0:
                self._fail(name, status)
                return
            if time.monotonic() - child.started_s > STEADY_SECONDS:
                backoff_s = BACKOFF_SECONDS_MIN
            how = f"signal {-status}" if status < 0 else f"exit code {status}"
            self._log.say("service died", service=name, how=how, restart_in_s=backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_SECONDS_MAX)
            child.restarts += 1
            await self._spawn(child)

    async def _until_healthy(self, child: Child, ended: asyncio.Future[int]) -> None:
        address = child.command.address
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while not ended.done():
                if await _is_serving(stub):
                    child.is_healthy = child.was_healthy = True
                    if child.restarts:
                        self._log.say("service is back", service=child.command.name, pid=child.pid)
                    return
                await asyncio.wait((ended,), timeout=HEALTH_POLL_SECONDS)

    def _fail(self, name: str, status: int) -> None:
        path = self.logs / f"{name}.log"
        tail = path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        text = "\n".join(f"  {line}" for line in tail)
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(
                StartFailed(f"{name} ended with exit code {status}; {path} says:\n{text}")
            )

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
        except TimeoutError:
            self._log.say("service does not end, killed", service=child.command.name)
            process.kill()
            await process.wait()

    def _record(self) -> None:
        """Write who runs, for a successor that finds this supervisor killed."""
        named = [("up", psutil.Process().pid)]
        named += [(child.command.name, child.pid) for child in self.children if child.pid]
        entries = []
        for name, pid in named:
            try:
                entries.append([name, pid, psutil.Process(pid).create_time()])
            except psutil.NoSuchProcess:
                continue
        path = self.state / "up.json"
        path.with_suffix(".new").write_text(json.dumps(entries))
        path.with_suffix(".new").replace(path)

    def _end_left_over(self) -> None:
        """End the processes that a killed supervisor of this state directory left behind."""
        left = []
        for _, pid, created in _recorded(self.state)[1:]:
            try:
                process = psutil.Process(pid)
                if abs(process.create_time() - created) < START_TIME_SLACK_SECONDS:
                    process.terminate()
                    left.append(process)
            except psutil.Error:
                continue
        if left:
            self._log.say("ending what a killed `godel up` left", pids=[p.pid for p in left])
            _, alive = psutil.wait_procs(left, STOP_SECONDS_MAX)
            for process in alive:
                process.kill()
            psutil.wait_procs(alive, STOP_SECONDS_MAX)


def is_cache_cold() -> bool:
    """Whether no kernel is compiled yet for these sources."""
    cache = Path(export_kernel_cache())
    return not cache.is_dir() or not any(cache.iterdir())


def _like_earlier(children: Sequence[Child]) -> list[Child]:
    """Those with the same program as an earlier one: together they would compile all twice."""
    modules = [child.command.module for child in children]
    return [child for i, child in enumerate(children) if modules[i] in modules[:i]]


async def _is_serving(stub: Any) -> bool:
    try:
        reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_SECONDS_MAX)
    except grpc.aio.AioRpcError:
        return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def _open_log(path: Path) -> IO[bytes]:
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def _recorded(state: Path) -> list[tuple[str, int, float]]:
    """(name, pid, start time) of the last supervisor here and of its services."""
    try:
        entries = json.loads((state / "up.json").read_text())
        return [(str(name), int(pid), float(at)) for name, pid, at in entries]
    except (OSError, ValueError, TypeError):
        return []


def _owner(state: Path) -> str:
    recorded = _recorded(state)
    return f" (pid {recorded[0][1]})" if recorded else ""
