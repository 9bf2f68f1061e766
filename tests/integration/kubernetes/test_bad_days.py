"""5,000 pods, gangs among them, while services are killed and others meddle: all bound, each once,
no gang torn, no node over what it has."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from runtime.kubernetes.access import Access
from runtime.kubernetes.api import Api as ServerApi
from runtime.kubernetes.api import Gone, Unknown
from tests.controlplane.api import Api, Document
from tests.controlplane.cluster import EXTRAS, KWOK, ControlPlane
from tests.controlplane.nodes import ALLOCATABLE, RACK_LABEL, add_nodes, node, ready_nodes
from tests.integration.kubernetes.pods import a_pod
from tests.integration.kubernetes.services import SERVICES, Services, as_shipped
from tests.integration.kubernetes.test_gangs import GROUP_KEY, GROUP_VERSION
from tests.waiting import until

NODES = 60
NODE_MILLIS = int(ALLOCATABLE["cpu"]) * 1000
POD_MILLIS = 350
GANGS, GANG_PODS = 100, 10
SINGLES = 4_000
DELETED = 100
"""Pods that are deleted meanwhile, bound or not."""
FOREIGN = 200
"""Pods that kube-scheduler binds meanwhile, to the nodes of one rack."""
RACK = {RACK_LABEL: "rack-0"}
READY_SECONDS = 120.0
BOUND_SECONDS = 240.0
PODS = "/api/v1/namespaces/default/pods"
GROUPS = f"/apis/{GROUP_VERSION}/namespaces/default/podgroups"


@dataclass
class Seen:
    """A pod as the watch has shown it last."""

    uid: str
    node: str
    scheduler: str
    millis: int
    gang: str


class _Meta(msgspec.Struct):
    name: str
    uid: str
    labels: dict[str, str] = {}


class _Spec(msgspec.Struct, rename="camel"):
    scheduler_name: str
    containers: list[dict[str, Any]]
    node_name: str = ""


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec


class Watcher:
    """Follows all pods, as one more client of the API server. `moved` is to stay empty."""

    def __init__(self, plane: ControlPlane) -> None:
        self.pods: dict[str, Seen] = {}
        self.moved: list[str] = []
        self._api = ServerApi(Access(str(plane.kubeconfig)))

    async def run(self) -> None:
        """Follow until cancelled: the server ends the watch of a client that it holds for slow."""
        await self._api.open()
        try:
            while True:
                with suppress(Gone, Unknown):
                    await self._follow()
        finally:
            await self._api.close()

    async def _follow(self) -> None:
        version: list[str] = []
        names: set[str] = set()
        async for items in self._api.pages(PODS, version):
            names.update(self._take(item, is_deleted=False) for item in items)
        for name in self.pods.keys() - names:
            del self.pods[name]
        async for events in self._api.watch(PODS, version[0]):
            for event in events:
                if event.type != "BOOKMARK":
                    self._take(event.object, is_deleted=event.type == "DELETED")

    def _take(self, raw: msgspec.Raw, *, is_deleted: bool) -> str:
        pod = msgspec.json.decode(raw, type=_Pod)
        name, spec = pod.metadata.name, pod.spec
        if is_deleted:
            self.pods.pop(name, None)
            return name
        cpu = spec.containers[0]["resources"]["requests"]["cpu"].removesuffix("m")
        gang = pod.metadata.labels.get(GROUP_KEY, "")
        seen = Seen(pod.metadata.uid, spec.node_name, spec.scheduler_name, int(cpu), gang)
        before = self.pods.get(name)
        if before is not None and before.uid == seen.uid and before.node not in ("", seen.node):
            self.moved.append(f"{name}: {before.node}, {seen.node}")
        self.pods[name] = seen
        return name

    def bound(self) -> int:
        return sum(bool(pod.node) for pod in self.pods.values())

    def waiting(self) -> list[str]:
        return [name for name, pod in self.pods.items() if not pod.node]

    def used(self) -> Counter[str]:
        """CPU by node, in thousandths."""
        total: Counter[str] = Counter()
        for pod in self.pods.values():
            total[pod.node] += pod.millis
        return total


@pytest.fixture
async def services(own_control_plane: ControlPlane) -> AsyncIterator[Services]:
    """Running services on a control plane with NODES nodes."""
    plane = own_control_plane
    plane.start(*EXTRAS)
    add_nodes(plane.admin, NODES)
    plane.processes.until(KWOK, lambda: len(ready_nodes(plane.admin)) == NODES, READY_SECONDS)
    async with as_shipped(plane).running() as found:
        yield found


def a_group(name: str) -> Document:
    spec = {"minMember": GANG_PODS}
    meta = {"name": name}
    return {"apiVersion": GROUP_VERSION, "kind": "PodGroup", "metadata": meta, "spec": spec}


def create_load(plane: ControlPlane) -> None:
    """Gangs and singles, mixed."""
    with closing(Api(plane.kubeconfig)) as api:
        each = SINGLES // GANGS
        for g in range(GANGS):
            api.create(GROUPS, a_group(f"g{g}"))
            for i in range(GANG_PODS):
                pod = a_pod(f"g{g}-{i}", cpu=f"{POD_MILLIS}m")
                pod["metadata"] |= {"labels": {GROUP_KEY: f"g{g}"}}
                api.create(PODS, pod)
            for i in range(each):
                api.create(PODS, a_pod(f"s{g}-{i}", cpu=f"{POD_MILLIS}m"))


def meddle(plane: ControlPlane) -> None:
    """What others do: pods deleted, a node made anew, pods of kube-scheduler."""
    with closing(Api(plane.kubeconfig)) as api:
        for i in range(FOREIGN):
            pod = a_pod(f"f{i}", cpu="100m", scheduler="default-scheduler")
            pod["spec"]["nodeSelector"] = RACK
            api.create(PODS, pod)
            if i % 2 == 0:
                names = [p["metadata"]["name"] for p in api.get(f"{PODS}?limit=20")["items"]]
                single = next((name for name in reversed(names) if name.startswith("s")), "")
                if single:
                    api.delete(f"{PODS}/{single}?gracePeriodSeconds=0")
        api.delete("/api/v1/nodes/node-0030")
        api.create("/api/v1/nodes", node(30))


async def test_pods_and_gangs_survive_kills_and_meddling(
    own_control_plane: ControlPlane, services: Services
) -> None:
    plane = own_control_plane
    watcher = Watcher(plane)
    watching = asyncio.ensure_future(watcher.run())
    try:
        loading = asyncio.ensure_future(asyncio.to_thread(create_load, plane))
        meddling = asyncio.ensure_future(asyncio.to_thread(meddle, plane))
        others = asyncio.gather(loading, meddling)

        async def holds(what: str, condition: Callable[[], bool]) -> None:
            async def is_so() -> Any:
                for each in (others, watching):
                    if each.done():
                        each.result()
                return condition()

            await until(what, is_so, BOUND_SECONDS)

        for share, killed in (
            (0.05, ("scheduler-0",)),
            (0.15, ("dispatcher",)),
            (0.3, ("binder",)),
            (0.5, SERVICES),
        ):
            count = int(share * (SINGLES + GANGS * GANG_PODS))
            await holds(f"{count} pods are bound", lambda count=count: watcher.bound() >= count)  # type: ignore[misc]
            services.kill(*killed)
            services.start(*killed)
        await others
        total = SINGLES + GANGS * GANG_PODS + FOREIGN - DELETED
        await holds("all pods are there", lambda: abs(len(watcher.pods) - total) <= DELETED)
        await holds("nobody waits", lambda: watcher.waiting() == [])
        assert watcher.moved == []
        gangs = Counter(pod.gang for pod in watcher.pods.values() if pod.gang)
        assert gangs == Counter({f"g{g}": GANG_PODS for g in range(GANGS)})
        shared = {node(i)["metadata"]["name"] for i in range(20)}
        over = {name: used for name, used in watcher.used().items() if used > NODE_MILLIS}
        assert over.keys() <= shared, over
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
