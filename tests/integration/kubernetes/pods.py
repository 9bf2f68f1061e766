"""Pods for tests on a real control plane, and the posts that place them."""

from __future__ import annotations

from tests.controlplane.api import Api, Document

OURS = "godel-scheduler"
"""The schedulerName that kube-scheduler leaves alone."""


def a_pod(name: str, *, cpu: str = "100m", scheduler: str = OURS) -> Document:
    """A pod of one container."""
    container = {"name": "main", "image": "main", "resources": {"requests": {"cpu": cpu}}}
    spec = {"schedulerName": scheduler, "containers": [container]}
    return {"metadata": {"name": name}, "spec": spec}


def a_request(name: str, count: int = 1, cpu: str = "100m") -> Document:
    """A unit of one group without pods."""
    group = {"count": count, "class": {"demand": {"cpu": cpu, "memory": "64Mi"}}}
    return {
        "apiVersion": "godel.dev/v1",
        "kind": "PlacementRequest",
        "metadata": {"name": name},
        "spec": {"groups": [group]},
    }


def a_deployment(name: str, replicas: int) -> Document:
    """A Deployment whose pods kube-scheduler places."""
    labels = {"app": name}
    pod = a_pod(name, scheduler="default-scheduler")
    template = {"metadata": {"labels": labels}, "spec": pod["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def bind(api: Api, pod: Document, node: str) -> None:
    """Post the Binding of a pod, for this incarnation of it alone. Raises api.Refused."""
    named = pod["metadata"]
    path = f"/api/v1/namespaces/{named['namespace']}/pods/{named['name']}/binding"
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    api.create(path, {"metadata": {"name": named["name"], "uid": named["uid"]}, "target": target})


def phase(api: Api, namespace: str, name: str) -> str:
    """The phase of a pod."""
    pod = api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
    return str(pod["status"]["phase"])
