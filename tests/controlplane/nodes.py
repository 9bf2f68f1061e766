"""Nodes for a control plane: like machines in zones and racks, which KWOK then makes Ready."""

from __future__ import annotations

from tests.controlplane.api import Api, Document

ALLOCATABLE = {"cpu": "32", "memory": "128Gi", "ephemeral-storage": "1Ti", "pods": "110"}
ZONES = 3
RACK_NODES = 20
"""Nodes of a rack; a rack is in one zone."""
RACK_LABEL = "godel.test/rack"


def node(number: int) -> Document:
    """The manifest of one of like nodes; its status travels with its creation."""
    rack = number // RACK_NODES
    name = f"node-{number:04}"
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": f"zone-{rack % ZONES}",
        RACK_LABEL: f"rack-{rack}",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": ALLOCATABLE, "capacity": ALLOCATABLE},
    }


def add_nodes(admin: Api, count: int) -> list[str]:
    """Create nodes 0 to count - 1; returns their names."""
    return [
        admin.create("/api/v1/nodes", node(number))["metadata"]["name"] for number in range(count)
    ]


def ready_nodes(admin: Api) -> set[str]:
    """The nodes that pods can be placed on: Ready, and with no taint left of being new."""
    return {
        item["metadata"]["name"]
        for item in admin.get("/api/v1/nodes")["items"]
        if not item["spec"].get("taints") and condition(item, "Ready") == "True"
    }


def condition(item: Document, kind: str) -> str:
    """The status of a condition of a node or pod; empty when it has none."""
    conditions = item.get("status", {}).get("conditions", [])
    return next((str(each["status"]) for each in conditions if each["type"] == kind), "")
