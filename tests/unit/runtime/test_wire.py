"""Cancel, Amend and Report before the core sees them, classes, and the numbers of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import pytest

from cell.classes import ClassSpec, Toleration
from cell.messages import Amend, AmendItem, Cancel, Report
from cell.reasons import Reason, Status
from cell.requirements import Operator, Requirement, Term
from cell.unit import GROUPS_MAX, GroupSpec, Phase, Place
from godel.v1 import placement_pb2, types_pb2
from runtime import wire
from runtime.grpc_status import Exhausted
from runtime.wire_classes import ClassNumbers, TooManyClasses, class_spec
from runtime.wire_requirements import OPERATORS
from tests.unit.runtime.placement_world import a_class

# The generated constructors take dictionaries for messages; their stubs do not say so.
pb: Any = placement_pb2
ClassSpecMessage: Any = types_pb2.ClassSpec
Group: Any = types_pb2.Group
GROUPS = [Group(class_number=1)]


@pytest.mark.parametrize(
    ("ours", "enum"),
    [(Reason, types_pb2.Reason), (Phase, types_pb2.Phase), (Place, types_pb2.Place)],
    ids=["Reason", "Phase", "Place"],
)
def test_code_numbers_of_the_contract_are_those_of_the_cell(ours: type[IntEnum], enum: Any) -> None:
    prefix = f"{ours.__name__.upper()}_"
    assert dict(enum.items()) == {prefix + member.name: int(member) for member in ours}


def test_every_operator_of_the_contract_is_known() -> None:
    want = {number for number in types_pb2.Operator.values() if number}
    assert set(OPERATORS) == want
    assert set(OPERATORS.values()) == set(Operator)


def test_class_has_everything_the_contract_says() -> None:
    spec = ClassSpecMessage(
        demand={"memory": 7, "cpu": 5, "pods": 1},
        selector={"zone": "a"},
        affinity={
            "terms": [
                {
                    "labels": [{"key": "k", "operator": "OPERATOR_GT", "values": ["3"]}],
                    "fields": [
                        {"key": "metadata.name", "operator": "OPERATOR_IN", "values": ["n"]}
                    ],
                }
            ]
        },
        tolerations=[
            {"key": "t", "value": "v", "effect": "NoSchedule"},
            {"operator": "Exists"},
        ],
        profile="packed",
    )
    assert class_spec(spec) == ClassSpec(
        demand=(("cpu", 5), ("memory", 7)),
        selector=(("zone", "a"),),
        affinity=(
            Term(
                (Requirement("k", Operator.GT, ("3",)),),
                (Requirement("metadata.name", Operator.IN, ("n",)),),
            ),
        ),
        tolerations=(Toleration("", "Exists"), Toleration("t", "Equal", "v", "NoSchedule")),
        profile="packed",
    )


def test_affinity_without_terms_is_not_the_absence_of_affinity() -> None:
    nothing = ClassSpecMessage(affinity=types_pb2.Affinity())
    assert class_spec(nothing).affinity == ()
    assert class_spec(ClassSpecMessage()).affinity is None


@dataclass(frozen=True)
class BadClass:
    """A class, and the field that is at fault."""

    name: str
    spec: types_pb2.ClassSpec
    want_field: str


BAD_CLASSES = [
    BadClass(
        "an operator that was not said",
        ClassSpecMessage(affinity={"terms": [{"labels": [{"key": "k"}]}]}),
        "affinity[0].labels[0].operator",
    ),
    BadClass(
        "an operator from the future",
        ClassSpecMessage(affinity={"terms": [{"fields": [{"operator": 77}]}]}),
        "affinity[0].fields[0].operator",
    ),
    BadClass(
        "an absurd label", ClassSpecMessage(selector={"x" * 400: ""}), f"selector[{'x' * 400}]"
    ),
    BadClass("an absurd profile", ClassSpecMessage(profile="x" * 400), "profile"),
    BadClass("too much", ClassSpecMessage(demand={"cpu": 1 << 60}), "demand[cpu]"),
]


@pytest.mark.parametrize("case", BAD_CLASSES, ids=[case.name for case in BAD_CLASSES])
def test_bad_class_refuses_what_uses_it(case: BadClass) -> None:
    classes = ClassNumbers(10)
    classes.add([types_pb2.ClassEntry(number=4, spec=case.spec)])
    assert classes.specs([4]) == [None]
    refusal = classes.refusal(4)
    assert (refusal.status, refusal.field) == (Status.INVALID_ARGUMENT, case.want_field)
    assert "class 4" in refusal.reason


def test_cancel_passes_keys_on() -> None:
    assert wire.cancel(pb.CancelRequest(keys=["b", "a"]), 2).body == Cancel(("b", "a"))


@pytest.mark.parametrize(
    "convert",
    [
        lambda most: wire.cancel(pb.CancelRequest(keys=["k"] * 3), most),
        lambda most: wire.amend(pb.AmendRequest(items=[{}] * 3), 9, most),
        lambda most: wire.report(pb.ReportRequest(items=[{}] * 3), most),
        lambda most: wire.report(
            pb.ReportRequest(packed={"keys": ["k"] * 3, "phase": b"\4" * 3}), most
        ),
    ],
    ids=["cancel", "amend", "report", "packed report"],
)
def test_too_many_items_end_the_call(convert: Any) -> None:
    assert convert(3).count == 3
    with pytest.raises(Exhausted, match="3 items in one request, limit 2"):
        convert(2)


@dataclass(frozen=True)
class BadAmendment:
    """An amendment, and how it is refused."""

    name: str
    fields: dict[str, Any]
    want_field: str
    want_status: Status = Status.UNIMPLEMENTED


BAD_AMENDMENTS = [
    BadAmendment("replaces", {"replaces": ["x"]}, "replaces"),
    BadAmendment("handover", {"handover": "surge"}, "handover"),
    BadAmendment("deadline", {"deadline_us": 1}, "deadline_us"),
    BadAmendment("intent", {"intent": "batch"}, "intent"),
    BadAmendment("same node", {"place": types_pb2.PLACE_SAME_NODE}, "place"),
    BadAmendment("prefer", {"place": types_pb2.PLACE_PREFER}, "place"),
    BadAmendment("no such place", {"place": 9}, "place", Status.INVALID_ARGUMENT),
    BadAmendment("no groups", {"groups": []}, "groups", Status.INVALID_ARGUMENT),
    BadAmendment(
        "many groups", {"groups": GROUPS * (GROUPS_MAX + 1)}, "groups", Status.INVALID_ARGUMENT
    ),
    BadAmendment(
        "unknown class",
        {"groups": [Group(class_number=1), Group(class_number=3)]},
        "groups[1].class_number",
        Status.INVALID_ARGUMENT,
    ),
    BadAmendment(
        "long pin",
        {"groups": [Group(class_number=1, pin="x" * 254)]},
        "groups[0].pin",
        Status.INVALID_ARGUMENT,
    ),
    BadAmendment(
        "topology",
        {"groups": [Group(class_number=1, policy={"topology": {"level": "rack"}})]},
        "groups[0].policy.topology",
    ),
]


@pytest.mark.parametrize("case", BAD_AMENDMENTS, ids=[case.name for case in BAD_AMENDMENTS])
def test_bad_amendment_is_refused_at_its_index(case: BadAmendment) -> None:
    bad = pb.Amendment(**({"key": "bad", "revision": 2, "groups": GROUPS} | case.fields))
    good = pb.Amendment(
        key="good",
        revision=3,
        groups=[Group(class_number=1, role="r", count=4, min=2, pin="n")],
        place=types_pb2.PLACE_ANYWHERE,
    )
    request = pb.AmendRequest(classes=[a_class(1, cpu=5)], items=[bad, good])
    result = wire.amend(request, 10, 10)
    ((index, refusal),) = result.refused
    assert (index, refusal.status, refusal.field) == (0, case.want_status, case.want_field)
    spec = ClassSpec(demand=(("cpu", 5),))
    want = AmendItem("good", 3, (GroupSpec(spec, "r", 4, 2, "n"),), Place.ANYWHERE)
    assert isinstance(result.body, Amend)
    assert (result.body.items, result.kept) == ((want,), [1])


def test_amend_has_a_limit_of_classes() -> None:
    request = pb.AmendRequest(classes=[a_class(1), a_class(2, cpu=1)], items=[pb.Amendment()])
    with pytest.raises(TooManyClasses):
        wire.amend(request, 1, 10)


def test_reports_as_columns_mean_what_rows_mean() -> None:
    rows = pb.ReportRequest(
        items=[
            pb.ReplicaReport(key="a", revision=2, group=3, ordinal=4, phase=types_pb2.PHASE_READY),
            pb.ReplicaReport(key="b", phase=types_pb2.PHASE_DONE),
        ]
    )
    columns = pb.ReportRequest(
        packed=pb.PackedReports(
            keys=["a", "b"],
            revision=np.array([2, 0], "<u4").tobytes(),
            group=b"\3\0",
            ordinal=np.array([4, 0], "<u4").tobytes(),
            phase=b"\4\5",
        )
    )
    want = [
        {"revision": 2, "group": 3, "ordinal": 4, "phase": 4},
        {"revision": 0, "group": 0, "ordinal": 0, "phase": 5},
    ]
    for request in (rows, columns):
        body = wire.report(request, 10).body
        assert isinstance(body, Report)
        assert (body.keys, body.rows.rows()) == (("a", "b"), want)


def test_report_that_no_column_can_hold_is_refused_at_its_index() -> None:
    request = pb.ReportRequest(
        items=[
            pb.ReplicaReport(key="a", group=256),
            pb.ReplicaReport(key="b", phase=types_pb2.PHASE_READY),
            pb.ReplicaReport(key="c", phase=-1),
        ]
    )
    result = wire.report(request, 10)
    assert [(i, r.field) for i, r in result.refused] == [(0, "group"), (2, "phase")]
    assert isinstance(result.body, Report)
    assert (result.body.keys, result.kept) == (("b",), [1])


@pytest.mark.parametrize(
    ("request_", "want_field"),
    [
        (pb.ReportRequest(packed={"keys": ["a"]}), "packed.phase"),
        (
            pb.ReportRequest(packed={"keys": ["a"], "phase": b"\4", "group": b"\1\1"}),
            "packed.group",
        ),
        (pb.ReportRequest(items=[{}], packed={"keys": ["a"]}), "packed"),
    ],
    ids=["no phase", "group of two", "rows and columns"],
)
def test_malformed_report_is_refused_whole(request_: Any, want_field: str) -> None:
    result = wire.report(request_, 2)
    assert result.body is None
    assert {refusal.field for _, refusal in result.refused} == {want_field}
    assert len(result.refused) == result.count
