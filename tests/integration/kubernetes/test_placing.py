"""Pods placed by our services on a real control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.controlplane.cluster import ControlPlane
from tests.integration.embedded import until
from tests.integration.kubernetes.pods import a_pod
from tests.integration.kubernetes.services import Services
from tests.integration.kubernetes.test_contract import ROLE, RULES
from tests.integration.kubernetes.test_home import a_role


@pytest.fixture
async def services(control_plane: ControlPlane) -> AsyncIterator[Services]:
    """Running services on the shared control plane."""
    name = f"{ROLE}-services"
    a_role(control_plane, name, RULES)
    found = Services(control_plane.user(name, name))
    try:
        found.start()
        await found.serving()
        yield found
    finally:
        for service in ("binder", "dispatcher", "scheduler-0", "scheduler-1"):
            print(service, found.log(service)[-3000:])
        found.remove()
        control_plane.admin.delete(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}")


def pods_of(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = plane.admin.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return items


async def running(plane: ControlPlane, namespace: str, count: int) -> list[dict[str, Any]]:
    """Wait until so many pods run."""

    async def are_running() -> list[dict[str, Any]]:
        pods = await asyncio.to_thread(pods_of, plane, namespace)
        found = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        return found if len(found) == count else []

    pods: list[dict[str, Any]] = await until(f"{count} pods run", are_running, 30.0)
    return pods


async def test_pods_that_name_us_end_up_running(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    for i in range(20):
        control_plane.admin.create(f"/api/v1/namespaces/{namespace}/pods", a_pod(f"p{i}"))
    pods = await running(control_plane, namespace, 20)
    assert all(pod["spec"]["nodeName"] for pod in pods)
