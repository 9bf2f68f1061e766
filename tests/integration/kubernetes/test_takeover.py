"""A leader is killed while pods are placed: its standby takes over, and every pod is bound once."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from godel.v1 import cluster_pb2, cluster_pb2_grpc, placement_pb2, placement_pb2_grpc
from tests.controlplane.api import Api
from tests.controlplane.cluster import CONTROLLER_MANAGER, EXTRAS, KWOK, ControlPlane
from tests.controlplane.nodes import add_nodes, ready_nodes
from tests.integration.kubernetes.pods import a_pod
from tests.integration.kubernetes.replicas import (
    BINDERS,
    DISPATCHERS,
    Replicas,
)
from tests.integration.kubernetes.test_contract import RULES
from tests.integration.kubernetes.test_home import a_role
from tests.waiting import until

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
PODS = 150
START_SECONDS = 60.0
TAKEOVER_SECONDS = 5.0
STALL_SECONDS = 15.0
"""A process that is stopped keeps its connections: it has to be silent for a while."""
AWAY_SECONDS = 10.0
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


async def names(replicas: Replicas, standby: str, leader: str) -> None:
    """Wait until a standby refuses its clients with the leader's name and address."""
    words = (f"{standby} stands by: {leader}", f"clients at {replicas.address(leader)}")

    async def is_named() -> bool:
        async with grpc.aio.insecure_channel(replicas.address(standby)) as channel:
            binder: Any = cluster_pb2_grpc.ClusterStub(channel)
            dispatcher: Any = placement_pb2_grpc.PlacementStub(channel)
            asked = placement_pb2.GetRequest(key="k")
            try:
                if standby in BINDERS:
                    await binder.Remove(cluster_pb2.RemoveRequest())
                else:
                    await dispatcher.Get(asked)
            except grpc.aio.AioRpcError as error:
                said = error.details() or ""
                return error.code() is UNAVAILABLE and all(word in said for word in words)
        return False

    await until(f"{standby} names {leader}", is_named, START_SECONDS)


@pytest.fixture
def load(control_plane: ControlPlane, namespace: str) -> Iterator[Load]:
    with closing(Load(control_plane, namespace)) as found:
        yield found


async def test_binder_that_leads_is_killed(load: Load, replicas: Replicas) -> None:
    replicas.start()
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


async def test_dispatcher_that_leads_is_killed(load: Load, replicas: Replicas) -> None:
    replicas.start()
    first = await replicas.leader(DISPATCHERS, seconds=START_SECONDS)
    (second,) = {*DISPATCHERS} - {first}
    await names(replicas, second, first)
    creating = asyncio.ensure_future(load.create("p", PODS))
    await load.bound("p", 10)
    replicas.kill(first)
    assert await replicas.leader((second,), seconds=TAKEOVER_SECONDS) == second
    await creating
    await load.bound("p", PODS)
    replicas.start(first)
    await names(replicas, first, second)
    assert "Bound" in await asyncio.to_thread(got, replicas)


def got(replicas: Replicas) -> str:
    """What `godel get` prints when it is given the addresses of both, in whichever order."""
    godel = Path(sys.executable).with_name("godel")
    addresses = [replicas.address(name) for name in DISPATCHERS]
    asked = [
        subprocess.run(
            [godel, "get", "--dispatcher", ",".join(each)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for each in (addresses, addresses[::-1])
    ]
    assert asked[0].count("Bound") == asked[1].count("Bound")
    return asked[0]


async def test_leaders_of_both_are_killed_together(load: Load, replicas: Replicas) -> None:
    replicas.start()
    binder = await replicas.leader(BINDERS, seconds=START_SECONDS)
    dispatcher = await replicas.leader(DISPATCHERS, seconds=START_SECONDS)
    creating = asyncio.ensure_future(load.create("p", PODS))
    await load.bound("p", 10)
    replicas.kill(binder, dispatcher)
    await creating
    await load.bound("p", PODS)
    assert await replicas.leader(BINDERS, seconds=TAKEOVER_SECONDS) != binder
    assert await replicas.leader(DISPATCHERS, seconds=TAKEOVER_SECONDS) != dispatcher


async def test_binder_that_ends_hands_over_at_once(replicas: Replicas) -> None:
    replicas.start(*BINDERS)
    first = await replicas.leader(BINDERS, seconds=START_SECONDS)
    (second,) = {*BINDERS} - {first}
    await names(replicas, second, first)
    replicas.signal(first, signal.SIGTERM)
    await replicas.leader((second,), seconds=HANDOVER_SECONDS)
    assert await replicas.exit_status(first) == 0


async def test_dispatcher_that_was_stopped_past_its_grant_does_no_harm(
    load: Load, replicas: Replicas
) -> None:
    replicas.start()
    first = await replicas.leader(DISPATCHERS, seconds=START_SECONDS)
    (second,) = {*DISPATCHERS} - {first}
    creating = asyncio.ensure_future(load.create("p", PODS))
    await load.bound("p", 10)
    replicas.signal(first, signal.SIGSTOP)
    assert await replicas.leader((second,), seconds=STALL_SECONDS) == second
    await load.bound("p", PODS // 2)
    replicas.signal(first, signal.SIGCONT)
    await creating
    await load.bound("p", PODS)
    await names(replicas, first, second)
    await load.create("after", 10)
    await load.bound("after", 10)


async def test_nothing_is_lost_while_the_api_server_is_away(
    own_control_plane: ControlPlane,
) -> None:
    plane = own_control_plane
    plane.start(*EXTRAS)
    add_nodes(plane.admin, 3)
    plane.processes.until(KWOK, lambda: len(ready_nodes(plane.admin)) == 3, START_SECONDS)
    plane.admin.create("/api/v1/namespaces", {"metadata": {"name": "away"}})
    plane.processes.until(CONTROLLER_MANAGER, lambda: takes_pods(plane, "away"), START_SECONDS)
    a_role(plane, "away", RULES)
    replicas = Replicas(plane.user("away", "away"), "away")
    try:
        with closing(Load(plane, "away")) as load:
            replicas.start()
            await load.create("before", PODS)
            await load.bound("before", 10)
            await asyncio.to_thread(plane.kill_api_server)
            await asyncio.sleep(AWAY_SECONDS)
            await asyncio.to_thread(plane.start_api_server)
            load.close()  # connections of before; new ones are made
            await load.bound("before", PODS)
            await load.create("after", 10)
            await load.bound("after", 10)
    finally:
        for log in sorted(replicas.state.glob("*.log")):
            print(log.name, log.read_text(errors="replace")[-3000:])
        replicas.remove()


def takes_pods(plane: ControlPlane, namespace: str) -> bool:
    accounts = plane.admin.get(f"/api/v1/namespaces/{namespace}/serviceaccounts")["items"]
    return any(account["metadata"]["name"] == "default" for account in accounts)
