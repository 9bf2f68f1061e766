"""People are told why pods wait, on a real API server and under the role that deploy/ ships."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml

from runtime.kubernetes.access import Access
from runtime.kubernetes.api import Api
from runtime.kubernetes.events import Events, Refusals
from runtime.kubernetes.objects import Condition, Name, Pods
from runtime.kubernetes.telling import Telling
from runtime.log import Log
from tests.controlplane.cluster import ControlPlane
from tests.controlplane.install import BASE, NAMESPACE, account, install
from tests.integration.kubernetes.pods import a_pod
from tests.integration.kubernetes.services import Services
from tests.waiting import until

SECONDS = 30.0


def yes() -> bool:
    return True


BLOCKER = "20"
"""Of the 32 CPUs of each of three nodes: a fourth pod of it finds no room."""
NO_CPU = "no node fits: 3 insufficient cpu"


@asynccontextmanager
async def serving(kubeconfig: Path, **kubernetes: object) -> AsyncIterator[Services]:
    """Running services, the binder with these settings; what they said is printed at the end."""
    found = Services(kubeconfig, NAMESPACE)
    found.of_binder["kubernetes"].update(kubernetes)
    found.configure("binder", found.of_binder)
    async with found.running():
        yield found


def shipped(plane: ControlPlane) -> Path:
    """The account that deploy/ gives the binder."""
    install(plane)
    return account(plane, "godel-binder")


async def godel_get(services: Services, key: str) -> Any:
    """What `godel get KEY` shows."""
    state = ("--state", str(services.state))
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runtime.cli", *state, "get", key, "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await program.communicate()
    assert program.returncode == 0
    return json.loads(out)


class Shop:
    """One namespace's pods and events, as a person sees them."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._api = plane.admin
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._events = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"

    def create(self, pod: dict[str, Any]) -> None:
        self._api.create(self._pods, pod)

    def delete(self, name: str) -> None:
        self._api.delete(f"{self._pods}/{name}")

    def condition(self, name: str) -> dict[str, Any]:
        """PodScheduled of a pod, {} when it says nothing."""
        conditions = self._api.get(f"{self._pods}/{name}")["status"].get("conditions", [])
        return next((each for each in conditions if each["type"] == "PodScheduled"), {})

    def events(self, name: str, reason: str = "FailedScheduling") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._api.get(self._events)["items"]
        return [e for e in items if (e["regarding"]["name"], e["reason"]) == (name, reason)]

    def nodes(self) -> dict[str, str]:
        """Of pods that have one."""
        pods = self._api.get(self._pods)["items"]
        return {
            p["metadata"]["name"]: p["spec"]["nodeName"] for p in pods if p["spec"].get("nodeName")
        }

    def untold(self) -> int:
        """Pods without a node that say nothing."""
        pods = [p for p in self._api.get(self._pods)["items"] if not p["spec"].get("nodeName")]
        return sum(not pod["status"].get("conditions") for pod in pods)

    async def until(self, what: str, condition: Callable[[], Any]) -> Any:
        async def holds() -> Any:
            return await asyncio.to_thread(condition)

        return await until(what, holds, SECONDS)

    async def told(self, name: str) -> dict[str, Any]:
        """Wait until a pod has been told why it waits; returns the condition."""
        condition: dict[str, Any] = await self.until(
            f"{name} is told", lambda: (c := self.condition(name)).get("message") and c
        )
        return condition

    async def bound(self, *names: str) -> None:
        await self.until(f"{len(names)} pods are bound", lambda: self.nodes().keys() >= {*names})


async def test_who_finds_no_room_says_so_until_there_is_room(
    control_plane: ControlPlane, namespace: str
) -> None:
    shop = Shop(control_plane, namespace)
    async with serving(shipped(control_plane)) as services:
        for i in range(3):
            shop.create(a_pod(f"big{i}", cpu=BLOCKER))
        await shop.bound("big0", "big1", "big2")
        shop.create(a_pod("late", cpu=BLOCKER))
        condition = await shop.told("late")
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        assert condition["message"] == NO_CPU
        assert condition["lastTransitionTime"]
        events = await shop.until("an event says so", lambda: shop.events("late"))
        assert [(e["type"], e["note"], e["action"]) for e in events] == [
            ("Warning", NO_CPU, "Scheduling")
        ]
        assert events[0]["reportingController"] == "godel-scheduler"
        waiting = await godel_get(services, f"{namespace}/late")
        assert (waiting["word"], waiting["why"]) == ("WAITING", NO_CPU)
        shop.delete("big1")
        await shop.bound("late")
        assert shop.condition("late")["status"] == "True"
        bound = await godel_get(services, f"{namespace}/late")
        assert bound["key"].startswith(f"{namespace}/late/")
        assert [r["node"] for r in bound["replicas"]] == [shop.nodes()["late"]]
        assert len(shop.events("late")) == 1
        assert shop.events("late", "Scheduled") == []
        assert "refuses" not in services.log("binder")


