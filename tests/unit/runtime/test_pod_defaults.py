"""Default constraints: who is selected by a service or a workload is spread, if it says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from cell.requirements import Operator, Requirement
from runtime.fields import Fields
from runtime.pod_class import Cluster, pod_needs
from runtime.pod_defaults import CONSTRAINTS, selectors_in

Document = dict[str, Any]


def a_service(selector: dict[str, str] | None, namespace: str = "red") -> Document:
    spec = {} if selector is None else {"selector": selector}
    return {"kind": "Service", "metadata": {"name": "s", "namespace": namespace}, "spec": spec}


WEB = {"kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "red"}}
WEB["spec"] = {"selector": {"matchLabels": {"app": "web"}}}
OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}]}


def an(key: str, value: str) -> Requirement:
    return Requirement(key, Operator.IN, (value,))


@dataclass(frozen=True)
class Case:
    want: tuple[Requirement, ...]
    objects: list[Document]
    metadata: Document = field(default_factory=dict)
    spec: Document = field(default_factory=dict)


CASES = {
    "a service": Case((an("app", "web"),), [a_service({"app": "web"})]),
    "two services": Case(
        (an("app", "web"), an("tier", "a")), [a_service({"app": "web"}), a_service({"tier": "a"})]
    ),
    "a service of others": Case((), [a_service({"app": "db"})]),
    "a service elsewhere": Case((), [a_service({"app": "web"}, "blue")]),
    "a service that selects nobody": Case((), [a_service(None)]),
    "its workload": Case((an("app", "web"),), [WEB], OWNED),
    "a workload that is not its own": Case((), [WEB]),
    "a workload that is not there": Case((), [], OWNED),
    "it says how it is spread": Case(
        (),
        [a_service({"app": "web"})],
        spec={
            "topologySpreadConstraints": [
                {"topologyKey": "z", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
            ]
        },
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_default_constraints(case: Case) -> None:
    selectors = selectors_in([Fields(each) for each in case.objects], "default")
    metadata = {"namespace": "red", "labels": {"app": "web", "tier": "a"}, **case.metadata}
    pod = {"metadata": metadata, "spec": {"containers": [{}], **case.spec}}
    between = pod_needs(pod, cluster=Cluster(selectors=selectors)).klass.between
    assert between is not None
    wished = [each for each in between.spread if not each.is_required]
    assert [(each.key, each.max_skew) for each in wished] == (
        list(CONSTRAINTS) if case.want else []
    )
    assert {each.selector for each in wished} == (
        {tuple(sorted(case.want))} if case.want else set()
    )
    assert not any(each.are_keys_needed for each in wished)


def test_nothing_is_looked_up_where_objects_are_not_known() -> None:
    pod = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{}]}}
    between = pod_needs(pod).klass.between
    assert between is not None
    assert between.spread == ()
