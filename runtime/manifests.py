"""From documents to what is submitted: units and rollingsets, every fault told by place and field.

Kubernetes workloads become units as their controllers would make pods of them; our own kinds
(`godel.dev/v1`) name the fields of the API. `docs/guides/manifests.md` is the reference. All
documents are read before the first is used, and one fault refuses them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from cell.release import RollingsetSpec
from cell.unit import KEY_BYTES_MAX, REPLICAS_MAX, GroupSpec, UnitSpec
from runtime.documents import Document
from runtime.fields import BadManifest, Fields, said_of, unimplemented
from runtime.own_kinds import API_VERSION, rollingset, unit
from runtime.pod_class import PRIORITIES, Cluster, PodNeeds, pod_needs
from runtime.pod_defaults import Requirements, owner_selector

GANG_KEY = "godel.dev/gang"
"""Annotation that makes one unit of a workload's pods: "true" for all of them at once, or the
number of pods without which nothing is placed."""
PODS_MAX = 100_000
"""Pods of one manifest."""
LISTS_DEPTH_MAX = 8
NOTHING_TO_PLACE = frozenset(
    (
        *("ClusterRole", "ClusterRoleBinding", "ConfigMap", "HorizontalPodAutoscaler", "Ingress"),
        *("Namespace", "NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding", "Secret"),
        *("Service", "ServiceAccount"),
    )
)
"""Kinds that stand beside workloads in many files and have no pods: left out with a warning."""


class Submission(msgspec.Struct):
    """What documents ask for, in their order; `places` tells where a unit's key stands."""

    units: list[UnitSpec] = []
    rollingsets: list[RollingsetSpec] = []
    warnings: list[str] = []
    places: dict[str, str] = {}


def submission(documents: Iterable[Document], namespace: str = "default") -> Submission:
    """All that the documents ask for. Raises BadManifest with file, document and field.

    `namespace` stands in where a Kubernetes manifest names none.
    """
    listed = flat(documents)
    return submission_in(cluster_of(listed, namespace), listed)


def submission_in(cluster: Cluster, listed: Iterable[tuple[str, Fields]]) -> Submission:
    """What objects ask for in a cluster. Raises BadManifest."""
    made = _Reader(cluster)
    for place, fields in listed:
        with said_of(place):
            made.read(place, fields)
    return made.submission


def cluster_of(listed: Iterable[tuple[str, Fields]], namespace: str = "default") -> Cluster:
    """What the objects say of priority classes and namespaces. Raises BadManifest."""
    priorities = dict(PRIORITIES)
    namespaces: dict[str, dict[str, str]] = {namespace: {}}
    for place, fields in listed:
        with said_of(place):
            metadata = fields.fields("metadata")
            if fields.text("kind") == "PriorityClass":
                _learn_priority(fields, priorities)
            if fields.text("kind") == "Namespace":
                namespaces[metadata.text("name")] = dict(metadata.pairs("labels"))
            elif metadata.text("namespace"):
                namespaces.setdefault(metadata.text("namespace"), {})
    return Cluster(priorities, namespaces, namespace=namespace)


def flat(documents: Iterable[Document]) -> list[tuple[str, Fields]]:
    """The objects of documents with their places; those of lists one by one. Raises BadManifest."""
    found: list[tuple[str, Fields]] = []
    for place, content in documents:
        with said_of(place):
            _flatten(place, Fields(content), found, LISTS_DEPTH_MAX)
    return found


def _flatten(place: str, fields: Fields, found: list[tuple[str, Fields]], depth: int) -> None:
    kind = fields.text("kind")
    if not kind or not fields.text("apiVersion"):
        missing = "apiVersion" if kind else "kind"
        raise BadManifest(fields.at(missing), "is needed")
    if not kind.endswith("List"):
        found.append((place, fields))
        return
    if not depth:
        raise BadManifest(fields.at("items"), "lists in lists in lists")
    for item in fields.each("items"):
        _flatten(place, item, found, depth - 1)


