"""Random clusters as manifests, small and crowded: every field draws from few values, so that each
changes what is feasible for somebody.

All luck comes from one generator, be it of a seed or of hypothesis.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.oracle.pods import Pods
from tests.oracle.storage import Storage
from tests.oracle.wishes import services

Manifest = dict[str, Any]
ZONES = ("a", "b", "c")
ZONE_LABEL = "topology.kubernetes.io/zone"
NAMESPACES = ("default", "red", "blue")


def cluster(luck: Random) -> list[Manifest]:
    """Nodes, namespaces, priority classes, pods that run and pods that wait."""
    taint_odds = luck.choice((0.0, 0.0, 0.3, 0.6))
    nodes = [_node(luck, i, taint_odds) for i in range(luck.randint(2, 7))]
    names = [node["metadata"]["name"] for node in nodes]
    storage = Storage(luck, names, NAMESPACES)
    pods = Pods(luck, names, storage)
    made = [*nodes, *_namespaces(luck), *_priorities(), *storage.objects()]
    made += services(luck)
    made += [pods.running(i) for i in range(luck.randint(0, 8))]
    made += [pods.waiting(i) for i in range(luck.randint(1, 6))]
    return made + storage.late


def _node(luck: Random, number: int, taint_odds: float) -> Manifest:
    name = f"n{number}"
    labels = {"kubernetes.io/hostname": name} if luck.random() < 0.95 else {}
    for key, values in (
        ("zone", ZONES),
        (ZONE_LABEL, ZONES[:2]),
        ("disk", ("ssd", "hdd")),
        ("cores", ("4", "16", "x")),
    ):
        if luck.random() < 0.8:
            labels[key] = luck.choice(values)
    for key in ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"):
        if luck.random() < 0.3:
            labels[key] = luck.choice(("a", "b"))
    spec: Manifest = {}
    if luck.random() < taint_odds / 3:
        spec["unschedulable"] = True
    taints = [_taint(luck) for _ in range(2) if luck.random() < taint_odds]
    if taints:
        spec["taints"] = list({(t["key"], t["effect"]): t for t in taints}.values())
    allocatable = {
        "cpu": luck.choice(("1", "2500m", "4", "16", "0")),
        "memory": luck.choice(("1Gi", "2500Mi", "8G")),
        "pods": luck.choice(("1", "3", "110", "110")),
    }
    for resource, amounts in (
        ("ephemeral-storage", ("1Gi", "10Gi")),
        ("hugepages-2Mi", ("4Mi", "64Mi")),
        ("example.com/gpu", ("1", "4")),
    ):
        if luck.random() < 0.5:
            allocatable[resource] = luck.choice(amounts)
    status: Manifest = {"allocatable": allocatable}
    if luck.random() < 0.3:
        status["declaredFeatures"] = sorted(luck.sample(FEATURES, luck.randint(1, 2)))
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": status,
    }


FEATURES = ["RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport"]


def _taint(luck: Random) -> Manifest:
    effect = luck.choice(("NoSchedule", "NoExecute", "PreferNoSchedule"))
    return {"key": luck.choice(("k", "l")), "value": luck.choice(("", "v")), "effect": effect}


def _namespaces(luck: Random) -> list[Manifest]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"team": luck.choice(("x", "y"))}},
        }
        for name in NAMESPACES
    ]


def _priorities() -> list[Manifest]:
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 1000,
        }
    ]
