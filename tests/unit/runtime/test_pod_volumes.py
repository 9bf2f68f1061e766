"""Where a pod's volumes let it be: terms out of claims, volumes and their classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from cell.between import Claim, Disk
from cell.reasons import Status
from cell.requirements import Operator, Requirement, Term
from runtime.fields import BadManifest, Fields
from runtime.pod_class import Cluster, held_class, pod_needs
from runtime.pod_volumes import unbound_claims
from runtime.storage import Storage

BOUND = {"pv.kubernetes.io/bind-completed": "yes"}
DRIVER = "csi.example.com"


def in_zone(*zones: str) -> Term:
    return Term((Requirement("zone", Operator.IN, zones),))


def reaching(*zones: str) -> dict[str, Any]:
    """The node affinity of a volume."""
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": list(zones)}]}
    return {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}


def a_volume(name: str, *, phase: str = "Available", size: str = "1Gi", **spec: Any) -> Any:
    whole = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], **spec}
    whole.setdefault("storageClassName", "late")
    status = {"phase": phase}
    return {
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": whole,
        "status": status,
    }


def a_claim(
    name: str, annotations: dict[str, str] | None = None, mode: str = "ReadWriteOnce", **spec: Any
) -> Any:
    requests = {"requests": {"storage": "1Gi"}}
    whole = {"accessModes": [mode], "storageClassName": "late", "resources": requests, **spec}
    metadata = {"name": name, "uid": f"uid-{name}", "annotations": annotations}
    return {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": whole}


def a_class(provisioner: str = "kubernetes.io/no-provisioner", **rest: Any) -> Any:
    mode = {"volumeBindingMode": "WaitForFirstConsumer"}
    return {
        "kind": "StorageClass",
        "metadata": {"name": "late"},
        "provisioner": provisioner,
        **mode,
        **rest,
    }


def a_capacity(size: str, zone: str) -> Any:
    return {
        "kind": "CSIStorageCapacity",
        "metadata": {"name": f"{zone}-{size}"},
        "storageClassName": "late",
        "capacity": size,
        "nodeTopology": {"matchLabels": {"zone": zone}},
    }


def a_pod(*claims: str, **volume: Any) -> dict[str, Any]:
    volumes = [
        {"name": f"v{i}", "persistentVolumeClaim": {"claimName": name}}
        for i, name in enumerate(claims)
    ]
    if volume:
        volumes.append({"name": "own", **volume})
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], "volumes": volumes}}


def storage_of(*objects: Any) -> Storage:
    storage = Storage({"n1": {"zone": "a"}, "n2": {"zone": "b"}, "n3": {"zone": "c"}})
    for each in objects:
        assert storage.put(Fields(each))
    return storage


COUNTED = {"kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {"storageCapacity": True}}
TWO = (a_volume("v1", **reaching("a")), a_volume("v2", size="2Gi", **reaching("a", "b")))


@dataclass(frozen=True)
class Case:
    name: str
    objects: tuple[Any, ...]
    pod: Any
    want: tuple[tuple[Term, ...], ...] = field(default=())


CASES = [
    Case("a pod without claims may be everywhere", (), a_pod()),
    Case(
        "a bound volume is where its affinity says",
        (a_claim("c", BOUND, volumeName="v"), a_volume("v", phase="Bound", **reaching("a"))),
        a_pod("c"),
        ((in_zone("a"),),),
    ),
    Case(
        "what is chosen with the node is where one of the volumes is",
        (a_class(), a_claim("c"), *TWO),
        a_pod("c"),
        ((in_zone("a", "b"),),),
    ),
    Case(
        "without a volume, and none that can be made, there is no place",
        (a_class(), a_claim("c")),
        a_pod("c"),
        ((),),
    ),
    Case(
        "too small a volume, or one that is another's, is none",
        (
            a_class(),
            a_claim("c"),
            a_volume("v1", size="1Mi"),
            a_volume("v2", claimRef={"namespace": "default", "name": "d"}),
            a_volume("v3", phase="Released"),
        ),
        a_pod("c"),
        ((),),
    ),
    Case("what can be made can be made everywhere", (a_class(DRIVER), a_claim("c")), a_pod("c")),
    Case(
        "or where its class allows it",
        (
            a_class(
                DRIVER,
                allowedTopologies=[
                    {"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}
                ],
            ),
            a_claim("c"),
        ),
        a_pod("c"),
        ((in_zone("a", "b"),),),
    ),
    Case(
        "and where there is capacity left",
        (a_class(DRIVER), a_claim("c"), COUNTED, a_capacity("2Gi", "a"), a_capacity("1Mi", "b")),
        a_pod("c"),
        ((in_zone("a"),),),
    ),
    Case(
        "a claim whose node is selected goes there",
        (a_class(DRIVER), a_claim("c", {"volume.kubernetes.io/selected-node": "n2"})),
        a_pod("c"),
        ((Term(fields=(Requirement("metadata.name", Operator.IN, ("n2",)),)),),),
    ),
    Case(
        "two claims that could get the same volumes are tried on each node",
        (a_class(), a_claim("c"), a_claim("d"), *TWO),
        a_pod("c", "d"),
        ((Term(fields=(Requirement("metadata.name", Operator.IN, ("n1",)),)),),),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_places(case: Case) -> None:
    cluster = Cluster(storage=storage_of(*case.objects))
    assert pod_needs(case.pod, cluster=cluster).klass.places == case.want


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        ((), "there is no claim default/c"),
        ((a_claim("c"),), "not bound to a volume yet"),
        ((a_class(), a_claim("c", volumeName="v")), "not bound to a volume yet"),
        ((a_claim("c", BOUND, volumeName="v"),), "there is no volume v"),
        (({**a_claim("c"), "status": {"phase": "Lost"}},), "is lost"),
    ],
)
def test_what_waits_for_others_is_refused_by_name(objects: tuple[Any, ...], why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        pod_needs(a_pod("c"), cluster=Cluster(storage=storage_of(*objects)))


def test_where_claims_are_not_known_they_are_refused() -> None:
    with pytest.raises(BadManifest) as caught:
        pod_needs(a_pod("c"))
    assert caught.value.status is Status.UNIMPLEMENTED


def test_a_taken_volume_is_no_candidate_for_others() -> None:
    storage = storage_of(a_class(), a_claim("c"), a_claim("d"), *TWO)
    first = pod_needs(a_pod("c"), cluster=Cluster(storage=storage)).klass
    assert first.between is not None
    storage.take(unbound_claims(storage, first.between.claims), "n1")
    second = pod_needs(a_pod("d"), cluster=Cluster(storage=storage)).klass
    assert second.places == ((in_zone("a", "b"),),)
    again = pod_needs(a_pod("c"), cluster=Cluster(storage=storage)).klass
    assert again.places == ((in_zone("a"),),)


def test_who_runs_says_what_it_uses() -> None:
    storage = storage_of(
        a_claim("c", BOUND, "ReadWriteOncePod", volumeName="v"),
        a_volume("v", csi={"driver": DRIVER, "volumeHandle": "h"}),
    )
    pod = a_pod("c", "gone", gcePersistentDisk={"pdName": "x", "readOnly": True})
    between = held_class(pod, Cluster(storage=storage)).between
    assert between is not None
    assert between.claims == (Claim(DRIVER, "default/c", is_alone=True),)
    assert between.disks == (Disk("gce", "x", is_read_only=True),)
