"""Pods with volumes on a real control plane, whose controllers bind what we have chosen."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.controlplane.api import Document
from tests.controlplane.cluster import ControlPlane
from tests.integration.kubernetes.pods import a_pod
from tests.integration.kubernetes.services import Services
from tests.integration.kubernetes.test_placing import pods_of, running
from tests.waiting import until

VOLUMES = "/api/v1/persistentvolumes"
NODE_KEY = "volume.kubernetes.io/selected-node"


def nodes_of(plane: ControlPlane) -> list[str]:
    return [each["metadata"]["name"] for each in plane.admin.get("/api/v1/nodes")["items"]]


def a_class(plane: ControlPlane, name: str, provisioner: str) -> None:
    """A class whose volumes wait for the first pod that wants them."""
    body = {
        "metadata": {"name": name},
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    plane.admin.create("/apis/storage.k8s.io/v1/storageclasses", body)


def a_volume(name: str, klass: str, node: str, claim: Document | None = None) -> Document:
    """A volume of one node."""
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    spec: Document = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "storageClassName": klass,
        "hostPath": {"path": "/v"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
    }
    if claim is not None:
        named = claim["metadata"]
        spec["claimRef"] = {key: named[key] for key in ("namespace", "name", "uid")}
    return {"metadata": {"name": name}, "spec": spec}


def a_claim(name: str, klass: str) -> Document:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": klass,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {"metadata": {"name": name}, "spec": spec}


def using(pod: Document, claim: str) -> Document:
    pod["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
    return pod


async def said_of(plane: ControlPlane, namespace: str, name: str, part: str) -> None:
    """Wait until a pod that is not placed says why."""

    async def is_said() -> bool:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = await asyncio.to_thread(plane.admin.get, path)
        told = [c for c in pod["status"].get("conditions", ()) if c["type"] == "PodScheduled"]
        return any(part in str(each.get("message", "")) for each in told)

    await until(f"{name} says {part!r}", is_said, 30.0)


async def test_local_volumes_are_chosen_with_the_node(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    """One volume each: pods go where the volumes are, and who finds none says so and waits."""
    admin, nodes, klass = control_plane.admin, nodes_of(control_plane), f"local-{namespace}"
    a_class(control_plane, klass, "kubernetes.io/no-provisioner")
    for i in range(2):
        admin.create(VOLUMES, a_volume(f"{namespace}-{i}", klass, nodes[i]))
    for i in range(3):
        claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        admin.create(claims, a_claim(f"c{i}", klass))
        admin.create(f"/api/v1/namespaces/{namespace}/pods", using(a_pod(f"p{i}"), f"c{i}"))
    pods = await running(control_plane, namespace, 2)
    assert {pod["spec"]["nodeName"] for pod in pods} == set(nodes[:2])
    (left,) = [p for p in pods_of(control_plane, namespace) if "nodeName" not in p["spec"]]
    await said_of(control_plane, namespace, left["metadata"]["name"], "volume")
    admin.create(VOLUMES, a_volume(f"{namespace}-2", klass, nodes[2]))
    pods = await running(control_plane, namespace, 3)
    assert {pod["spec"]["nodeName"] for pod in pods} == set(nodes[:3])
    services.kill("binder")
    services.start("binder")
    await services.serving("binder")
    admin.create(f"/api/v1/namespaces/{namespace}/pods", a_pod("later"))
    later = await running(control_plane, namespace, 4)
    uids = {pod["metadata"]["uid"] for pod in later}
    assert {pod["metadata"]["uid"] for pod in pods} <= uids, "who was another unit before stays"


async def test_a_volume_is_made_for_the_node_of_its_pod(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    """This test is the provisioner: it fails once, and the pod is placed anew."""
    admin, klass = control_plane.admin, f"made-{namespace}"
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/c"
    a_class(control_plane, klass, "test.example.com")
    admin.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", a_claim("c", klass))
    for name in ("p0", "p1"):
        admin.create(f"/api/v1/namespaces/{namespace}/pods", using(a_pod(name), "c"))

    async def selected() -> Any:
        claim = await asyncio.to_thread(admin.get, path)
        return claim if NODE_KEY in claim["metadata"].get("annotations", {}) else None

    await until("a node is selected", selected, 30.0)
    admin.merge(path, {"metadata": {"annotations": {NODE_KEY: None}}})
    claim = await until("a node is selected again", selected, 30.0)
    node = claim["metadata"]["annotations"][NODE_KEY]
    admin.create(VOLUMES, a_volume(f"{namespace}-made", klass, node, claim))
    pods = await running(control_plane, namespace, 2)
    assert {pod["spec"]["nodeName"] for pod in pods} == {node}


async def test_a_pod_waits_for_its_claim(
    control_plane: ControlPlane, services: Services, namespace: str
) -> None:
    admin, nodes = control_plane.admin, nodes_of(control_plane)
    admin.create(f"/api/v1/namespaces/{namespace}/pods", using(a_pod("p"), "late"))
    await said_of(control_plane, namespace, "p", "there is no claim")
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    admin.create(claims, a_claim("late", ""))
    admin.create(VOLUMES, a_volume(f"{namespace}-late", "", nodes[1]))
    (pod,) = await running(control_plane, namespace, 1)
    assert pod["spec"]["nodeName"] == nodes[1]