class _Reader:
    """Reads one object after another into a Submission."""

    def __init__(self, cluster: Cluster) -> None:
        self.submission = Submission()
        self._cluster = cluster
        self._kinds: dict[tuple[str, str], Callable[[str, Fields], None]] = {
            ("v1", "Pod"): self._pod,
            ("batch/v1", "Job"): self._job,
            ("apps/v1", "Deployment"): self._replicas,
            ("apps/v1", "ReplicaSet"): self._replicas,
            ("apps/v1", "StatefulSet"): self._stateful,
            ("scheduling.k8s.io/v1", "PriorityClass"): lambda place, fields: None,
            (API_VERSION, "Unit"): self._unit,
            (API_VERSION, "Rollingset"): self._rollingset,
        }

    def read(self, place: str, fields: Fields) -> None:
        """Read one object. Raises BadManifest."""
        kind = (fields.text("apiVersion"), fields.text("kind"))
        if kind in self._kinds:
            self._kinds[kind](place, fields)
        elif kind[1] in NOTHING_TO_PLACE:
            self._warn(place, f"{kind[1]}: nothing to place, left out")
        else:
            known = ", ".join(f"{version} {name}" for version, name in self._kinds)
            raise unimplemented(fields.at("kind"), f"{' '.join(kind)} is none of {known}")

    def _pod(self, place: str, fields: Fields) -> None:
        needs = self._needs(fields.values)
        self._add(place, fields, self._key(fields), _group(needs), needs.priority)

    def _replicas(self, place: str, fields: Fields) -> None:
        count = fields.fields("spec").integer("replicas", 1, 0, PODS_MAX)
        self._workload(place, fields, count)

    def _stateful(self, place: str, fields: Fields) -> None:
        spec = fields.fields("spec")
        if "volumeClaimTemplates" in spec:
            reason = "volumes that only some nodes can mount are not supported yet"
            raise unimplemented(spec.at("volumeClaimTemplates"), reason)
        count = spec.integer("replicas", 1, 0, PODS_MAX)
        start = spec.fields("ordinals").integer("start", 0, 0, (1 << 31) - 1)
        self._workload(place, fields, count, start)

    def _job(self, place: str, fields: Fields) -> None:
        """As many pods as the Job's controller would start first."""
        spec = fields.fields("spec")
        if "scheduling" in spec:
            reason = f"is not supported yet: use the annotation {GANG_KEY}"
            raise unimplemented(spec.at("scheduling"), reason)
        parallelism = spec.integer("parallelism", 1, 0, (1 << 31) - 1)
        completions = spec.integer("completions", parallelism, 0, (1 << 31) - 1)
        count = 0 if spec.flag("suspend") else min(parallelism, completions)
        if count < completions:
            left = completions - count
            self._warn(place, f"{spec.path}: nobody here starts the {left} pods that come later")
        self._workload(place, fields, count)

    def _workload(self, place: str, fields: Fields, count: int, start: int = 0) -> None:
        """`count` units of one replica, or with the gang annotation one unit of all."""
        spec = fields.fields("spec")
        if count > PODS_MAX:
            raise BadManifest(spec.path, f"asks for {count} pods, limit {PODS_MAX}")
        path = spec.at("template")
        owner = owner_selector(fields.text("kind"), spec)
        needs = self._needs(self._template(fields), path, owner)
        key = self._key(fields)
        minimum = _gang_minimum(fields, count)
        if not count:
            self._warn(place, f"{key}: asks for no pods")
        elif minimum is not None:
            self._add(place, fields, key, _group(needs, count, minimum), needs.priority)
        else:
            group = _group(needs)
            for ordinal in range(start, start + count):
                self._add(place, fields, f"{key}-{ordinal}", group, needs.priority)

    def _unit(self, place: str, fields: Fields) -> None:
        metadata = fields.fields("metadata")
        name = metadata.text("name")
        namespace = metadata.text("namespace")
        key = f"{namespace}/{name}" if namespace and name else name
        made = unit(key, fields.fields("spec"), self._cluster)
        self._put(place, fields, made)

    def _rollingset(self, place: str, fields: Fields) -> None:
        metadata = fields.fields("metadata")
        name = metadata.text("name")
        if not name:
            raise BadManifest(metadata.at("name"), "is needed")
        made = rollingset(name, fields.fields("spec"), self._cluster)
        self._once(place, metadata.at("name"), f"rollingset/{name}")
        self.submission.rollingsets.append(made)

    def _needs(self, pod: Any, path: str = "", owner: Requirements = ()) -> PodNeeds:
        return pod_needs(pod, path, cluster=self._cluster, owner=owner)

    def _template(self, fields: Fields) -> dict[str, Any]:
        """A workload's template with the namespace that its pods get."""
        template = fields.fields("spec").fields("template")
        metadata = template.fields("metadata").values
        namespace = fields.fields("metadata").text("namespace")
        return {**template.values, "metadata": {**metadata, "namespace": namespace}}

    def _key(self, fields: Fields) -> str:
        metadata = fields.fields("metadata")
        name = metadata.text("name")
        if not name:
            raise BadManifest(metadata.at("name"), "is needed: it makes the unit's key")
        return f"{metadata.text('namespace') or self._cluster.namespace}/{name}"

    def _add(self, place: str, fields: Fields, key: str, group: GroupSpec, priority: int) -> None:
        self._put(place, fields, UnitSpec(key, (group,), priority))

    def _put(self, place: str, fields: Fields, made: UnitSpec) -> None:
        field = fields.fields("metadata").at("name")
        if not made.key:
            raise BadManifest(field, "is needed: it is the unit's key")
        if len(made.key.encode()) > KEY_BYTES_MAX:
            reason = f"the key has {len(made.key.encode())} bytes, limit {KEY_BYTES_MAX}"
            raise BadManifest(field, reason)
        self._once(place, field, made.key)
        self.submission.units.append(made)

    def _once(self, place: str, field: str, key: str) -> None:
        """A key that stands twice would be one unit: which one, nobody could say."""
        if key in self.submission.places:
            raise BadManifest(field, f"{key} stands in {self.submission.places[key]} too")
        self.submission.places[key] = place

    def _warn(self, place: str, *texts: str) -> None:
        self.submission.warnings += [f"{place}: {text}" for text in texts]


def _group(needs: PodNeeds, count: int = 1, minimum: int = 1) -> GroupSpec:
    return GroupSpec(needs.klass, count=count, min=minimum, pin=needs.pin)


def _gang_minimum(fields: Fields, count: int) -> int | None:
    """How many pods of a workload are placed at once or not at all; None when each is alone."""
    annotations = fields.fields("metadata").fields("annotations")
    value = annotations.text(GANG_KEY)
    if value in ("", "false"):
        return None
    path = annotations.at(GANG_KEY)
    if count > REPLICAS_MAX:
        raise BadManifest(path, f"{count} pods in one gang, limit {REPLICAS_MAX}")
    if value == "true":
        return count
    if not (value.isascii() and value.isdecimal()) or not 1 <= int(value) <= max(count, 1):
        raise BadManifest(path, f'{value!r} is neither "true" nor a number from 1 to {count}')
    return int(value)


def _learn_priority(fields: Fields, priorities: dict[str, int]) -> None:
    """A PriorityClass among the files gives its name a value, or all pods that name none."""
    name = fields.fields("metadata").text("name")
    value = fields.integer("value", 0, -(1 << 31), (1 << 31) - 1)
    priorities[name] = value
    if fields.flag("globalDefault"):
        priorities[""] = value
