"""What a pod asks for in sum, where kube-scheduler's counting is easily got wrong."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.reasons import Status
from runtime.fields import BadManifest, Fields
from runtime.pod_requests import pod_amounts


def a_container(limits: dict[str, Any] | None = None, **requests: Any) -> dict[str, Any]:
    """A container; resource names with an underscore for the dash."""
    listed = {name.replace("_", "-"): amount for name, amount in requests.items()}
    return {"resources": {"requests": listed, "limits": limits}}


def a_sidecar(**requests: Any) -> dict[str, Any]:
    """An init container that keeps running."""
    return {**a_container(**requests), "restartPolicy": "Always"}


@dataclass(frozen=True)
class Case:
    name: str
    want: dict[str, int]
    containers: list[dict[str, Any]] = field(default_factory=lambda: [a_container(cpu="1")])
    inits: list[dict[str, Any]] = field(default_factory=list)
    overhead: dict[str, Any] | None = None
    resources: dict[str, Any] | None = None


CASES = [
    Case("containers add up", {"cpu": 3000}, [a_container(cpu=1), a_container(cpu="2")]),
    Case("nothing asked", {}, [{"name": "a"}]),
    Case("a zero is nothing", {}, [a_container(cpu=0)]),
    Case(
        "parts are added before they are rounded up",
        {"cpu": 1},
        [a_container(cpu="0.3m"), a_container(cpu="0.3m"), a_container(cpu="0.4m")],
    ),
    Case("a limit alone is a request", {"cpu": 2000}, [a_container({"cpu": 2})]),
    Case(
        "a limit beside a request is none",
        {"cpu": 1000, "memory": 5},
        [a_container({"cpu": 2, "memory": 5}, cpu=1)],
    ),
    Case("a request of zero keeps the limit out", {}, [a_container({"cpu": 2}, cpu=0)]),
    Case("the largest init container counts", {"cpu": 5000}, inits=[a_container(cpu=5)]),
    Case(
        "init containers do not add up",
        {"cpu": 2000},
        inits=[a_container(cpu=2), a_container(cpu=2)],
    ),
    Case("a smaller init container counts nothing", {"cpu": 1000}, inits=[a_container(cpu="1m")]),
    Case(
        "the maximum is taken resource by resource",
        {"cpu": 4000, "memory": 9},
        [a_container(cpu=1, memory=9)],
        [a_container(cpu=4, memory=3)],
    ),
    Case("a sidecar adds to the containers", {"cpu": 3000}, inits=[a_sidecar(cpu=2)]),
    Case(
        "a sidecar adds to the init containers that follow it",
        {"cpu": 7000},
        inits=[a_sidecar(cpu=2), a_container(cpu=5)],
    ),
    Case(
        "a sidecar does not add to those before it",
        {"cpu": 5000},
        inits=[a_container(cpu=5), a_sidecar(cpu=2)],
    ),
    Case(
        "sidecars between init containers add in order",
        {"cpu": 6000},
        inits=[a_container(cpu=4), a_sidecar(cpu=1), a_container(cpu=5), a_sidecar(cpu=2)],
    ),
    Case(
        "restartPolicy Never is no sidecar",
        {"cpu": 1000},
        inits=[{**a_container(cpu=1), "restartPolicy": "Never"}],
    ),
    Case(
        "overhead comes on top", {"cpu": 1250, "memory": 7}, overhead={"cpu": "250m", "memory": 7}
    ),
    Case(
        "overhead comes on top of the init peak",
        {"cpu": 5250},
        inits=[a_container(cpu=5)],
        overhead={"cpu": "250m"},
    ),
    Case(
        "pod-level requests stand in for the sum, init peak included",
        {"cpu": 2000, "memory": 8},
        [a_container(cpu=1, memory=8)],
        [a_container(cpu=1)],
        resources={"requests": {"cpu": 2}},
    ),
    Case(
        "pod-level requests below the sum stand in too",
        {"cpu": 500},
        resources={"requests": {"cpu": "500m"}},
    ),
    Case(
        "overhead comes on top of pod-level requests",
        {"cpu": 2100},
        overhead={"cpu": "100m"},
        resources={"requests": {"cpu": 2}},
    ),
    Case(
        "a pod-level limit alone: what the containers ask for",
        {"cpu": 1000},
        resources={"limits": {"cpu": 4}},
    ),
    Case(
        "a pod-level limit that no container asks for is a request",
        {"cpu": 1000, "memory": 4},
        resources={"limits": {"memory": 4}},
    ),
    Case(
        "pod-level huge pages ask for their limit",
        {"hugepages-2Mi": 4 << 20},
        [a_container(hugepages_2Mi="2Mi")],
        resources={"limits": {"hugepages-2Mi": "4Mi"}},
    ),
    Case(
        "every kind of resource",
        {"ephemeral-storage": 10**9, "example.com/fpga": 2, "hugepages-1Gi": 1 << 30},
        [
            {
                "resources": {
                    "limits": {
                        "ephemeral-storage": "1G",
                        "example.com/fpga": 2,
                        "hugepages-1Gi": "1Gi",
                    }
                }
            }
        ],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_pod_asks_for(case: Case) -> None:
    spec = {
        "containers": case.containers,
        "initContainers": case.inits,
        "overhead": case.overhead,
        "resources": case.resources,
    }
    assert dict(pod_amounts(Fields(spec, "spec"))[0]) == case.want


@dataclass(frozen=True)
class Bad:
    name: str
    spec: dict[str, Any]
    want_field: str
    want_reason: str


REFUSED = [
    Bad(
        "a negative request",
        {"containers": [a_container(cpu="-1")]},
        "spec.containers[0].resources.requests[cpu]",
        "negative",
    ),
    Bad(
        "no quantity",
        {"containers": [a_container(), a_container(memory="1K")]},
        "spec.containers[1].resources.requests[memory]",
        "no quantity",
    ),
    Bad(
        "an empty quantity",
        {"containers": [a_container(cpu="")]},
        "spec.containers[0].resources.requests[cpu]",
        "no quantity",
    ),
    Bad(
        "a bad limit, though a request stands beside it",
        {"containers": [a_container({"cpu": "x"}, cpu=1)]},
        "spec.containers[0].resources.limits[cpu]",
        "no quantity",
    ),
    Bad(
        "half a device",
        {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "500m"}}}]},
        "spec.containers[0].resources.requests[nvidia.com/gpu]",
        "whole number",
    ),
    Bad(
        "pod-level devices",
        {"containers": [{}], "resources": {"limits": {"nvidia.com/gpu": 1}}},
        "spec.resources[nvidia.com/gpu]",
        "only cpu, memory",
    ),
    Bad("no list", {"containers": {"a": 1}}, "spec.containers", "needs a list"),
    Bad("no fields", {"containers": ["a"]}, "spec.containers[0]", "needs fields"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_bad_request_names_its_field(case: Bad) -> None:
    with pytest.raises(BadManifest) as caught:
        pod_amounts(Fields(case.spec, "spec"))[0]
    assert caught.value.field == case.want_field
    assert case.want_reason in caught.value.reason
    assert caught.value.status == Status.INVALID_ARGUMENT


amount = st.integers(1, 50)
init = st.builds(
    lambda n, always: a_sidecar(cpu=n) if always else a_container(cpu=n), amount, st.booleans()
)


@given(st.lists(amount, min_size=1, max_size=4), st.lists(init, max_size=5))
def test_the_sum_is_the_peak_over_the_pods_life(
    containers: list[int], inits: list[dict[str, Any]]
) -> None:
    running = 0
    peak = 0
    for each in inits:
        asked = each["resources"]["requests"]["cpu"]
        peak = max(peak, running + asked)
        if "restartPolicy" in each:
            running += asked
    peak = max(peak, running + sum(containers))
    spec = {"containers": [a_container(cpu=n) for n in containers], "initContainers": inits}
    assert dict(pod_amounts(Fields(spec))[0]) == {"cpu": peak * 1000}
