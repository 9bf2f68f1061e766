"""Pods placed by our services on a real control plane."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.controlplane.cluster import ControlPlane
from tests.integration.kubernetes.pods import OURS, a_pod
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


async def test_pods_that_keep_apart_share_no_node(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    """One that is left over says why, and is placed when another goes."""
    nodes = control_plane.admin.get("/api/v1/nodes")["items"]
    path = f"/api/v1/namespaces/{namespace}/pods"
    for i in range(len(nodes) + 1):
        pod = a_pod(f"p{i}", cpu="1m")
        pod["metadata"]["labels"] = {"app": "apart"}
        term = {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "apart"}},
        }
        required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        pod["spec"]["affinity"] = {"podAntiAffinity": required}
        control_plane.admin.create(path, pod)
    pods = await running(control_plane, namespace, len(nodes))
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(nodes)

    async def said() -> str:
        (left,) = [p for p in pods_of(control_plane, namespace) if "nodeName" not in p["spec"]]
        told = [c for c in left["status"].get("conditions", ()) if c["type"] == "PodScheduled"]
        return str(told[0].get("message", "")) if told else ""

    assert "anti-affinity" in await until("the pod left over says why", said, 30.0)
    control_plane.admin.delete(f"{path}/{pods[0]['metadata']['name']}")
    await running(control_plane, namespace, len(nodes))


async def test_a_port_of_a_node_is_given_once(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    """Also when kube-scheduler's pods, which it bound, have it."""
    nodes = control_plane.admin.get("/api/v1/nodes")["items"]
    path = f"/api/v1/namespaces/{namespace}/pods"
    for i in range(len(nodes)):
        pod = a_pod(f"p{i}", cpu="1m", scheduler="default-scheduler" if i % 2 else OURS)
        pod["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 8080}]
        control_plane.admin.create(path, pod)
        await running(control_plane, namespace, i + 1)
    pods = await running(control_plane, namespace, len(nodes))
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(nodes)


async def test_a_pod_that_selects_namespaces_by_label_follows_their_labels(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    first = a_pod("first", cpu="1m")
    first["metadata"]["labels"] = {"app": "first"}
    control_plane.admin.create(path, first)
    (there,) = await running(control_plane, namespace, 1)
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": "first"}},
        "namespaceSelector": {"matchLabels": {"team": namespace}},
    }
    second = a_pod("second", cpu="1m")
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    second["spec"]["affinity"] = {"podAffinity": required}
    control_plane.admin.create(path, second)

    async def said() -> bool:
        pod = await asyncio.to_thread(control_plane.admin.get, f"{path}/second")
        told = [c for c in pod["status"].get("conditions", ()) if c["type"] == "PodScheduled"]
        return any("affinity" in str(each.get("message", "")) for each in told)

    await until("the second pod says why it waits", said, 30.0)
    labels = {"metadata": {"labels": {"team": namespace}}}
    control_plane.admin.merge(f"/api/v1/namespaces/{namespace}", labels)
    pods = await running(control_plane, namespace, 2)
    assert {pod["spec"]["nodeName"] for pod in pods} == {there["spec"]["nodeName"]}


async def test_a_pod_takes_what_it_has_while_it_is_resized(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    """1. A pod has more than it asks for: nobody fits beside it. 2. It has become as small."""
    node = control_plane.admin.get("/api/v1/nodes")["items"][0]
    cores = int(node["status"]["allocatable"]["cpu"])
    name, path = node["metadata"]["name"], f"/api/v1/namespaces/{namespace}/pods"

    def here(pod: dict[str, Any]) -> dict[str, Any]:
        pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": name}
        return pod

    def has(cpu: int) -> None:
        status = control_plane.admin.get(f"{path}/shrinks")["status"]
        (container,) = status["containerStatuses"]
        container["resources"] = {"requests": {"cpu": str(cpu)}}
        patch = {"status": {"containerStatuses": [container]}}
        control_plane.admin.merge(f"{path}/shrinks/status", patch)

    control_plane.admin.create(path, here(a_pod("shrinks", cpu="1")))
    await running(control_plane, namespace, 1)
    has(cores - 1)
    control_plane.admin.create(path, here(a_pod("large", cpu="2")))

    async def said() -> bool:
        pod = await asyncio.to_thread(control_plane.admin.get, f"{path}/large")
        told = [c for c in pod["status"].get("conditions", ()) if c["type"] == "PodScheduled"]
        return any("insufficient cpu" in str(each.get("message", "")) for each in told)

    await until("the large pod finds no room beside it", said, 30.0)
    has(1)
    await running(control_plane, namespace, 2)
