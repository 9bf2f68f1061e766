"""Gangs of pods on a real control plane: bound together or not at all, and told so.

The services run as the accounts that deploy/ ships.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.controlplane.api import Api, Document
from tests.controlplane.cluster import ControlPlane
from tests.integration.kubernetes.pods import a_pod
from tests.integration.kubernetes.services import Services
from tests.waiting import until

PLACED_SECONDS = 60.0
GROUP_VERSION = "scheduling.godel.kubewharf.io/v1alpha1"
GROUP_KEY = "godel.bytedance.com/pod-group-name"
ALL_CPU = "1000"
"""More than any node has."""


class Gangs:
    """PodGroups and pods of one namespace."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._api = Api(plane.kubeconfig)
        self._creates = Api(plane.kubeconfig)
        """Of its own: a connection is for one thread at a time."""
        self._namespace = namespace
        self._groups = f"/apis/{GROUP_VERSION}/namespaces/{namespace}/podgroups"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    def create_group(self, name: str, minimum: int, **spec: Any) -> None:
        body = {
            "apiVersion": GROUP_VERSION,
            "kind": "PodGroup",
            "metadata": {"name": name},
            "spec": {"minMember": minimum, **spec},
        }
        self._api.create(self._groups, body)

    def create_pods(self, group: str, *names: str, cpu: str = "100m") -> None:
        for name in names:
            pod = a_pod(name, cpu=cpu)
            named = {GROUP_KEY: group}
            pod["metadata"] |= {"annotations": named, "labels": named}
            self._creates.create(self._pods, pod)

    def close(self) -> None:
        self._api.close()
        self._creates.close()

    def delete_pod(self, name: str) -> None:
        self._api.delete(f"{self._pods}/{name}?gracePeriodSeconds=0")

    def bound(self) -> list[str]:
        return sorted(p["metadata"]["name"] for p in self._items() if p["spec"].get("nodeName"))

    def waiting(self) -> list[str]:
        return sorted(p["metadata"]["name"] for p in self._items() if not p["spec"].get("nodeName"))

    def _items(self) -> list[Document]:
        items: list[Document] = self._api.get(self._pods)["items"]
        return items

    def phase(self, group: str) -> str:
        return str(self._api.get(f"{self._groups}/{group}").get("status", {}).get("phase", ""))

    def open_records(self) -> list[str]:
        path = f"/apis/godel.dev/v1/namespaces/{self._namespace}/placementrequests"
        items = self._api.get(path)["items"]
        return [i["metadata"]["name"] for i in items if i.get("status", {}).get("members")]

    def why(self, pod: str) -> str:
        """What the pod's condition says."""
        conditions = self._api.get(f"{self._pods}/{pod}")["status"].get("conditions", [])
        return "".join(c.get("message", "") for c in conditions if c["type"] == "PodScheduled")

    async def says(self, pod: str, why: str) -> None:
        async def is_so() -> bool:
            return why in await asyncio.to_thread(self.why, pod)

        await until(f"{pod} says {why}", is_so, PLACED_SECONDS)

    async def are_bound(self, *names: str) -> None:
        async def is_so() -> bool:
            return set(names) <= set(await asyncio.to_thread(self.bound))

        await until(f"{names} are bound", is_so, PLACED_SECONDS)

    async def is_in(self, group: str, phase: str) -> None:
        async def is_so() -> bool:
            return await asyncio.to_thread(self.phase, group) == phase

        await until(f"{group} is {phase}", is_so, PLACED_SECONDS)


@pytest.fixture
def gangs(control_plane: ControlPlane, services: Services, namespace: str) -> Iterator[Gangs]:
    with closing(Gangs(control_plane, namespace)) as found:
        yield found


async def test_gang_waits_for_its_members_then_is_bound_whole_and_late_ones_singly(
    gangs: Gangs,
) -> None:
    gangs.create_pods("trio", "a", "b")
    gangs.create_pods("other", "single")
    gangs.create_group("other", 1)
    await gangs.are_bound("single")
    await gangs.says("a", "there is no PodGroup trio")
    gangs.create_group("trio", 3)
    await gangs.is_in("trio", "Pending")
    await gangs.says("a", "2 of 3 pods of its PodGroup can be placed")
    assert gangs.bound() == ["single"]
    gangs.create_pods("trio", "c")
    await gangs.are_bound("a", "b", "c")
    await gangs.is_in("trio", "Scheduled")
    gangs.create_pods("trio", "late")
    await gangs.are_bound("late")

    async def are_closed() -> bool:
        return not await asyncio.to_thread(gangs.open_records)

    await until("records are closed", are_closed, PLACED_SECONDS)


async def test_gang_without_room_for_all_binds_nobody_until_it_can(gangs: Gangs) -> None:
    gangs.create_group("pair", 2)
    gangs.create_pods("pair", "small")
    gangs.create_pods("pair", "large", cpu=ALL_CPU)
    await gangs.is_in("pair", "PreScheduling")
    await gangs.says("small", "insufficient cpu")
    gangs.create_group("fits", 2)
    gangs.create_pods("fits", "x", "y")
    await gangs.are_bound("x", "y")
    assert gangs.waiting() == ["large", "small"]
    gangs.delete_pod("large")
    await gangs.is_in("pair", "Pending")
    gangs.create_pods("pair", "medium", cpu="200m")
    await gangs.are_bound("small", "medium")


async def test_gang_whose_time_is_over_is_not_bound_any_more(gangs: Gangs) -> None:
    gangs.create_group("late", 2, scheduleTimeoutSeconds=1)
    gangs.create_pods("late", "one")
    await gangs.is_in("late", "Timeout")
    gangs.create_pods("late", "two")
    gangs.create_group("fits", 1)
    gangs.create_pods("fits", "after")
    await gangs.are_bound("after")
    assert gangs.waiting() == ["one", "two"]
    await gangs.says("two", "the time of its PodGroup is over")


async def test_gang_that_must_stay_in_one_rack_waits_and_says_why(gangs: Gangs) -> None:
    rack = {"required": [{"topologyKey": "rack"}]}
    gangs.create_group("near", 2, affinity={"podGroupAffinity": rack})
    gangs.create_pods("near", "n1", "n2")
    await gangs.says("n1", "spec.affinity.podGroupAffinity.required is not supported")
    await gangs.is_in("near", "Pending")
    assert gangs.bound() == []


async def test_gangs_survive_the_death_of_the_binder(gangs: Gangs, services: Services) -> None:
    names = [f"g{g}-p{i}" for g in range(20) for i in range(10)]
    for g in range(20):
        gangs.create_group(f"g{g}", 10)

    def create_all() -> None:
        for name in names:
            gangs.create_pods(name.split("-")[0], name)

    task = asyncio.ensure_future(asyncio.to_thread(create_all))
    await gangs.are_bound("g2-p0")
    services.kill("binder")
    services.start("binder")
    await task
    await gangs.are_bound(*names)
    for g in range(20):
        await gangs.is_in(f"g{g}", "Scheduled")