async def test_pod_that_we_do_not_understand_is_told_which_field(
    control_plane: ControlPlane, namespace: str
) -> None:
    shop = Shop(control_plane, namespace)
    pod = a_pod("odd")
    pod["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimName": "gpu"}]
    async with serving(shipped(control_plane)):
        shop.create(pod)
        condition = await shop.told("odd")
        assert condition["reason"] == "Unschedulable"
        assert "resourceClaims" in condition["message"]
        events = await shop.until("an event says so", lambda: shop.events("odd"))
        assert [e["note"] for e in events] == [condition["message"]]


async def test_many_that_wait_do_not_hold_up_those_that_fit(
    control_plane: ControlPlane, namespace: str
) -> None:
    shop = Shop(control_plane, namespace)
    async with serving(shipped(control_plane), tells_per_second_max=1):
        for i in range(200):
            shop.create(a_pod(f"huge{i}", cpu="64"))
        await shop.until("the first are told", lambda: shop.untold() < 200)
        names = [f"small{i}" for i in range(50)]
        for name in names:
            shop.create(a_pod(name))
        await shop.bound(*names)
        assert shop.untold() > 50, "telling takes its time, and nobody waits for it"


async def test_permission_to_tell_that_is_missing_is_named_and_pods_are_bound(
    control_plane: ControlPlane, namespace: str
) -> None:
    shop = Shop(control_plane, namespace)
    shipped(control_plane)
    name = f"{namespace}-mute"
    roles = list(yaml.safe_load_all((BASE / "roles.yaml").read_text()))
    rules = [rule for rule in roles[0]["rules"] if rule["resources"] != ["pods/status"]]
    rules += next(role["rules"] for role in roles if role["kind"] == "Role")
    clusterroles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    control_plane.admin.create(clusterroles, {"metadata": {"name": name}, "rules": rules})
    async with serving(control_plane.user(name, name)) as services:
        shop.create(a_pod("huge", cpu="64"))
        await shop.until("an event tells", lambda: shop.events("huge"))
        shop.create(a_pod("small"))
        await shop.bound("small")
        assert "PATCH pods/status" in services.log("binder")
        assert services.log("binder").count("status=403") == 1
        assert shop.condition("huge").get("message") is None
    control_plane.admin.delete(f"{clusterroles}/{name}")


async def test_success_is_told_where_that_is_asked_for(
    control_plane: ControlPlane, namespace: str
) -> None:
    shop = Shop(control_plane, namespace)
    async with serving(shipped(control_plane), success_events=True):
        shop.create(a_pod("small"))
        (event,) = await shop.until("an event", lambda: shop.events("small", "Scheduled"))
        assert event["type"] == "Normal"
        assert event["note"].startswith(f"Successfully assigned {namespace}/small to node-")


async def test_pod_that_took_the_name_of_another_is_not_told_what_was_said_of_that(
    bare_control_plane: ControlPlane,
) -> None:
    """The server refuses a status whose uid is not the pod's: with 422, as a field that cannot be
    changed, where a Binding is refused with 409."""
    plane = bare_control_plane
    made = plane.admin.create("/api/v1/namespaces", {"metadata": {"generateName": "names-"}})
    pods = f"/api/v1/namespaces/{made['metadata']['name']}/pods"
    plane.admin.create(pods, a_pod("p"))
    former = plane.admin.get(f"{pods}/p")
    plane.admin.delete(f"{pods}/p?gracePeriodSeconds=0")
    plane.admin.create(pods, a_pod("p"))
    log = io.StringIO()
    access = Access(str(plane.kubeconfig))
    api = Api(access)
    await api.open()
    refusals = Refusals(Log("test", log))
    found = Pods("godel-scheduler")
    telling = Telling(api, found, Events(api, "a", "b", refusals, yes), refusals, 100, yes)
    name = Name(made["metadata"]["name"], "p", former["metadata"]["uid"])
    telling.see(found.take(msgspec.json.encode(former)))
    reply = await telling._patch(name, Condition(), "line")
    await api.close()
    assert reply is not None
    assert reply.status == 422
    assert log.getvalue() == ""
    assert "conditions" not in plane.admin.get(f"{pods}/p")["status"]
