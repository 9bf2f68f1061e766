"""The production client on bad days of a real API server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cell.home import Code, ObjectState, Relist
from runtime.kubernetes import api, home
from tests.controlplane.cluster import API_SERVER, ControlPlane
from tests.controlplane.install import install
from tests.integration.kubernetes.pods import a_pod, a_request
from tests.integration.kubernetes.servers import RealServer, post, read
from tests.integration.kubernetes.test_contract import ROLE, RULES
from tests.waiting import until

NAMESPACE = "home"


def a_role(plane: ControlPlane, name: str, rules: list[dict[str, Any]]) -> None:
    role: dict[str, Any] = {"metadata": {"name": name}, "rules": rules}
    plane.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)


@asynccontextmanager
async def followed(
    plane: ControlPlane, rules: list[dict[str, Any]] = RULES
) -> AsyncIterator[RealServer]:
    """The control plane, started, as somebody sees it who may do this."""
    plane.start()
    a_role(plane, ROLE, rules)
    plane.admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    server = RealServer(plane.admin, NAMESPACE, str(plane.user(ROLE, ROLE)))
    await server.start()
    yield server
    await server.stop()


async def test_api_server_that_was_killed_is_followed_again(
    own_control_plane: ControlPlane,
) -> None:
    plane = own_control_plane
    async with followed(plane) as server:
        view = await server.create("before")
        plane.kill_api_server()
        await server.lost(1)
        assert await post(server, view, "a") is Code.THROTTLED
        assert (await read(server, view.replica)).code is Code.UNKNOWN
        listing = asyncio.ensure_future(server.ask(Relist))
        await asyncio.to_thread(plane.start_api_server)
        listed = await listing
        assert [v.replica for v in listed.objects] == [view.replica]
        assert await post(server, view, "a") is Code.OK
        await server.shown(view.replica, lambda v: v.state is ObjectState.BOUND)


async def test_permission_that_is_missing_is_named_in_the_log(
    own_control_plane: ControlPlane,
) -> None:
    plane = own_control_plane
    async with followed(
        plane, [rule for rule in RULES if rule["resources"] != ["pods/binding"]]
    ) as server:
        view = await server.create("p")
        assert await post(server, view, "a") is Code.THROTTLED
        assert "status=403" in server.log.getvalue()
        assert "pods/binding" in server.log.getvalue()
        found = (await read(server, view.replica)).found
        assert found is not None
        assert found.state is ObjectState.PENDING


async def test_token_that_was_replaced_is_read_again(own_control_plane: ControlPlane) -> None:
    plane = own_control_plane
    plane.start()
    a_role(plane, ROLE, RULES)
    plane.admin.create("/api/v1/namespaces", {"metadata": {"name": "accounts"}})
    kubeconfig = plane.service_account("accounts", "binder", ROLE)
    token_file = kubeconfig.with_name("token")
    token = token_file.read_text()
    token_file.write_text("of another cluster")
    server = RealServer(plane.admin, NAMESPACE, str(kubeconfig))
    starting = asyncio.ensure_future(server.start())
    await until("the list is refused", lambda: "401" in server.log.getvalue())
    assert not starting.done()
    token_file.write_text(token)
    await starting
    await server.stop()


async def test_long_list_comes_in_pages(
    own_control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE_ITEMS", 4)
    plane = own_control_plane
    async with followed(plane) as server:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        for i in range(10):
            plane.admin.create(path, a_pod(f"p{i}"))
        listed = await server.ask(Relist)
        assert len(listed.objects) == 10


async def test_kind_that_is_not_installed_is_said_once_and_looked_for(
    own_control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "MISSED_SECONDS", (0.2, 0.4))
    plane = own_control_plane
    async with followed(plane) as server:
        view = await server.create("p")
        assert await post(server, view, "a") is Code.OK
        await server.ask(Relist)
        assert server.log.getvalue().count("units without pods are not placed") == 1
        await asyncio.to_thread(install, plane)
        await server.lost(1)
        path = f"/apis/godel.dev/v1/namespaces/{NAMESPACE}/placementrequests"
        plane.admin.create(path, a_request("unit"))
        listed = await server.ask(Relist)
        (unit,) = [unit for unit in listed.units if unit.kept is not None]
        assert unit.key.startswith(f"{NAMESPACE}/unit/")


async def test_watch_that_has_nothing_to_show_is_kept_and_one_that_hangs_is_lost(
    own_control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server sends no bookmarks of a kind of which nothing changes."""
    monkeypatch.setattr(api, "SILENT_SECONDS_MAX", 0.5)
    plane = own_control_plane
    async with followed(plane) as server:
        await asyncio.sleep(4 * api.SILENT_SECONDS_MAX)  # nothing is to be seen
        assert "a watch is lost" not in server.log.getvalue()
        view = await server.create("seen")
        assert view.state is ObjectState.PENDING
        pid = plane.processes.pid(API_SERVER)
        os.kill(pid, signal.SIGSTOP)
        try:
            await server.lost(1)
        finally:
            os.kill(pid, signal.SIGCONT)
        listed = await server.ask(Relist)
        assert [v.replica for v in listed.objects] == [view.replica]
