"""From a pod to what it says of other pods, and there and back on the wire."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cell.between import Between, Claim, Disk, HostPort, PodTerm, PodWish, Spread, normalise_between
from cell.classes import ClassSpec, NodeWish, normalise
from cell.requirements import Operator, Requirement, Term
from runtime.class_message import class_message
from runtime.fields import BadManifest
from runtime.pod_class import Cluster, held_class, pod_needs
from runtime.wire_classes import class_spec

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
APP = Requirement("app", Operator.IN, ("a",))
CLUSTER = Cluster(namespaces={"red": {"team": "x"}, "blue": {"team": "y"}})


def a_pod(**spec: Any) -> dict[str, Any]:
    metadata = {"namespace": "red", "labels": {"app": "a", "job-name": "j"}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c"}], **spec}}


def between(**spec: Any) -> Between:
    made = pod_needs(a_pod(**spec), cluster=CLUSTER).klass.between
    assert made is not None
    return made


def a_term(**fields: Any) -> dict[str, Any]:
    return {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}, **fields}


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, ("red",)),
        ({"namespaces": ["blue"]}, ("blue",)),
        ({"namespaceSelector": {}}, None),
        ({"namespaceSelector": {"matchLabels": {"team": "y"}}}, ("blue",)),
        ({"namespaceSelector": {"matchLabels": {"team": "z"}}}, ()),
        (
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "blue"}}},
            ("blue",),
        ),
    ],
)
def test_namespaces_that_a_term_means(fields: dict[str, Any], want: tuple[str, ...] | None) -> None:
    affinity = {"podAffinity": {REQUIRED: [a_term(**fields)]}}
    assert between(affinity=affinity).affinity == (PodTerm("zone", (APP,), want),)


def test_label_keys_are_made_requirements() -> None:
    term = a_term(matchLabelKeys=["app", "absent"], mismatchLabelKeys=["job-name"])
    (found,) = between(affinity={"podAntiAffinity": {REQUIRED: [term]}}).anti_affinity
    assert found.selector == (APP, Requirement("job-name", Operator.NOT_IN, ("j",)))


def test_wishes_for_and_against_add_up() -> None:
    wish = {"weight": 5, "podAffinityTerm": a_term()}
    against = {"weight": 3, "podAffinityTerm": a_term()}
    affinity = {"podAffinity": {PREFERRED: [wish]}, "podAntiAffinity": {PREFERRED: [against]}}
    made = between(affinity=affinity)
    assert sum(wish.weight for wish in made.wishes) == 2
    assert {wish.term for wish in made.wishes} == {PodTerm("zone", (APP,), ("red",))}


def test_wishes_beyond_what_one_may_weigh_are_canonical_too() -> None:
    term = PodTerm("zone", (APP,), ("red",))
    made = normalise_between(Between("red", wishes=(PodWish(100, term), PodWish(100, term))))
    assert made is not None
    assert len(made.wishes) == 2
    assert normalise_between(made) == made


def test_spread() -> None:
    constraint = a_term(maxSkew=2, whenUnsatisfiable="ScheduleAnyway", nodeTaintsPolicy="Honor")
    assert between(topologySpreadConstraints=[constraint]).spread == (
        Spread("zone", 2, (APP,), is_required=False, are_taints_honoured=True),
    )


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ({"containers": [{"ports": [{"containerPort": 80}]}]}, ()),
        ({"containers": [{"ports": [{"containerPort": 80, "hostPort": 81}]}]}, (HostPort(81),)),
        (
            {"containers": [{"ports": [{"containerPort": 80}]}], "hostNetwork": True},
            (HostPort(80),),
        ),
        ({"initContainers": [{"ports": [{"hostPort": 80}]}]}, ()),
        (
            {"initContainers": [{"restartPolicy": "Always", "ports": [{"hostPort": 80}]}]},
            (HostPort(80),),
        ),
        (
            {"containers": [{"ports": [{"hostPort": 5, "hostIP": "10.0.0.1", "protocol": "UDP"}]}]},
            (HostPort(5, "UDP", "10.0.0.1"),),
        ),
    ],
)
def test_ports_of_the_host(spec: dict[str, Any], want: tuple[HostPort, ...]) -> None:
    assert between(**spec).ports == want


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ({"affinity": {"podAffinity": {REQUIRED: [{}]}}}, "spec.podAffinity[0].topologyKey"),
        (
            {"affinity": {"podAffinity": {"required": []}}},
            "spec.affinity.podAffinity.required",
        ),
        (
            {"topologySpreadConstraints": [a_term(maxSkew=0)]},
            "spec.topologySpreadConstraints[0].maxSkew",
        ),
        (
            {"topologySpreadConstraints": [a_term(maxSkew=1, whenUnsatisfiable="Never")]},
            "spec.topologySpreadConstraints[0].whenUnsatisfiable",
        ),
        (
            {"containers": [{"ports": [{"hostPort": 70_000}]}]},
            "spec.containers[0].ports[0].hostPort",
        ),
        ({"containers": [{"ports": [{"hostPort": 7, "protocol": "X"}]}]}, "spec.ports[0].protocol"),
    ],
)
def test_what_says_nothing_is_refused_by_its_path(spec: dict[str, Any], want: str) -> None:
    with pytest.raises(BadManifest) as refused:
        between(**spec)
    assert refused.value.field == want


def test_without_namespaces_their_selectors_are_refused_for_those_that_wait() -> None:
    live = Cluster(is_live=True)
    term = a_term(namespaceSelector={"matchLabels": {"team": "x"}})
    pod = a_pod(affinity={"podAntiAffinity": {REQUIRED: [term]}})
    with pytest.raises(BadManifest, match="labels of namespaces are not known here"):
        pod_needs(pod, cluster=live)
    held = held_class(pod, live).between
    assert held is not None
    assert held.anti_affinity == (PodTerm("zone", (APP,), None),)
    assert held.labels == (("app", "a"),), "a label that each pod has anew is left out"
    known = msgspec.structs.replace(live, namespaces={"red": {"team": "x"}, "blue": {}})
    waiting = pod_needs(pod, cluster=known).klass.between
    assert waiting is not None
    assert waiting.anti_affinity == (PodTerm("zone", (APP,), ("red",)),)
    reading = a_term(labelSelector={"matchLabels": {"job-name": "j"}})
    with pytest.raises(BadManifest, match="labels that each pod has anew"):
        pod_needs(a_pod(affinity={"podAffinity": {REQUIRED: [reading]}}), cluster=live)


def test_a_class_is_the_same_there_and_back() -> None:
    term = PodTerm("zone", (APP,), None)
    spec = normalise(
        ClassSpec(
            wishes=(NodeWish(3, Term((APP,))),),
            features=("F",),
            between=Between(
                "red",
                (("app", "a"),),
                (term,),
                (PodTerm("zone", None, ("red",)), PodTerm("zone", (), ("red",))),
                (PodWish(-4, term),),
                (Spread("zone", 1, (), is_affinity_honoured=False),),
                (HostPort(80),),
                (Claim("driver", "red/c", is_alone=True), Claim("", "red/d")),
                (Disk("rbd", "pool/image", ("a", "b"), is_read_only=True),),
            ),
            places=((Term((APP,)),), ()),
        )
    )
    assert class_spec(class_message(spec)) == spec
