"""The one way from a Kubernetes pod to a class: `pod_needs`, pure, for the CLI and for the
Kubernetes home.

A field that says where a pod may run is honoured or refused as UNIMPLEMENTED by its path, never
ignored. Fields of no concern to scheduling are listed too, so that a misspelt field is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cell.between import Between
from cell.classes import ClassSpec, NodeWish, Toleration, normalise
from cell.requirements import BadSpec, Term
from cell.unit import PRIORITY_MAX
from runtime.fields import BadManifest, Fields, unimplemented
from runtime.pod_between import PREFERRED, REQUIRED, Namespaces, pod_between
from runtime.pod_defaults import Requirements, Selectors, default_spread
from runtime.pod_requests import Resizing, pod_amounts
from runtime.pod_volumes import PodVolumes, pod_volumes
from runtime.selectors import node_term
from runtime.storage import Storage

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


class Cluster(msgspec.Struct, frozen=True):
    """What the needs of a pod depend on beside the pod."""

    priorities: Mapping[str, int] = msgspec.field(default_factory=lambda: PRIORITIES)
    """Values of priority classes by name, "" for pods that name none."""
    namespaces: Namespaces = msgspec.field(default_factory=dict)
    """Those that selectors of namespaces may mean; none: they are not known."""
    is_live: bool = False
    """Whether it is followed, so that pods that wait are read again when it changes."""
    namespace: str = "default"
    """Stands in where a pod names none."""
    storage: Storage | None = None
    """Its claims and volumes; None: they are not known, and who needs a claim is refused."""
    selectors: Selectors | None = None
    """Who selects pods, where pods have kube-scheduler's default constraints."""


ANY_CLUSTER = Cluster()


class PodNeeds(msgspec.Struct, frozen=True):
    """What scheduling reads of a pod: its class, the only node allowed, and its priority."""

    klass: ClassSpec
    pin: str = ""
    priority: int = 0


def pod_needs(
    pod: Any,
    path: str = "",
    *,
    cluster: Cluster = ANY_CLUSTER,
    is_admitted: bool = False,
    owner: Requirements = (),
) -> PodNeeds:
    """What a pod, or pod template (metadata and spec), needs. Raises BadManifest.

    `path` is where it stands in its document, `owner` the selector of the workload that makes it.
    `is_admitted` says that an API server's admission has seen the pod and has resolved its runtime
    class.
    """
    whole = Fields(pod, path)
    metadata = whole.fields("metadata")
    spec = whole.fields("spec")
    _refuse(metadata, spec, is_admitted)
    affinity = spec.fields("affinity").fields("nodeAffinity")
    namespace = metadata.text("namespace") or cluster.namespace
    # What is up to others, such as a claim, was done when the pod got its node.
    is_held = is_admitted and bool(spec.text("nodeName"))
    volumes = pod_volumes(metadata, spec, namespace, cluster.storage, is_held=is_held)
    between = pod_between(
        metadata,
        spec,
        namespace,
        cluster.namespaces,
        is_held=False,
        is_live=cluster.is_live,
    )
    if cluster.selectors is not None and not between.spread:
        spread = default_spread(cluster.selectors, metadata, namespace, owner)
        between = msgspec.structs.replace(between, spread=spread)
    demand, unasked = pod_amounts(spec)
    klass = ClassSpec(
        demand=demand,
        selector=spec.pairs("nodeSelector"),
        affinity=node_affinity(affinity),
        tolerations=tuple(toleration(each) for each in spec.each("tolerations")),
        profile=_profile(metadata),
        wishes=tuple(_node_wish(each) for each in affinity.each(PREFERRED)),
        features=_features(spec),
        between=_with_volumes(between, volumes),
        places=tuple(volumes.places),
        unasked=unasked,
    )
    pin, priority = spec.text("nodeName"), _priority(spec, cluster.priorities)
    return PodNeeds(_canonical(klass, spec), pin, priority)


def held_class(pod: Any, cluster: Cluster = ANY_CLUSTER) -> ClassSpec:
    """The class of a pod that has its node: what it takes there, and what rules between pods read
    of it, as far as we understand it. Where else it might have gone does not matter. Raises
    BadManifest if it is not known what it takes."""
    whole = Fields(pod)
    metadata, spec = whole.fields("metadata"), whole.fields("spec")
    namespace = metadata.text("namespace") or cluster.namespace
    demand, unasked = pod_amounts(spec, Resizing(whole.fields("status")))
    taken = ClassSpec(demand=demand, unasked=unasked)
    try:
        volumes = pod_volumes(metadata, spec, namespace, cluster.storage, is_held=True)
        between = pod_between(
            metadata,
            spec,
            namespace,
            cluster.namespaces,
            is_held=True,
            is_live=cluster.is_live,
        )
        read = msgspec.structs.replace(taken, between=_with_volumes(between, volumes))
        return _canonical(read, spec)
    except BadManifest:
        return _canonical(taken, spec)


def _with_volumes(between: Between, volumes: PodVolumes) -> Between:
    claims, disks = tuple(volumes.claims), tuple(volumes.disks)
    return msgspec.structs.replace(between, claims=claims, disks=disks)


def node_affinity(affinity: Fields) -> tuple[Term, ...] | None:
    """The required terms; None when nothing is required. Raises BadManifest."""
    affinity.refuse_unknown((REQUIRED, PREFERRED))
    if affinity.raw(REQUIRED) is None:
        return None
    required = affinity.fields(REQUIRED)
    terms = required.each("nodeSelectorTerms")
    if not terms:
        raise BadManifest(required.at("nodeSelectorTerms"), "needs at least one term")
    return tuple(node_term(term) for term in terms)


def _node_wish(fields: Fields) -> NodeWish:
    return NodeWish(fields.integer("weight", 0, 1, 100), node_term(fields.fields("preference")))


def _features(spec: Fields) -> tuple[str, ...]:
    """What the node must declare, as component-helpers infers it for scheduling."""
    found = []
    containers = (*spec.each("containers"), *spec.each("initContainers"))
    rules = [rule for each in containers for rule in each.each("restartPolicyRules")]
    if any(rule.text("action") == "RestartAllContainers" for rule in rules):
        found.append("RestartAllContainersOnContainerExits")
    if spec.flag("hostNetwork") and spec.raw("hostUsers") is False:
        found.append("UserNamespacesHostNetworkSupport")
    return tuple(found)


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
    spec.fields("affinity").refuse_unknown(("nodeAffinity", "podAffinity", "podAntiAffinity"))
    _refuse_gangs(metadata, GANG_KEYS if is_admitted else (*GANG_KEYS, GROUP_KEY))


def _refuse_gangs(metadata: Fields, keys: tuple[str, ...]) -> None:
    for kind in ("annotations", "labels"):
        for key in keys:
            if key in metadata.fields(kind):
                reason = "pods are not gathered into gangs yet: see docs/guides/manifests.md"
                raise unimplemented(metadata.fields(kind).at(key), reason)


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
