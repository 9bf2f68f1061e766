"""The ground of a run: a control plane without kubelets, its nodes, and one leg's pods at a time.

Nodes stay for a whole run; a leg has a namespace to itself, whose pods are gone before the next
begins. Whoever is measured is a ServiceAccount, as in a deployment: the API server's queues treat
an admin otherwise.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

from tests.bench.k8s.client import Order, Task
from tests.bench.k8s.watcher import mark_index
from tests.bench.k8s.worker import Silent, Worker
from tests.controlplane.cluster import API_SERVER, SCHEDULER, ControlPlane
from tests.controlplane.nodes import node

API_FLAGS = ("--delete-collection-workers=8",)
"""Only the clearing between legs is faster."""
ACCOUNTS = "godel-bench"
CREATORS = 32
"""Connections of whoever only creates."""
CHECK_SECONDS = 0.5
HEARD_SECONDS = 120.0
Processes = Mapping[str, Sequence[psutil.Process]]
"""Those of a leg, by role."""
Cpu = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """What the watcher saw of one leg, and CPU per pod in microseconds, by role."""

    times: list[tuple[float, float]]
    """Of each pod, in order of being bound: when it was seen first, and when bound; seconds."""
    cpu_us: Cpu

    @property
    def drain_rate(self) -> float:
        """Bindings between the 5th and the 95th percentile, per second."""
        low, high = (mark_index(percent, len(self.times)) for percent in (5, 95))
        return (high - low) / (self.times[high][1] - self.times[low][1])

    @property
    def created_rate(self) -> float:
        """Pods per second from the first that was seen to the 95th percentile of bindings."""
        high = mark_index(95, len(self.times))
        return (high + 1) / (self.times[high][1] - min(seen for seen, _ in self.times))

    @property
    def latencies_ms(self) -> list[float]:
        """From the sight of a pod to that of its binding."""
        return [(bound - seen) * 1e3 for seen, bound in self.times]


class Ground:
    """See the module; on a control plane that runs."""

    def __init__(self, cluster: ControlPlane) -> None:
        self.cluster = cluster
        self.admin = cluster.admin
        self._numbers = count(1)
        self.admin.create("/api/v1/namespaces", {"metadata": {"name": ACCOUNTS}})
        self.kubeconfig = cluster.service_account(ACCOUNTS, "bench", "cluster-admin")
        self.scheduler_kubeconfig = cluster.identities.certificate(f"system:{SCHEDULER}")
        self.servers = {
            name: [psutil.Process(cluster.processes.pid(program))]
            for name, program in {"api-server": API_SERVER, "etcd": "etcd"}.items()
        }
        self._nodes = 0

    @property
    def log(self) -> Path:
        """Where the errors of all workers go."""
        return self.cluster.folder / "workers.log"

    def grow(self, nodes: int) -> None:
        """Add nodes until there are so many."""
        for number in range(self._nodes, nodes):
            self.admin.create("/api/v1/nodes", node(number))
        self._nodes = nodes

    def client(self, order: Order) -> Worker:
        """A client's process."""
        arguments = json.dumps({name: getattr(order, name) for name in order.__struct_fields__})
        return Worker(self.log, "tests.bench.k8s.client", arguments)

    @asynccontextmanager
    async def leg(self, pods: int) -> AsyncIterator[Leg]:
        """A namespace and its watcher; its pods and events are deleted at the end."""
        namespace = f"leg-{next(self._numbers):04}"
        self.admin.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        try:
            yield Leg(self, namespace, pods)
        finally:
            self.clear(namespace)

    def clear(self, namespace: str) -> None:
        """Delete its pods and events; they are gone on return."""
        path = f"/api/v1/namespaces/{namespace}"
        self.admin.delete(f"{path}/pods?gracePeriodSeconds=0")
        self.admin.delete(f"{path}/events")


@dataclass
class Leg:
    """So many pods in a namespace of their own."""

    ground: Ground
    namespace: str
    pods: int

    async def create(self, scheduler: str) -> None:
        """Make the backlog; nobody places it yet."""
        order = self.order("create", scheduler, CREATORS)
        async with self.ground.client(order) as worker:
            await worker.until("ready")
            await worker.go()
            await worker.until("done")

    def order(
        self, task: Task, scheduler: str, connections: int, rate: float = 0.0, seed: int = 0
    ) -> Order:
        """What a client is to do with these pods."""
        config = str(self.ground.kubeconfig)
        return Order(task, config, self.namespace, scheduler, self.pods, connections, rate, seed)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Worker]:
        """The watcher, its watch open."""
        arguments = (str(self.ground.cluster.kubeconfig), self.namespace, str(self.pods))
        async with Worker(self.ground.log, "tests.bench.k8s.watcher", *arguments) as worker:
            await worker.until("ready")
            yield worker

    async def drained(self, watcher: Worker, processes: Processes) -> Measured:
        """Wait until all are bound; CPU is that between the two percentiles."""
        roles = self._roles(watcher, processes)
        await heard(watcher, "5", roles)
        begin = cpu_seconds(roles)
        await heard(watcher, "95", roles)
        used = _less(cpu_seconds(roles), begin)
        low, high = (mark_index(percent, self.pods) for percent in (5, 95))
        return Measured(json.loads(await watcher.line()), _per_pod(used, high - low))

    async def bound(self, watcher: Worker, creator: Worker, processes: Processes) -> Measured:
        """Let the creator go and wait until all are bound; CPU is that of the whole time."""
        roles = self._roles(watcher, {**processes, "client": [creator.cpu]})
        begin = cpu_seconds(roles)
        await creator.go()
        await heard(watcher, "95", roles)
        line = await watcher.line()
        used = _less(cpu_seconds(roles), begin)
        return Measured(json.loads(line), _per_pod(used, self.pods))

    def _roles(self, watcher: Worker, processes: Processes) -> Processes:
        return {**processes, "watcher": [watcher.cpu], **self.ground.servers}


async def heard(watcher: Worker, said: str, roles: Processes) -> None:
    """Wait until the watcher says so. Raises Silent when a process of the leg has ended."""
    async with asyncio.timeout(HEARD_SECONDS):
        waiting = asyncio.ensure_future(watcher.until(said))
        while not waiting.done():
            await asyncio.wait([waiting], timeout=CHECK_SECONDS)
            for role, processes in roles.items():
                if not all(_is_alive(process) for process in processes):
                    raise Silent(f"{role} has ended before {said} % of the pods were bound")
        await waiting


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def cpu_seconds(roles: Processes) -> Cpu:
    """User and system time per role."""
    return {
        role: sum(sum(process.cpu_times()[:2]) for process in processes)
        for role, processes in roles.items()
    }


def _less(after: Cpu, before: Cpu) -> Cpu:
    return {role: after[role] - before[role] for role in after}


def _per_pod(used: Cpu, pods: int) -> Cpu:
    return {role: seconds / pods * 1e6 for role, seconds in used.items()}
