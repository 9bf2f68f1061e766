"""Pods and nodes as an API server sends them, and what the binder is told of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.classes import ClassSpec
from cell.home import ObjectState
from runtime.fields import BadManifest, Fields
from runtime.kubernetes.objects import Condition, Pods, Seen, node_of
from runtime.pod_class import Cluster
from runtime.storage import Storage

UID = "0b8e7f3c-0000-4000-8000-00000000002a"
OURS = "godel-scheduler"


def encoded(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def a_pod(phase: str = "Pending", *, version: int = 7, is_going: bool = False, **spec: Any) -> Any:
    metadata = {"name": "web-0", "namespace": "shop", "uid": UID, "resourceVersion": str(version)}
    if is_going:
        metadata["deletionTimestamp"] = "2026-11-25T00:00:00Z"
    requests = {"requests": {"cpu": "250m", "memory": "1Gi"}}
    containers = [{"name": "c", "image": "i", "resources": requests}]
    whole = {"containers": containers, "schedulerName": OURS, **spec}
    return {"metadata": metadata, "spec": whole, "status": {"phase": phase}}


def a_scheduled(status: str, reason: str) -> dict[str, str]:
    """The condition that says whether a pod is placed."""
    return {"type": "PodScheduled", "status": status, "reason": reason, "message": "no room"}


def seen(pod: Any, pods: Pods | None = None, **fields: Any) -> Seen:
    return (pods or Pods(OURS)).take(encoded(pod), **fields)


def demand_of(found: Seen) -> dict[str, int]:
    return dict(msgspec.msgpack.decode(found.view.klass, type=ClassSpec).demand)


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        (a_pod(), ObjectState.PENDING),
        (a_pod(nodeName="n1"), ObjectState.BOUND),
        (a_pod("Running", nodeName="n1"), ObjectState.BOUND),
        (a_pod("Running", nodeName="n1", is_going=True), ObjectState.TERMINATING),
        (a_pod(is_going=True), ObjectState.TERMINATING),
        (a_pod("Succeeded", nodeName="n1"), ObjectState.DONE),
        (a_pod("Failed", nodeName="n1", is_going=True), ObjectState.FAILED),
    ],
)
def test_state_is_that_of_phase_node_and_deletion(pod: Any, state: ObjectState) -> None:
    assert seen(pod).view.state is state


def test_pod_of_ours_has_its_class_and_its_name() -> None:
    found = seen(a_pod(nodeSelector={"zone": "a"}, priority=5))
    assert demand_of(found) == {"cpu": 250, "memory": 1 << 30}
    assert found.unit is not None
    assert (found.unit.key, found.unit.priority) == (f"shop/web-0/{UID}", 5)
    assert (found.refusal, found.view.is_ours) == ("", True)
    assert found.name.key == f"shop/web-0/{UID}"
    assert (found.view.object, found.view.version) == (int(UID.replace("-", ""), 16), 7)


def test_pod_of_others_is_charged_by_its_requests_whatever_else_it_says() -> None:
    found = seen(a_pod(schedulerName="default-scheduler", nodeName="n1", hostNetwork="yes"))
    assert (found.view.is_ours, demand_of(found)) == (False, {"cpu": 250, "memory": 1 << 30})


def test_pod_that_cannot_be_read_takes_a_slot_at_least() -> None:
    broken = [{"name": "c", "resources": {"requests": {"cpu": "many"}}}]
    found = seen(a_pod(schedulerName="other", nodeName="n1", containers=broken))
    assert (demand_of(found), found.view.node) == ({}, "n1")


def test_pod_of_ours_that_asks_for_more_than_we_do_is_refused_while_it_waits() -> None:
    claims = [{"name": "gpu", "resourceClaimName": "gpu"}]
    waiting = seen(a_pod(resourceClaims=claims))
    bound = seen(a_pod(nodeName="n1", resourceClaims=claims))
    assert "resourceClaims" in waiting.refusal
    assert (waiting.unit, bound.refusal) == (None, "")
    assert demand_of(bound)["cpu"] == 250


def test_pod_with_gates_is_nobodys_until_the_last_is_gone_and_may_change_before() -> None:
    pods = Pods(OURS)
    gated = seen(a_pod(schedulingGates=[{"name": "later"}]), pods)
    assert (gated.unit, gated.refusal, gated.view.is_ours) == (None, "", False)
    free = seen(a_pod(version=8, nodeSelector={"zone": "a"}), pods)
    assert free.unit is not None
    assert free.unit.groups[0].klass == free.view.klass != gated.view.klass


@pytest.mark.parametrize(
    ("pod", "is_over"),
    [
        (a_pod(), False),
        (a_pod(nodeName="n1", is_going=True), False),
        (a_pod(is_going=True), True),
        (a_pod("Succeeded", nodeName="n1"), True),
    ],
)
def test_unit_is_over_when_its_pod_wants_no_room_and_has_none(pod: Any, is_over: bool) -> None:
    unit = seen(pod).unit
    assert unit is not None
    assert unit.is_over is is_over


def test_class_is_read_once_in_a_pods_life() -> None:
    pods = Pods(OURS)
    first = seen(a_pod(), pods)
    later = a_pod("Running", version=8, nodeName="n1")
    later["spec"]["containers"] = [{"name": "c", "resources": {"requests": {"cpu": "9"}}}]
    assert seen(later, pods).view.klass == first.view.klass
    assert pods.by_replica == {first.view.replica: first.name}
    assert seen(later, pods, is_deleted=True).view.state is ObjectState.DELETED
    assert pods.by_replica == {}
    assert seen(later, pods).view.klass != first.view.klass


def test_pod_of_the_same_name_is_another() -> None:
    other = a_pod()
    other["metadata"]["uid"] = UID.replace("2a", "2b")
    assert seen(a_pod()).view.replica != seen(other).view.replica


@pytest.mark.parametrize(
    ("conditions", "want"),
    [
        (None, Condition()),
        ([{"type": "Ready", "status": "False"}], Condition()),
        ([a_scheduled("False", "Unschedulable")], Condition(True, "no room")),
        ([a_scheduled("False", "SchedulingGated")], Condition(True, "")),
        ([a_scheduled("True", "")], Condition()),
    ],
)
def test_pod_that_waits_for_us_shows_what_it_says_of_its_placing(
    conditions: list[Any] | None, want: Condition
) -> None:
    def shown(**spec: Any) -> Condition | None:
        pod = a_pod(**spec)
        if conditions is not None:
            pod["status"]["conditions"] = conditions
        return seen(pod).condition

    assert shown() == want
    assert shown(nodeName="n1") is None
    assert shown(schedulerName="other") is None
    assert shown(schedulingGates=[{"name": "later"}]) is None


def test_unit_and_its_pod_are_found_by_each_other() -> None:
    pods = Pods(OURS)
    name = seen(a_pod(), pods).name
    assert pods.of_unit(pods.unit_of(name)) == (name,)
    seen(a_pod(version=8), pods, is_deleted=True)
    assert pods.of_unit(pods.unit_of(name)) == ()


def test_list_forgets_what_it_does_not_show() -> None:
    pods = Pods(OURS)
    first = seen(a_pod(), pods)
    pods.forget_others({first.name})
    assert first.view.replica in pods.by_replica
    pods.forget_others(set())
    assert pods.by_replica == {}


@given(st.recursive(st.none() | st.text() | st.integers(), lambda v: st.lists(v, max_size=3)))
def test_what_is_no_pod_is_told_apart(value: Any) -> None:
    with pytest.raises(msgspec.MsgspecError):
        seen({"metadata": value, "spec": value})


def test_nodes_of_a_list_do_not_name_their_kind() -> None:
    status = {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}
    found = node_of(encoded({"metadata": {"name": "n1", "labels": {"a": "b"}}, "status": status}))
    assert (found.name, dict(found.allocatable)["cpu"], found.labels[0]) == ("n1", 4000, ("a", "b"))
    with pytest.raises(BadManifest, match="cpu"):
        node_of(encoded({"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "x"}}}))


def test_a_pod_is_another_unit_once_its_claim_lets_it_be_read_as_another_class() -> None:
    """1. It waits for a claim. 2. The claim is there. 3. Its binding is begun: it stays."""
    storage = Storage()
    pods = Pods(OURS, Cluster(is_live=True, storage=storage))
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    first = seen(a_pod(volumes=volumes), pods)
    assert first.unit is None
    assert "there is no claim shop/c" in first.refusal
    assert pods.renewed({"shop/other"}) == []
    metadata = {"name": "c", "namespace": "shop"}
    claim = {"kind": "PersistentVolumeClaim", "metadata": metadata}
    named = {"storageClassName": "late", "resources": {"requests": {"storage": "1Gi"}}}
    late = {"kind": "StorageClass", "metadata": {"name": "late"}, "provisioner": "x"}
    storage.put(Fields({**claim, "spec": named}))
    storage.put(Fields({**late, "volumeBindingMode": "WaitForFirstConsumer"}))
    gone, renewed = pods.renewed({"shop/c"})
    assert gone.view.state is ObjectState.DELETED
    assert gone.view.replica == first.view.replica
    assert renewed.unit is not None
    assert renewed.view.replica != first.view.replica
    assert pods.of_unit((renewed.unit.uid_hi, renewed.unit.uid_lo)) == (renewed.name,)
    assert pods.renewed() == []
    pods.fix(renewed.name)
    storage.clear("StorageClass")
    assert pods.renewed() == []
    over, refused = pods.renew(renewed.name)
    assert over.unit is not None
    assert over.unit.is_over
    assert "not bound to a volume yet" in refused.refusal


def test_a_pod_that_is_resized_takes_the_largest_of_what_is_said() -> None:
    pods = Pods(OURS)
    waiting = seen(a_pod(), pods)
    pod = a_pod("Running", version=8, nodeName="n1")
    assert seen(pod, pods).view.klass == waiting.view.klass
    pod["metadata"] |= {"resourceVersion": "9", "generation": 2}
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "750m"
    assert demand_of(seen(pod, pods))["cpu"] == 750
    has = {"requests": {"cpu": "900m"}}
    pod["metadata"]["resourceVersion"] = "10"
    pod["status"]["containerStatuses"] = [{"name": "c", "resources": has}]
    found = seen(pod, pods)
    assert demand_of(found)["cpu"] == 900
    assert found.unit is not None


def test_a_resize_that_cannot_be_is_not_charged() -> None:
    pods = Pods(OURS)
    pod = a_pod("Running", nodeName="n1")
    seen(pod, pods)
    has = {"requests": {"cpu": "250m"}}
    pod["metadata"] |= {"resourceVersion": "9", "generation": 2}
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "64"
    pod["status"]["containerStatuses"] = [{"name": "c", "resources": has}]
    assert demand_of(seen(pod, pods))["cpu"] == 64_000
    condition = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
    pod["metadata"]["resourceVersion"] = "10"
    pod["status"]["conditions"] = [condition]
    assert demand_of(seen(pod, pods))["cpu"] == 250


def test_a_bound_pod_stays_ours_whatever_becomes_of_its_claim() -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "gone"}}]
    pods = Pods(OURS, Cluster(is_live=True, storage=Storage()))
    assert seen(a_pod("Running", nodeName="n1", volumes=volumes), pods).unit is not None
