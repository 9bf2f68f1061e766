"""A leader is killed while pods are placed: its standby takes over, and every pod is bound once."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import grpc
import pytest

from godel.v1 import cluster_pb2, cluster_pb2_grpc
from tests.controlplane.api import Api
from tests.controlplane.cluster import ControlPlane
from tests.integration.embedded import until
from tests.integration.kubernetes.pods import a_pod
from tests.integration.kubernetes.replicas import (
    BINDERS,
    DISPATCHERS,
    SCHEDULERS,
    Replicas,
)
from tests.integration.kubernetes.test_contract import RULES
from tests.integration.kubernetes.test_home import a_role

PODS = 150
START_SECONDS = 60.0
TAKEOVER_SECONDS = 5.0
PLACED_SECONDS = 60.0
HANDOVER_SECONDS = 2.5
"""Less than the lease and the time of a write."""


@pytest.fixture
async def replicas(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Replicas]:
    """Services that are configured, and do not run yet."""
    name = f"takeover-{secrets.token_hex(4)}"
    a_role(control_plane, name, RULES)
    found = Replicas(control_plane.user(name, name), namespace)
    try:
        yield found
    finally:
        for log in sorted(found.state.glob("*.log")):
            print(log.name, log.read_text(errors="replace")[-3000:])
        found.remove()
        control_plane.admin.delete(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}")


class Load:
    """Pods of one namespace; nodes of those that were seen with one are remembered."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._creates, self._reads = Api(plane.kubeconfig), Api(plane.kubeconfig)
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._nodes: dict[str, str] = {}

    def close(self) -> None:
        self._creates.close()
        self._reads.close()

    async def create(self, prefix: str, count: int) -> None:
        def create_all() -> None:
            for i in range(count):
                self._creates.create(self._path, a_pod(f"{prefix}{i}", cpu="10m"))

        await asyncio.to_thread(create_all)

    async def bound(self, prefix: str, count: int, seconds: float = PLACED_SECONDS) -> None:
        """Wait until so many pods have a node."""

        async def are_bound() -> bool:
            return len([name for name in await self._placed() if name.startswith(prefix)]) >= count

        await until(f"{count} pods {prefix} are bound", are_bound, seconds)

    async def _placed(self) -> dict[str, str]:
        items: list[dict[str, Any]] = (await asyncio.to_thread(self._reads.get, self._path))[
            "items"
        ]
        found = {item["metadata"]["name"]: item["spec"].get("nodeName", "") for item in items}
        for name, node in found.items():
            assert self._nodes.get(name, node) == node, f"{name} was moved"
            if node:
                self._nodes[name] = node
        return {name: node for name, node in found.items() if node}


@pytest.fixture
def load(control_plane: ControlPlane, namespace: str) -> Iterator[Load]:
    with closing(Load(control_plane, namespace)) as found:
        yield found


async def test_binder_that_leads_is_killed(load: Load, replicas: Replicas) -> None:
    replicas.start(*BINDERS, DISPATCHERS[0], *SCHEDULERS)
    first = await replicas.leader(BINDERS, seconds=START_SECONDS)
    await load.create("before", 1)
    await load.bound("before", 1)
    creating = asyncio.ensure_future(load.create("p", PODS))
    await load.bound("p", 10)
    replicas.kill(first)
    (second,) = {*BINDERS} - {first}
    assert await replicas.leader((second,), seconds=TAKEOVER_SECONDS) == second
    await creating
    await load.bound("p", PODS)


async def test_binder_that_ends_hands_over_at_once(replicas: Replicas) -> None:
    replicas.start(*BINDERS)
    first = await replicas.leader(BINDERS, seconds=START_SECONDS)
    (second,) = {*BINDERS} - {first}
    async with grpc.aio.insecure_channel(replicas.address(second)) as channel:
        stub: Any = cluster_pb2_grpc.ClusterStub(channel)

        async def is_named() -> bool:
            with pytest.raises(grpc.aio.AioRpcError, match=f"{second} stands by: ") as refused:
                await stub.Remove(cluster_pb2.RemoveRequest())
            return f" {first}-" in str(refused.value.details())

        await until("the standby has seen who leads", is_named, START_SECONDS)
    replicas.signal(first, signal.SIGTERM)
    await replicas.leader((second,), seconds=HANDOVER_SECONDS)
    assert await replicas.exit_status(first) == 0
