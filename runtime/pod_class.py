"""The one way from a Kubernetes pod to a class: `pod_needs`, pure, for the CLI and for the
Kubernetes home.

A field that says where a pod may run is honoured or refused as UNIMPLEMENTED by its path, never
ignored; a wish (preferred affinity, ScheduleAnyway) may be ignored, with a warning. Fields of no
concern to scheduling are listed too, so that a misspelt field is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cell.classes import ClassSpec, Toleration, normalise
from cell.requirements import BadSpec, Operator, Requirement, Term
from cell.unit import PRIORITY_MAX
from runtime.fields import BadManifest, Fields, unimplemented
from runtime.pod_requests import is_restartable, pod_requests

PROFILE_KEY = "godel.dev/profile"
"""Annotation, or else label, that names the scheduler profile."""

PRIORITIES: Mapping[str, int] = {
    "system-cluster-critical": PRIORITY_MAX,
    "system-node-critical": PRIORITY_MAX,
}
"""Priority classes that every cluster has. Their own values are beyond our bound, so they rank as
the highest priority there is."""

HONOURED = (
    *("containers", "initContainers", "resources", "overhead", "nodeSelector", "affinity"),
    *("tolerations", "nodeName", "priority", "priorityClassName", "runtimeClassName"),
    *("volumes", "hostNetwork", "topologySpreadConstraints", "schedulingGates"),
    *("resourceClaims", "schedulingGroup", "workloadRef"),
)
UNCONCERNED = (
    *("activeDeadlineSeconds", "automountServiceAccountToken", "dnsConfig", "dnsPolicy"),
    *("enableServiceLinks", "ephemeralContainers", "hostAliases", "hostIPC", "hostPID"),
    *("hostUsers", "hostname", "hostnameOverride", "imagePullSecrets", "os"),
    *("preemptionPolicy", "readinessGates", "restartPolicy", "schedulerName"),
    *("securityContext", "serviceAccount", "serviceAccountName", "setHostnameAsFQDN"),
    *("shareProcessNamespace", "subdomain", "terminationGracePeriodSeconds"),
)
"""Fields of a pod spec that do not say where it may run."""

REFUSED = {
    "schedulingGates": "gates are not supported: submit the pod when it may be scheduled",
    "resourceClaims": "dynamic resource allocation is not supported yet",
    "schedulingGroup": "groups of pods are not gathered yet",
    "workloadRef": "groups of pods are not gathered yet",
}
NODE_BOUND_VOLUMES = (
    *("persistentVolumeClaim", "ephemeral", "awsElasticBlockStore", "azureDisk", "cinder"),
    *("gcePersistentDisk", "iscsi", "rbd"),
)
"""Volumes that some nodes cannot mount, or not twice."""

GROUP_KEY = "godel.bytedance.com/pod-group-name"
"""Annotation, or label, by which a pod in an API server names its PodGroup."""
GANG_KEYS = (
    *("scheduling.x-k8s.io/pod-group", "pod-group.scheduling.sigs.k8s.io"),
    "scheduling.k8s.io/group-name",
    *("scheduling.volcano.sh/group-name", "kueue.x-k8s.io/pod-group-name", "pod-group-name"),
    "yunikorn.apache.org/task-group-name",
)
"""Annotations and labels by which others put a pod into a gang of separate pods."""

_TERMS = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
_NAMES_IN_PODS = {
    "selector": "nodeSelector",
    "affinity": _TERMS,
    ".labels[": ".matchExpressions[",
    ".fields[": ".matchFields[",
    "demand": "containers[*].resources.requests",
}


class PodNeeds(msgspec.Struct, frozen=True):
    """What scheduling reads of a pod: its class, the only node allowed, its priority, and what was
    ignored because it is only a wish."""

    klass: ClassSpec
    pin: str = ""
    priority: int = 0
    warnings: tuple[str, ...] = ()


def pod_needs(
    pod: Any,
    path: str = "",
    *,
    priorities: Mapping[str, int] = PRIORITIES,
    is_admitted: bool = False,
) -> PodNeeds:
    """What a pod, or pod template (metadata and spec), needs. Raises BadManifest.

    `path` is where it stands in its document, `priorities` the values of priority classes by name,
    "" for pods that name none. `is_admitted` says that an API server's admission has seen the pod
    and has resolved its runtime class.
    """
    whole = Fields(pod, path)
    metadata = whole.fields("metadata")
    spec = whole.fields("spec")
    _refuse(metadata, spec, is_admitted)
    affinity = spec.fields("affinity")
    klass = ClassSpec(
        demand=pod_requests(spec),
        selector=spec.pairs("nodeSelector"),
        affinity=node_affinity(affinity.fields("nodeAffinity")),
        tolerations=tuple(toleration(each) for each in spec.each("tolerations")),
        profile=_profile(metadata),
    )
    return PodNeeds(
        klass=_canonical(klass, spec),
        pin=spec.text("nodeName"),
        priority=_priority(spec, priorities),
        warnings=_wishes(spec, affinity),
    )


def node_affinity(affinity: Fields) -> tuple[Term, ...] | None:
    """The required terms; None when nothing is required. Raises BadManifest."""
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    if affinity.raw(key) is None:
        return None
    required = affinity.fields(key)
    terms = required.each("nodeSelectorTerms")
    if not terms:
        raise BadManifest(required.at("nodeSelectorTerms"), "needs at least one term")
    return tuple(
        Term(
            labels=tuple(requirement(each) for each in term.each("matchExpressions")),
            fields=tuple(requirement(each) for each in term.each("matchFields")),
        )
        for term in terms
    )


def requirement(fields: Fields) -> Requirement:
    """One requirement on a label or field. Raises BadManifest."""
    name = fields.text("operator")
    try:
        operator = Operator(name)
    except ValueError:
        known = ", ".join(Operator)
        raise BadManifest(fields.at("operator"), f"{name!r} is none of {known}") from None
    return Requirement(fields.text("key"), operator, fields.texts("values"))


def toleration(fields: Fields) -> Toleration:
    """A toleration; how long it lasts (tolerationSeconds) is for eviction, not for scheduling."""
    operator = fields.text("operator") or "Equal"
    if operator in ("Lt", "Gt"):
        raise unimplemented(fields.at("operator"), f"{operator} is not supported yet")
    return Toleration(
        key=fields.text("key"),
        operator=operator,
        value=fields.text("value"),
        effect=fields.text("effect"),
    )


def bounded(priority: int) -> int:
    """A Kubernetes priority within our bounds: what is beyond ranks as the bound."""
    return max(-PRIORITY_MAX, min(PRIORITY_MAX, priority))


def _refuse(metadata: Fields, spec: Fields, is_admitted: bool) -> None:
    """Refuse what we would have to ignore."""
    spec.refuse_unknown((*HONOURED, *UNCONCERNED))
    if "containers" not in spec:
        raise BadManifest(spec.at("containers"), "needs at least one container")
    for name, reason in REFUSED.items():
        if name in spec:
            raise unimplemented(spec.at(name), reason)
    if "runtimeClassName" in spec and not is_admitted:
        reason = "runtime classes are not known here: give overhead, nodeSelector and tolerations"
        raise unimplemented(spec.at("runtimeClassName"), reason)
    affinity = spec.fields("affinity")
    affinity.refuse_unknown(("nodeAffinity", "podAffinity", "podAntiAffinity"))
    for name in ("podAffinity", "podAntiAffinity"):
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        if required in affinity.fields(name):
            path = affinity.fields(name).at(required)
            raise unimplemented(path, "affinity between pods is not supported yet")
    for each in spec.each("topologySpreadConstraints"):
        if each.text("whenUnsatisfiable", "DoNotSchedule") != "ScheduleAnyway":
            raise unimplemented(each.path, "topology spread is not supported yet")
    for volume in spec.each("volumes"):
        for name in NODE_BOUND_VOLUMES:
            if volume.raw(name) is not None:
                reason = "volumes that only some nodes can mount are not supported yet"
                raise unimplemented(volume.at(name), reason)
    _refuse_host_ports(spec)
    _refuse_gangs(metadata, GANG_KEYS if is_admitted else (*GANG_KEYS, GROUP_KEY))


def _refuse_host_ports(spec: Fields) -> None:
    is_host_network = spec.flag("hostNetwork")
    sidecars = [each for each in spec.each("initContainers") if is_restartable(each)]
    for container in (*spec.each("containers"), *sidecars):
        for port in container.each("ports"):
            if port.raw("hostPort") or (is_host_network and port.raw("containerPort")):
                key = "hostPort" if port.raw("hostPort") else "containerPort"
                raise unimplemented(port.at(key), "ports of the host are not supported yet")


def _refuse_gangs(metadata: Fields, keys: tuple[str, ...]) -> None:
    for kind in ("annotations", "labels"):
        for key in keys:
            if key in metadata.fields(kind):
                reason = "pods are not gathered into gangs yet: see docs/guides/manifests.md"
                raise unimplemented(metadata.fields(kind).at(key), reason)


def _wishes(spec: Fields, affinity: Fields) -> tuple[str, ...]:
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    ignored = [
        affinity.fields(name).at(preferred)
        for name in ("nodeAffinity", "podAffinity", "podAntiAffinity")
        if preferred in affinity.fields(name)
    ]
    ignored += [each.path for each in spec.each("topologySpreadConstraints")]
    return tuple(f"{path}: a wish, ignored" for path in ignored)


def _profile(metadata: Fields) -> str:
    for kind in ("annotations", "labels"):
        profile = metadata.fields(kind).text(PROFILE_KEY)
        if profile:
            return profile
    return "default"


def _priority(spec: Fields, priorities: Mapping[str, int]) -> int:
    if spec.raw("priority") is not None:
        return bounded(spec.integer("priority", 0, -(1 << 31), (1 << 31) - 1))
    name = spec.text("priorityClassName")
    if not name:
        return bounded(priorities.get("", 0))
    if name not in priorities:
        reason = f"no PriorityClass {name!r} here: give it among the files, or give priority"
        raise unimplemented(spec.at("priorityClassName"), reason)
    return bounded(priorities[name])


def _canonical(klass: ClassSpec, spec: Fields) -> ClassSpec:
    """The canonical class; a fault is said in the pod's own field names."""
    try:
        return normalise(klass)
    except BadSpec as error:
        field = error.field
        for ours, theirs in _NAMES_IN_PODS.items():
            if field.startswith(ours) or ours.startswith("."):
                field = field.replace(ours, theirs, 1)
        raise BadManifest(f"{spec.path}.{field}", error.reason) from None
