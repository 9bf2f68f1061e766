"""What random pods prefer, beside what they demand: half of those that wait are easy to place, so
that scores have nodes to tell apart."""

from __future__ import annotations

from random import Random
from typing import Any

Manifest = dict[str, Any]
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
KEYS = ("zone", "kubernetes.io/hostname", "disk")
DEMANDS = ("nodeSelector", "overhead", "initContainers", "affinity", "topologySpreadConstraints")


def make_easy(luck: Random, spec: Manifest) -> None:
    """Take away what a pod demands, most of the time."""
    for field in DEMANDS:
        if luck.random() < 0.9:
            spec.pop(field, None)
    for container in spec["containers"]:
        if luck.random() < 0.8:
            container.pop("resources", None)
            container.pop("ports", None)


def add_wishes(luck: Random, spec: Manifest) -> None:
    """Preferred terms of every kind, and spread that is no condition."""
    if luck.random() < 0.5:
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        affinity[PREFERRED] = [_node_wish(luck) for _ in range(luck.choice((1, 2, 2)))]
    for kind in ("podAffinity", "podAntiAffinity"):
        if luck.random() < 0.35:
            affinity = spec.setdefault("affinity", {}).setdefault(kind, {})
            affinity[PREFERRED] = [_pod_wish(luck) for _ in range(luck.choice((1, 1, 2)))]
    if luck.random() < 0.4:
        keys = luck.sample(KEYS, luck.choice((1, 2)))
        known = [
            c for c in spec.get("topologySpreadConstraints", []) if c["topologyKey"] not in keys
        ]
        spec["topologySpreadConstraints"] = [*known, *(_spread(luck, key) for key in keys)]


def services(luck: Random) -> list[Manifest]:
    """Services, whose pods are spread where they do not say how."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"s{i}", "namespace": luck.choice(("default", "red"))},
            "spec": {"selector": {luck.choice(("app", "tier")): luck.choice(("a", "b"))}},
        }
        for i in range(luck.choice((0, 0, 1, 2)))
    ]


def _node_wish(luck: Random) -> Manifest:
    key, values = luck.choice((("zone", ("a", "b", "c")), ("disk", ("ssd", "hdd"))))
    operator = luck.choice(("In", "In", "NotIn", "Exists"))
    wanted: Manifest = {"key": key, "operator": operator}
    if operator != "Exists":
        wanted["values"] = [luck.choice(values)]
    return {"weight": luck.randint(1, 100), "preference": {"matchExpressions": [wanted]}}


def _pod_wish(luck: Random) -> Manifest:
    term: Manifest = {"topologyKey": luck.choice(KEYS), "labelSelector": _selector(luck)}
    if luck.random() < 0.3:
        term["namespaceSelector"] = {}
    return {"weight": luck.randint(1, 100), "podAffinityTerm": term}


def _spread(luck: Random, key: str) -> Manifest:
    made: Manifest = {
        "topologyKey": key,
        "maxSkew": luck.choice((1, 2, 5)),
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": _selector(luck),
    }
    if luck.random() < 0.3:
        made["nodeTaintsPolicy"] = "Honor"
    if luck.random() < 0.3:
        made["nodeAffinityPolicy"] = "Ignore"
    return made


def _selector(luck: Random) -> Manifest:
    if luck.random() < 0.1:
        return {}
    return {"matchLabels": {luck.choice(("app", "tier")): luck.choice(("a", "b"))}}
