"""Random pods: each field that says where a pod may run is there now and then."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.oracle.storage import Storage
from tests.oracle.wishes import add_wishes, make_easy

Manifest = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
KEYS = ("zone", "zone", "zone", "kubernetes.io/hostname", "kubernetes.io/hostname", "disk", "rack")
FIELDS = ("volumes", "ports", "containers")
"""Fields with odds of their own; `containers` stands for what they ask for."""
NAMESPACES = ("default", "red", "blue")
ODDS = (0.0, 0.0, 0.3, 0.6)
"""Of each field of a pod: drawn for the whole cluster, so that few rules stand in the way of the
others."""


class Pods:
    """Makes pods for nodes of some names."""

    def __init__(self, luck: Random, nodes: list[str], storage: Storage) -> None:
        self._luck = luck
        self._nodes = nodes
        self._storage = storage
        self._labels: dict[str, str] = {}
        self._odds = {name: luck.choice(ODDS) for name in (*self._fields(), *FIELDS)}

    def running(self, number: int) -> Manifest:
        """A pod with its node, which may not be there any more, or which is being stopped."""
        made = self._pod(f"r{number}")
        if self._luck.random() < 0.4:
            add_wishes(self._luck, made["spec"])
        made["spec"]["nodeName"] = self._luck.choice([*self._nodes, *self._nodes, "gone"])
        if self._luck.random() < 0.15:
            made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if self._luck.random() < 0.1:
            made["status"] = {"phase": self._luck.choice(("Succeeded", "Failed", "Running"))}
        if self._luck.random() < 0.2:
            made.setdefault("status", {}).update(self._resizing(made["spec"]))
        return made

    def _resizing(self, spec: Manifest) -> Manifest:
        """What a pod that is resized in place says of its resources."""
        luck = self._luck
        made: Manifest = {}
        for listed, key in (
            ("containers", "containerStatuses"),
            ("initContainers", "initContainerStatuses"),
        ):
            made[key] = [
                self._container_status(each["name"])
                for each in spec.get(listed, [])
                if luck.random() < 0.7
            ]
        if "resources" in spec and luck.random() < 0.7:
            made["resources"] = {"requests": {"cpu": luck.choice(("100m", "3"))}}
            made["allocatedResources"] = {"memory": luck.choice(("1Gi", "2Gi"))}
        if luck.random() < 0.4:
            reason = luck.choice(("Infeasible", "Deferred"))
            condition = {"type": "PodResizePending", "status": "True", "reason": reason}
            made["conditions"] = [condition]
        return made

    def _container_status(self, name: str) -> Manifest:
        luck = self._luck
        made: Manifest = {"name": name, "image": "i", "imageID": "", "ready": True}
        made["restartCount"] = 0
        if luck.random() < 0.8:
            made["resources"] = {"requests": {"cpu": luck.choice(("50m", "1500m"))}}
        if luck.random() < 0.8:
            made["allocatedResources"] = {"memory": luck.choice(("64Mi", "2Gi"))}
        return made

    def waiting(self, number: int) -> Manifest:
        """A pod that wants a node."""
        made, luck = self._pod(f"p{number}"), self._luck
        if luck.random() < 0.5:
            make_easy(luck, made["spec"])
        if luck.random() < 0.6:
            add_wishes(luck, made["spec"])
        if luck.random() < 0.05:
            made["spec"]["schedulingGates"] = [{"name": "g"}]
        if luck.random() < 0.2:
            made["spec"]["priorityClassName"] = luck.choice(("high", "system-node-critical"))
        elif luck.random() < 0.2:
            made["spec"]["priority"] = luck.choice((-5, 7))
        return made

    def _pod(self, name: str) -> Manifest:
        luck = self._luck
        self._labels = {
            key: luck.choice(("a", "b")) for key in ("app", "tier") if luck.random() < 0.8
        }
        spec: Manifest = {"containers": [self._container() for _ in range(luck.choice((1, 1, 2)))]}
        for field, make in self._fields().items():
            if luck.random() < self._odds[field]:
                made = make()
                if made:
                    spec[field] = made
        if luck.random() < 0.1:
            spec["hostNetwork"] = True
            if luck.random() < 0.5:
                spec["hostUsers"] = False
        namespace = luck.choice(NAMESPACES)
        metadata = {"name": name, "namespace": namespace, "uid": name, "labels": self._labels}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        if luck.random() < self._odds["volumes"]:
            spec["volumes"] = self._storage.volumes_of(made)
        return made

    def _fields(self) -> dict[str, Callable[[], Any]]:
        return {
            "initContainers": self._inits,
            "overhead": lambda: {"cpu": self._luck.choice(("100m", "1"))},
            "resources": self._pod_level,
            "nodeSelector": self._selector,
            "affinity": self._affinity,
            "tolerations": self._tolerations,
            "topologySpreadConstraints": self._spread,
        }

    # Resources

    def _container(self) -> Manifest:
        luck = self._luck
        made: Manifest = {"name": f"c{luck.randrange(1 << 30)}", "image": "i"}
        resources: dict[str, Manifest] = {}
        for kind in ("requests", "limits"):
            if luck.random() < self._odds["containers"]:
                resources[kind] = self._amounts()
        _make_equal(resources)
        if resources:
            made["resources"] = resources
        if luck.random() < self._odds["ports"]:
            made["ports"] = [self._port()]
        if luck.random() < 0.05:
            made["restartPolicy"] = "Never"
            made["restartPolicyRules"] = [
                {
                    "action": luck.choice(("RestartAllContainers", "Restart")),
                    "exitCodes": {"operator": "In", "values": [1]},
                }
            ]
        return made

    def _amounts(self) -> Manifest:
        luck = self._luck
        choices = {
            "cpu": ("100m", "1", "2"),
            "memory": ("100Mi", "1Gi"),
            "ephemeral-storage": ("1Gi", "5Gi"),
            "hugepages-2Mi": ("4Mi",),
            "example.com/gpu": ("1", "2"),
        }
        names = luck.sample(sorted(choices), luck.choice((1, 1, 2)))
        return {name: luck.choice(choices[name]) for name in names}

    def _port(self) -> Manifest:
        luck = self._luck
        made: Manifest = {"containerPort": luck.choice((80, 443))}
        if luck.random() < 0.7:
            made["hostPort"] = made["containerPort"]
        if luck.random() < 0.3:
            made["protocol"] = luck.choice(("UDP", "TCP", "SCTP"))
        if luck.random() < 0.3:
            made["hostIP"] = luck.choice(("10.0.0.1", "0.0.0.0", "127.0.0.1"))
        return made

    def _inits(self) -> list[Manifest]:
        made = [self._container() for _ in range(self._luck.choice((1, 2, 3)))]
        for each in made:
            if self._luck.random() < 0.5:
                each["restartPolicy"] = "Always"
        return made

    def _pod_level(self) -> Manifest:
        kind = self._luck.choice(("requests", "limits"))
        return {kind: {"cpu": self._luck.choice(("500m", "2")), "memory": "1Gi"}}

    # Nodes

    def _selector(self) -> Manifest:
        return {self._luck.choice(("zone", "disk")): self._luck.choice(("a", "b", "ssd"))}

    def _affinity(self) -> Manifest:
        made: Manifest = {}
        luck = self._luck
        if luck.random() < 0.4:
            made["nodeAffinity"] = self._node_affinity()
        for kind in ("podAffinity", "podAntiAffinity"):
            if luck.random() < 0.5:
                made[kind] = self._pod_affinity()
        return made

    def _node_affinity(self) -> Manifest:
        luck = self._luck
        made: Manifest = {}
        if luck.random() < 0.8:
            terms = [self._node_term() for _ in range(luck.choice((1, 2)))]
            made[REQUIRED] = {"nodeSelectorTerms": terms}
        if luck.random() < 0.4:
            made[PREFERRED] = [{"weight": luck.randint(1, 100), "preference": self._node_term()}]
        return made

    def _node_term(self) -> Manifest:
        luck = self._luck
        made: Manifest = {}
        if luck.random() < 0.9:
            made["matchExpressions"] = [self._expression() for _ in range(luck.choice((1, 1, 2)))]
        if luck.random() < 0.2:
            operator = luck.choice(("In", "NotIn"))
            values = [luck.choice(self._nodes)]
            field = {"key": "metadata.name", "operator": operator, "values": values}
            made["matchFields"] = [field]
        return made

    def _expression(self) -> Manifest:
        luck = self._luck
        operator = luck.choice(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
        key = luck.choice(("zone", "disk", "cores"))
        if operator in ("Gt", "Lt"):
            return {"key": "cores", "operator": operator, "values": [luck.choice(("4", "8"))]}
        if operator in ("Exists", "DoesNotExist"):
            return {"key": key, "operator": operator}
        values = luck.sample(("a", "b", "ssd", "4"), luck.choice((1, 2)))
        return {"key": key, "operator": operator, "values": values}

    def _tolerations(self) -> list[Manifest]:
        return [self._toleration() for _ in range(self._luck.choice((1, 2)))]

    def _toleration(self) -> Manifest:
        luck = self._luck
        made: Manifest = {}
        if luck.random() < 0.85:
            made["key"] = luck.choice(("k", "l", "node.kubernetes.io/unschedulable"))
        if "key" not in made or luck.random() < 0.5:
            made["operator"] = "Exists"
        elif luck.random() < 0.5:
            made["value"] = "v"
        if luck.random() < 0.5:
            made["effect"] = luck.choice(("NoSchedule", "NoExecute", "PreferNoSchedule"))
        return made

    # Pods

    def _pod_affinity(self) -> Manifest:
        luck = self._luck
        made: Manifest = {}
        if luck.random() < 0.8:
            made[REQUIRED] = [self._pod_term() for _ in range(luck.choice((1, 1, 2)))]
        if luck.random() < 0.3:
            weight = luck.randint(1, 100)
            made[PREFERRED] = [{"weight": weight, "podAffinityTerm": self._pod_term()}]
        return made

    def _pod_term(self) -> Manifest:
        luck = self._luck
        made: Manifest = {"topologyKey": luck.choice(KEYS)}
        if luck.random() < 0.95:
            made["labelSelector"] = self._label_selector()
        if luck.random() < 0.2:
            made["namespaces"] = luck.sample(NAMESPACES, luck.choice((1, 2)))
        if luck.random() < 0.3:
            made["namespaceSelector"] = luck.choice(
                ({}, {"matchLabels": {"team": luck.choice(("x", "y"))}})
            )
        if luck.random() < 0.2 and "labelSelector" in made:
            made[luck.choice(("matchLabelKeys", "mismatchLabelKeys"))] = ["tier"]
        return made

    def _label_selector(self) -> Manifest:
        luck = self._luck
        if luck.random() < 0.1:
            return {}
        if luck.random() < 0.6:
            return {"matchLabels": {luck.choice(("app", "tier")): luck.choice(("a", "b"))}}
        operator = luck.choice(("In", "NotIn", "Exists", "DoesNotExist"))
        made: Manifest = {"key": luck.choice(("app", "tier")), "operator": operator}
        if operator in ("In", "NotIn"):
            made["values"] = luck.sample(("a", "b", "c"), luck.choice((1, 2)))
        return {"matchExpressions": [made]}

    def _spread(self) -> list[Manifest]:
        made = [self._constraint() for _ in range(self._luck.choice((1, 1, 2)))]
        # The API server takes no two of one key and kind.
        return list({(c["topologyKey"], c["whenUnsatisfiable"]): c for c in made}.values())

    def _constraint(self) -> Manifest:
        luck = self._luck
        made: Manifest = {
            "topologyKey": luck.choice(KEYS),
            "maxSkew": luck.choice((1, 1, 2)),
            "whenUnsatisfiable": luck.choice(("DoNotSchedule", "DoNotSchedule", "ScheduleAnyway")),
        }
        if luck.random() < 0.95:
            made["labelSelector"] = self._label_selector()
        if luck.random() < 0.3 and made["whenUnsatisfiable"] == "DoNotSchedule":
            made["minDomains"] = luck.choice((1, 2, 4))
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if luck.random() < 0.4:
                made[policy] = luck.choice(("Honor", "Ignore"))
        if luck.random() < 0.2 and "labelSelector" in made:
            made["matchLabelKeys"] = ["tier"]
        return made


def _make_equal(resources: dict[str, Manifest]) -> None:
    """Huge pages and devices are asked for by a limit, and requests are no other, as the API server
    demands."""
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for name in ("hugepages-2Mi", "example.com/gpu"):
        if name in requests:
            resources.setdefault("limits", limits)[name] = requests[name]
        elif name in limits and requests:
            requests[name] = limits[name]
