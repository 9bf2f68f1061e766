"""Units without pods on a real control plane: PlacementRequests, placed by a write of their status.

The services run as the accounts that deploy/ ships.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.controlplane.cluster import ControlPlane
from tests.controlplane.install import NAMESPACE, account, install, kubectl
from tests.integration.embedded import until
from tests.integration.kubernetes.services import Services

PLACED_SECONDS = 60.0


@pytest.fixture
async def services(control_plane: ControlPlane) -> AsyncIterator[Services]:
    """Running services, the Lease in the namespace of deploy/."""
    install(control_plane)
    found = Services(account(control_plane, "godel-binder"), NAMESPACE)
    try:
        found.start()
        await found.serving()
        yield found
    finally:
        for service in ("binder", "dispatcher", "scheduler-0", "scheduler-1"):
            print(service, found.log(service)[-3000:])
        found.remove()


def a_request(name: str, count: int = 1, cpu: str = "100m") -> dict[str, Any]:
    group = {"count": count, "class": {"demand": {"cpu": cpu, "memory": "64Mi"}}}
    return {
        "apiVersion": "godel.dev/v1",
        "kind": "PlacementRequest",
        "metadata": {"name": name},
        "spec": {"groups": [group]},
    }


class Requests:
    """The PlacementRequests of one namespace."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane = plane
        self._namespace = namespace
        self._path = f"/apis/godel.dev/v1/namespaces/{namespace}/placementrequests"

    def create(self, request: dict[str, Any]) -> None:
        self._plane.admin.create(self._path, request)

    def delete(self, name: str) -> None:
        self._plane.admin.delete(f"{self._path}/{name}")

    def statuses(self) -> dict[str, dict[str, Any]]:
        """By name."""
        items = self._plane.admin.get(self._path)["items"]
        return {item["metadata"]["name"]: item.get("status", {}) for item in items}

    def shown(self) -> list[list[str]]:
        """What people see, by line and column."""
        lines = kubectl(self._plane, "get", "pr", "-n", self._namespace).splitlines()
        return [line.split() for line in lines]

    async def phases(self, want: dict[str, str]) -> dict[str, dict[str, Any]]:
        """Wait until these have these phases; their statuses."""

        async def are() -> dict[str, dict[str, Any]]:
            found = await asyncio.to_thread(self.statuses)
            phases = {name: status.get("phase", "") for name, status in found.items()}
            return found if want.items() <= phases.items() else {}

        found: dict[str, dict[str, Any]] = await until(f"{want}", are, PLACED_SECONDS)
        return found


@pytest.fixture
def requests(control_plane: ControlPlane, namespace: str) -> Requests:
    return Requests(control_plane, namespace)


async def test_requests_are_placed_whole_and_shown(services: Services, requests: Requests) -> None:
    requests.create(a_request("single"))
    requests.create(a_request("gang", count=5))
    found = await requests.phases({"single": "Bound", "gang": "Bound"})
    members = found["gang"]["members"]
    assert found["gang"]["placed"] == 5
    assert sorted(member["ordinal"] for member in members) == list(range(5))
    nodes = Counter(member["node"] for member in members)
    assert all(name.startswith("node-") for name in nodes), nodes
    head, *rows = requests.shown()
    assert head == ["NAME", "PHASE", "PLACED", "NODE", "AGE", "MESSAGE"]
    assert {tuple(row[:3]) for row in rows} == {("single", "Bound", "1"), ("gang", "Bound", "5")}


async def test_deleted_request_gives_its_room_back(services: Services, requests: Requests) -> None:
    """Each wants more than half of what all nodes have."""
    requests.create(a_request("first", count=3, cpu="30"))
    await requests.phases({"first": "Bound"})
    requests.create(a_request("second", count=3, cpu="30"))
    requests.create(a_request("small"))
    await requests.phases({"small": "Bound"})
    assert requests.statuses()["second"].get("phase", "Waiting") == "Waiting"
    requests.delete("first")
    await requests.phases({"second": "Bound"})


async def test_request_that_cannot_be_read_is_named(services: Services, requests: Requests) -> None:
    requests.create(a_request("unreadable", cpu="much"))
    requests.create(a_request("good"))
    await requests.phases({"good": "Bound"})
    assert "unreadable" in services.log("binder")
    assert "much" in services.log("binder")
