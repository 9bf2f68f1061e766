"""From a pod to a class: what is honoured, and what is refused by its path."""

from dataclasses import dataclass
from typing import Any

import pytest

from cell.classes import Toleration
from cell.reasons import Status
from cell.requirements import Operator, Requirement, Term
from cell.unit import PRIORITY_MAX
from runtime.fields import BadManifest
from runtime.pod_class import GANG_KEYS, Cluster, PodNeeds, pod_needs

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
TERMS = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"


def a_pod(metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of one container that asks for nothing."""
    return {"metadata": metadata or {}, "spec": {"containers": [{"name": "a"}], **spec}}


def needing(*terms: dict[str, Any]) -> dict[str, Any]:
    """An affinity that requires one of the terms."""
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    """A term of one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def test_everything_that_is_honoured_becomes_the_class() -> None:
    needs = pod_needs(
        a_pod(
            {"annotations": {"godel.dev/profile": "most"}, "creationTimestamp": None},
            containers=[{"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}],
            nodeSelector={"zone": "b", "disk": "ssd"},
            affinity=needing(
                expression("gpu", "In", "a", "b"),
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
            ),
            tolerations=[
                {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "spot", "value": "yes", "tolerationSeconds": 30},
            ],
            nodeName="n1",
            priority=7,
            schedulerName="godel-scheduler",
            restartPolicy="Always",
            volumes=[{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}],
        )
    )
    assert needs.klass.demand == (("cpu", 500), ("memory", 1 << 30))
    assert needs.klass.selector == (("disk", "ssd"), ("zone", "b"))
    assert needs.klass.affinity == (
        Term(fields=(Requirement("metadata.name", Operator.IN, ("n1",)),)),
        Term(labels=(Requirement("gpu", Operator.IN, ("a", "b")),)),
    )
    assert needs.klass.tolerations == (
        Toleration("gpu", "Exists", "", "NoSchedule"),
        Toleration("spot", "Equal", "yes", ""),
    )
    assert needs.klass.profile == "most"
    assert (needs.pin, needs.priority) == ("n1", 7)


def test_a_bare_pod_needs_nothing() -> None:
    needs = pod_needs(a_pod())
    assert needs == PodNeeds(needs.klass)
    assert needs.klass.affinity is None
    assert needs.klass.profile == "default"


def test_what_does_not_matter_to_scheduling_makes_no_other_class() -> None:
    plain = pod_needs(a_pod())
    other = pod_needs(
        a_pod(
            {"name": "b"},
            containers=[{"name": "b", "image": "i", "ports": [{"containerPort": 80}]}],
            affinity={"podAffinity": {REQUIRED: []}, "nodeAffinity": None},
            serviceAccountName="s",
            schedulingGates=[],
            resourceClaims=None,
            topologySpreadConstraints=[],
            tolerations=[],
        )
    )
    assert plain == other


def test_every_operator_is_read() -> None:
    terms = [
        expression("a", "In", "1"),
        expression("a", "NotIn", "1"),
        expression("a", "Exists"),
        expression("a", "DoesNotExist"),
        expression("a", "Gt", "5"),
        expression("a", "Lt", "5"),
    ]
    klass = pod_needs(a_pod(affinity=needing(*terms))).klass
    assert klass.affinity is not None
    assert {term.labels[0].operator for term in klass.affinity} == set(Operator)


def test_an_empty_term_stays_one_because_it_matches_nothing() -> None:
    assert pod_needs(a_pod(affinity=needing({}))).klass.affinity == (Term(),)


@dataclass(frozen=True)
class Ranked:
    name: str
    spec: dict[str, Any]
    want: int


RANKED = [
    Ranked("no priority", {}, 0),
    Ranked("a number", {"priority": -5}, -5),
    Ranked("a number goes before a name", {"priority": 5, "priorityClassName": "high"}, 5),
    Ranked("a name among the files", {"priorityClassName": "high"}, 900),
    Ranked("a critical class", {"priorityClassName": "system-node-critical"}, PRIORITY_MAX),
    Ranked("its number, beyond our bound", {"priority": 2_000_001_000}, PRIORITY_MAX),
    Ranked("the lowest number", {"priority": -(1 << 31)}, -PRIORITY_MAX),
]


@pytest.mark.parametrize("case", RANKED, ids=lambda case: case.name)
def test_priority(case: Ranked) -> None:
    known = {"high": 900, "system-node-critical": 2_000_001_000}
    assert pod_needs(a_pod(**case.spec), cluster=Cluster(known)).priority == case.want


def test_the_profile_of_a_label_counts_where_no_annotation_names_one() -> None:
    key = "godel.dev/profile"
    assert pod_needs(a_pod({"labels": {key: "least"}})).klass.profile == "least"
    both = {"labels": {key: "least"}, "annotations": {key: "most"}}
    assert pod_needs(a_pod(both)).klass.profile == "most"


@dataclass(frozen=True)
class Refused:
    name: str
    pod: dict[str, Any]
    want_field: str
    want_status: Status = Status.UNIMPLEMENTED


REFUSED = [
    Refused(
        "resource claims",
        a_pod(resourceClaims=[{"name": "gpu"}]),
        "spec.resourceClaims",
    ),
    Refused("gates", a_pod(schedulingGates=[{"name": "g"}]), "spec.schedulingGates"),
    Refused(
        "a scheduling group", a_pod(schedulingGroup={"podGroupName": "g"}), "spec.schedulingGroup"
    ),
    Refused("a workload", a_pod(workloadRef={"name": "w"}), "spec.workloadRef"),
    Refused("a runtime class", a_pod(runtimeClassName="gvisor"), "spec.runtimeClassName"),
    Refused("an unknown class", a_pod(priorityClassName="high"), "spec.priorityClassName"),
    Refused(
        "a toleration by comparison",
        a_pod(tolerations=[{"key": "sla", "operator": "Gt", "value": "5"}]),
        "spec.tolerations[0].operator",
    ),
    *(
        Refused(
            f"a volume by {name}",
            a_pod(volumes=[{"name": "v", name: {}}]),
            f"spec.volumes[0].{name}",
        )
        for name in ("persistentVolumeClaim", "ephemeral")
    ),
    *(
        Refused(
            f"the gang {key}", a_pod({"annotations": {key: "g"}}), f"metadata.annotations[{key}]"
        )
        for key in GANG_KEYS[:-2]
    ),
    Refused(
        "the gang of a label",
        a_pod({"labels": {"scheduling.x-k8s.io/pod-group": "g"}}),
        "metadata.labels[scheduling.x-k8s.io/pod-group]",
    ),
    Refused(
        "an unknown field",
        a_pod(nodeSelecter={"a": "b"}),
        "spec.nodeSelecter",
        Status.INVALID_ARGUMENT,
    ),
    Refused(
        "an unknown affinity",
        a_pod(affinity={"nodeAfinity": {"a": 1}}),
        "spec.affinity.nodeAfinity",
        Status.INVALID_ARGUMENT,
    ),
    Refused("no containers", {"spec": {}}, "spec.containers", Status.INVALID_ARGUMENT),
    Refused("no spec", {"metadata": {}}, "spec.containers", Status.INVALID_ARGUMENT),
    Refused("no term", a_pod(affinity=needing()), TERMS, Status.INVALID_ARGUMENT),
    Refused(
        "no such operator",
        a_pod(affinity=needing(expression("a", "in", "b"))),
        f"{TERMS}[0].matchExpressions[0].operator",
        Status.INVALID_ARGUMENT,
    ),
    Refused(
        "Exists with a value",
        a_pod(affinity=needing(expression("a", "In", "b"), expression("a", "Exists", "b"))),
        f"{TERMS}[1].matchExpressions[0].values",
        Status.INVALID_ARGUMENT,
    ),
    Refused(
        "a field that is no field",
        a_pod(
            affinity=needing(
                {"matchFields": [{"key": "spec.x", "operator": "In", "values": ["a"]}]}
            )
        ),
        f"{TERMS}[0].matchFields[0].key",
        Status.INVALID_ARGUMENT,
    ),
    Refused(
        "a number for a label",
        a_pod(nodeSelector={"cores": 8}),
        "spec.nodeSelector.cores",
        Status.INVALID_ARGUMENT,
    ),
    Refused(
        "an absurd label",
        a_pod(nodeSelector={"a" * 400: "b"}),
        f"spec.nodeSelector[{'a' * 400}]",
        Status.INVALID_ARGUMENT,
    ),
    Refused(
        "Exists with a toleration's value",
        a_pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        "spec.tolerations[0].value",
        Status.INVALID_ARGUMENT,
    ),
    Refused(
        "a request beyond all nodes",
        a_pod(containers=[{"resources": {"requests": {"memory": "8Pi"}}}]),
        "spec.containers[*].resources.requests[memory]",
        Status.INVALID_ARGUMENT,
    ),
    Refused("a pod that is text", a_pod() | {"spec": "x"}, "spec", Status.INVALID_ARGUMENT),
    Refused(
        "a priority that is text", a_pod(priority="5"), "spec.priority", Status.INVALID_ARGUMENT
    ),
    Refused(
        "a flag that is text", a_pod(hostNetwork="yes"), "spec.hostNetwork", Status.INVALID_ARGUMENT
    ),
    Refused(
        "half a surrogate pair", a_pod(nodeName="\ud800"), "spec.nodeName", Status.INVALID_ARGUMENT
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_honoured_is_refused_by_its_path(case: Refused) -> None:
    with pytest.raises(BadManifest) as caught:
        pod_needs(case.pod)
    assert (caught.value.field, caught.value.status) == (case.want_field, case.want_status)


def test_paths_begin_where_the_template_stands() -> None:
    with pytest.raises(BadManifest) as caught:
        pod_needs(a_pod(schedulingGates=[{"name": "g"}]), "spec.template")
    assert caught.value.field == "spec.template.spec.schedulingGates"


def test_a_runtime_class_that_admission_has_resolved_is_accepted() -> None:
    pod = a_pod(runtimeClassName="kata", overhead={"cpu": "250m"})
    assert pod_needs(pod, is_admitted=True).klass.demand == (("cpu", 250),)


def test_a_misspelt_field_is_told_what_it_may_mean() -> None:
    with pytest.raises(
        BadManifest, match=r"spec\.nodeSelecter: no such field; is nodeSelector meant"
    ):
        pod_needs(a_pod(nodeSelecter={"a": "b"}))
    with pytest.raises(BadManifest, match=r"known are containers, .*\.\.\.$"):
        pod_needs(a_pod(xyz=1))


@dataclass(frozen=True)
class Unasked:
    want: dict[str, int]
    spec: dict[str, Any]


def _asking(**requests: str) -> dict[str, Any]:
    return {"name": "a", "resources": {"requests": requests}}


UNASKED = {
    "one container": Unasked({"cpu": 100, "memory": 200 << 20}, {}),
    "two containers": Unasked(
        {"cpu": 200, "memory": 400 << 20}, {"containers": [{"name": "a"}, {"name": "b"}]}
    ),
    "one of two asks": Unasked(
        {"cpu": 100, "memory": 200 << 20},
        {"containers": [_asking(cpu="1", memory="1Gi"), {"name": "b"}]},
    ),
    "asks for all": Unasked({}, {"containers": [_asking(cpu="1m", memory="1")]}),
    "asks for nothing by name": Unasked({}, {"containers": [_asking(cpu="0", memory="0")]}),
    "the pod asks": Unasked(
        {"memory": 200 << 20}, {"resources": {"requests": {"cpu": "1"}}}
    ),
    "an init container that asks for more": Unasked(
        {"memory": 200 << 20}, {"initContainers": [_asking(cpu="1")]}
    ),
    "a sidecar": Unasked(
        {"cpu": 200, "memory": 400 << 20},
        {"initContainers": [{"name": "s", "restartPolicy": "Always"}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNASKED.values(), ids=UNASKED)
def test_what_containers_do_not_ask_for_is_counted_by_scores(case: Unasked) -> None:
    assert dict(pod_needs(a_pod(**case.spec)).klass.unasked) == case.want
