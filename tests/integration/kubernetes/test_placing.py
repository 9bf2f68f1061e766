"""Pods placed by our services on a real control plane."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.controlplane.cluster import ControlPlane
from tests.integration.kubernetes.pods import a_pod
from tests.integration.kubernetes.services import Services
from tests.waiting import until


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


async def test_pods_at_the_limits_of_the_api_server_are_placed(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    many = a_pod("many", cpu="1m")
    container = many["spec"]["containers"][0]
    many["spec"]["containers"] = [{**container, "name": f"c{i}"} for i in range(1_000)]
    odd = a_pod("odd")
    odd["metadata"]["annotations"] = {"godel.dev/memory": "lots", "numa": "\u2603" * 1_000}
    for pod in (many, odd, a_pod("n" * 253)):
        control_plane.admin.create(f"/api/v1/namespaces/{namespace}/pods", pod)
    assert len(await running(control_plane, namespace, 3)) == 3
