"""Units without pods on a real control plane: PlacementRequests, placed by a write of their status.

The services run as the accounts that deploy/ ships.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from godel.v1 import placement_pb2, types_pb2
from runtime.kubernetes.submitting import name_of
from runtime.placement_client import PlacementClient
from tests.controlplane.cluster import ControlPlane
from tests.controlplane.install import NAMESPACE, kubectl
from tests.integration.kubernetes.pods import a_request
from tests.integration.kubernetes.services import SERVICES, Services
from tests.waiting import until

PLACED_SECONDS = 60.0
UNITS = 60
GANG = 3
UNIT = """
apiVersion: godel.dev/v1
kind: Unit
metadata: {name: %s}
spec: {priority: 5, groups: [{role: worker, count: %d, demand: {cpu: 100m}}]}
"""


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
        lines = kubectl(self._plane.kubeconfig, "get", "pr", "-n", self._namespace).splitlines()
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
    found = await requests.phases({"good": "Bound", "unreadable": "Refused"})
    assert "spec.groups[0].demand" in found["unreadable"]["message"]
    assert "much" in found["unreadable"]["message"]
    assert found["unreadable"]["message"] in services.log("binder")


@pytest.fixture
def submitted(control_plane: ControlPlane) -> Iterator[Requests]:
    """Where the dispatcher makes units of clients; nothing is left there."""
    found = Requests(control_plane, NAMESPACE)
    yield found
    for name in found.statuses():
        found.delete(name)


def godel(services: Services, command: str, *arguments: str, sent: str = "") -> tuple[int, str]:
    """Run the command line against the dispatcher: exit code, and all that it printed."""
    ran = subprocess.run(
        [sys.executable, "-m", "runtime.cli", command, "--state", str(services.state), *arguments],
        input=sent,
        capture_output=True,
        text=True,
        timeout=PLACED_SECONDS,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


async def test_units_of_clients_are_made_placed_and_ended(
    services: Services, submitted: Requests
) -> None:
    units = f"{UNIT % ('one', 1)}---{UNIT % ('all', 4)}"
    assert godel(services, "submit", "-f", "-", sent=units) == (0, "submitted 2 units\n")
    names = {name_of(key): key for key in ("one", "all")}
    assert set(submitted.statuses()) == set(names)
    found = await submitted.phases(dict.fromkeys(names, "Bound"))
    assert {names[name]: status["placed"] for name, status in found.items()} == {"one": 1, "all": 4}
    assert godel(services, "submit", "-f", "-", sent=units)[0] == 0
    code, said = godel(services, "submit", "-f", "-", sent=UNIT % ("all", 5))
    assert code != 0
    assert "other content" in said
    assert "Bound" in godel(services, "get", "all")[1]
    assert godel(services, "cancel", "all")[0] == 0
    assert set(submitted.statuses()) == {name_of("one")}
    assert godel(services, "cancel", "never")[0] != 0


async def test_client_says_what_became_of_its_replicas(
    services: Services, submitted: Requests
) -> None:
    """Room is free once an end is acknowledged; it outlives all who were told."""
    big = UNIT.replace("100m", "30")
    for key, phase in (("ends", "Bound"), ("follows", "")):
        assert godel(services, "submit", "-f", "-", sent=big % (key, 3))[0] == 0
        await submitted.phases({name_of(key): phase})
    await say(services, "ends", (types_pb2.PHASE_DONE, 0), (types_pb2.PHASE_READY, 1))
    status = submitted.statuses()[name_of("ends")]
    assert (status["phase"], status["placed"]) == ("Bound", 2)
    services.kill(*SERVICES)
    services.start(*SERVICES)
    await services.serving()
    await say(services, "ends", (types_pb2.PHASE_DONE, 1), (types_pb2.PHASE_DONE, 2))
    await submitted.phases({name_of("ends"): "Done", name_of("follows"): "Bound"})


async def say(services: Services, key: str, *ends: tuple[types_pb2.Phase.ValueType, int]) -> None:
    """Report phases of replicas by their ordinals, until they are known to be bound."""
    items = [
        placement_pb2.ReplicaReport(key=key, ordinal=ordinal, phase=phase)
        for phase, ordinal in ends
    ]
    async with PlacementClient(services.address("dispatcher")) as client:

        async def is_said() -> bool:
            reply = await client.report(placement_pb2.ReportRequest(items=items))
            return not reply.refused

        await until("the reports are acknowledged", is_said, PLACED_SECONDS)


async def test_binder_that_is_killed_binds_each_unit_once(
    services: Services, submitted: Requests
) -> None:
    """Placements that were seen stay as they are; all of a gang are there or none."""
    seen: dict[str, list[Any]] = {}

    def look() -> int:
        for name, status in submitted.statuses().items():
            members = status.get("members", [])
            assert len(members) in (0, GANG)
            assert not members or seen.setdefault(name, members) == members
        return len(seen)

    async def some() -> bool:
        return await asyncio.to_thread(look) >= UNITS // 4

    async def every() -> bool:
        return await asyncio.to_thread(look) == UNITS

    units = "---".join(UNIT % (f"gang-{i}", GANG) for i in range(UNITS))
    submitting = asyncio.create_task(
        asyncio.to_thread(godel, services, "submit", "-f", "-", sent=units)
    )
    await until("some are placed", some, PLACED_SECONDS)
    services.kill("binder")
    services.start("binder")
    assert (await submitting)[0] == 0
    await until("all are placed", every, PLACED_SECONDS)
