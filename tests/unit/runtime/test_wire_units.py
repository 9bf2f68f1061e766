"""Submit batches: what is refused before the core sees it, and that columns mean what rows mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.classes import ClassSpec
from cell.messages import ITEMS_MAX, Submit
from cell.reasons import Status
from cell.unit import GROUPS_MAX, uid_of
from godel.v1 import placement_pb2 as pb
from godel.v1 import types_pb2
from runtime import wire_units
from runtime.grpc_status import Exhausted
from runtime.wire_classes import ClassNumbers, TooManyClasses
from tests.unit.runtime.placement_world import a_batch, a_class, a_unit

INVALID = int(Status.INVALID_ARGUMENT)
UNIMPLEMENTED = int(Status.UNIMPLEMENTED)
Group = types_pb2.Group


def classes_of(*entries: types_pb2.ClassEntry, limit: int = 100) -> ClassNumbers:
    classes = ClassNumbers(limit)
    classes.add(entries)
    return classes


def converted(request: Any, *entries: types_pb2.ClassEntry, items_max: int = 100) -> Any:
    return wire_units.submit(request, classes_of(*(entries or [a_class(1, cpu=5)])), items_max)


def u4(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


def i4(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def packed(*keys: str, **columns: Any) -> pb.SubmitRequest:
    columns.setdefault("class_number", u4(*[1] * len(keys)))
    return pb.SubmitRequest(packed=pb.PackedUnits(keys=keys, **columns))


def one(*groups: Group) -> pb.SubmitRequest:
    return pb.SubmitRequest(units=[pb.Unit(key="a", groups=groups)])


@dataclass(frozen=True)
class Case:
    """A batch, and the first item that is refused."""

    name: str
    request: pb.SubmitRequest
    want_field: str
    want_code: int = INVALID
    want_in_reason: str = ""
    want_count: int = 1
    want_refused: int = 1
    classes: tuple[types_pb2.ClassEntry, ...] = field(default=())


CASES = [
    Case(
        "an unknown class", one(Group(class_number=7)), "groups[0].class_number", want_in_reason="7"
    ),
    Case(
        "an unknown class in the second group",
        one(Group(class_number=1), Group(class_number=7)),
        "groups[1].class_number",
    ),
    Case(
        "a class with a negative request",
        one(Group(class_number=2)),
        "groups[0].class.demand[cpu]",
        want_in_reason="negative",
        classes=(a_class(2, cpu=-5),),
    ),
    Case(
        "a number that was given to two classes",
        one(Group(class_number=2)),
        "groups[0].class_number",
        want_in_reason="two classes",
        classes=(a_class(2, cpu=5), a_class(2, cpu=6), a_class(2, cpu=5)),
    ),
    Case(
        "an entry without a class",
        one(Group(class_number=2)),
        "groups[0].class.spec",
        classes=(types_pb2.ClassEntry(number=2),),
    ),
    Case("no groups", one(), "groups", want_in_reason="1 to 16"),
    Case("too many groups", one(*[Group(class_number=1)] * (GROUPS_MAX + 1)), "groups"),
    Case("groups beyond a byte", one(*[Group(class_number=1)] * 300), "groups"),
    Case("a pin that no node can have", one(Group(class_number=1, pin="x" * 254)), "groups[0].pin"),
    Case("a role that is too long", one(Group(class_number=1, role="é" * 127)), "groups[0].role"),
    Case("packed: an unknown class", packed("a", class_number=u4(7)), "groups[0].class_number"),
    Case("packed: no groups", packed("a", groups=b"\0", class_number=b""), "groups"),
    Case("packed: a pin out of range", packed("a", pin=i4(1), pins=["n"]), "groups[0].pin"),
    Case("packed: a negative pin", packed("a", pin=i4(-2), pins=["n"]), "groups[0].pin"),
    Case("packed: an empty pin", packed("a", pin=i4(0), pins=[""]), "groups[0].pin"),
    Case(
        "packed: no classes",
        packed("a", "b", class_number=b""),
        "packed.class_number",
        want_count=2,
        want_refused=2,
    ),
    Case("packed: half an entry", packed("a", priority=b"\0\0"), "packed.priority"),
    Case("packed: a column too long", packed("a", count=u4(1, 2)), "packed.count"),
    Case("packed: a minimum for nobody", packed("a", min=u4(1, 2)), "packed.min"),
    Case("packed: groups of too few units", packed("a", groups=b"\1\1"), "packed.groups"),
    Case("packed: roles for too many", packed("a", roles=["x", "y"]), "packed.roles"),
    Case(
        "rows and columns in one batch",
        pb.SubmitRequest(units=[a_unit("a")], packed=pb.PackedUnits(keys=["b"])),
        "packed",
        want_count=2,
        want_refused=2,
    ),
    Case("packed: more pins than groups", packed("a", pins=["n", "m"]), "packed.pins"),
]


@pytest.mark.parametrize(
    "request_",
    [pb.SubmitRequest(units=[a_unit("a")] * 101), packed(*["a"] * 101)],
    ids=["rows", "packed"],
)
def test_too_many_items_end_the_stream(request_: Any) -> None:
    with pytest.raises(Exhausted, match="101 items in one request, limit 100"):
        converted(request_)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused_before_the_core(case: Case) -> None:
    result = converted(case.request, a_class(1, cpu=5), *case.classes)
    index, refusal = result.refused[0]
    assert (index, refusal.field, int(refusal.status)) == (0, case.want_field, case.want_code)
    assert case.want_in_reason in refusal.reason
    assert (result.count, len(result.refused)) == (case.want_count, case.want_refused)
    assert result.body is None


POLICIES: list[tuple[str, Any]] = [
    ("policy.queue", pb.UnitPolicy(queue="q")),
    ("policy.intent", pb.UnitPolicy(intent="service")),
    ("policy.place", pb.UnitPolicy(place=types_pb2.PLACE_PREFER)),
    ("policy.replaces", pb.UnitPolicy(replaces=["x"])),
    ("policy.handover", pb.UnitPolicy(handover="surge")),
    ("policy.deadline_us", pb.UnitPolicy(deadline_us=1)),
    (
        "groups[0].policy.topology",
        types_pb2.GroupPolicy(topology=types_pb2.TopologyLevel(level="rack")),
    ),
    ("groups[0].policy.children", types_pb2.GroupPolicy(children=[Group()])),
]


@pytest.mark.parametrize(("want_field", "policy"), POLICIES, ids=[name for name, _ in POLICIES])
def test_field_without_an_effect_is_unimplemented_by_name(want_field: str, policy: Any) -> None:
    unit = a_unit("b")
    (unit if isinstance(policy, pb.UnitPolicy) else unit.groups[0]).policy.CopyFrom(policy)
    result = converted(a_batch(1, [a_unit("a"), unit, a_unit("c")]))
    ((index, refusal),) = result.refused
    assert (index, refusal.status, refusal.field) == (1, Status.UNIMPLEMENTED, want_field)
    assert result.body.keys == ("a", "c")
    assert list(result.kept) == [0, 2]


def test_policies_cover_the_contract() -> None:
    want = {f"policy.{name}" for name in pb.UnitPolicy.DESCRIPTOR.fields_by_name}
    want |= {f"groups[0].policy.{name}" for name in types_pb2.GroupPolicy.DESCRIPTOR.fields_by_name}
    assert {name for name, _ in POLICIES} == want


def test_empty_policy_is_no_policy() -> None:
    result = converted(a_batch(1, [a_unit("a", policy=pb.UnitPolicy())]))
    assert not result.refused


def test_refused_units_leave_with_their_groups() -> None:
    two = pb.Unit(
        key="two",
        groups=[
            Group(class_number=2, count=3, pin="n1", role="r1"),
            Group(class_number=1, count=4, min=0, pin="n0"),
        ],
    )
    batch = a_batch(1, [a_unit("x", number=9), two, a_unit("y", number=8), a_unit("z")])
    result = converted(batch, a_class(1, cpu=5), a_class(2, cpu=7))
    body: Submit = result.body
    assert [index for index, _ in result.refused] == [0, 2]
    assert (list(result.kept), body.keys) == ([1, 3], ("two", "z"))
    assert body.units.groups.tolist() == [2, 1]
    assert [body.classes[i].demand[0][1] for i in body.groups.klass] == [7, 5, 5]
    assert body.groups.count.tolist() == [3, 4, 1]
    assert body.groups.min.tolist() == [3, 0, 1]
    assert [body.pins[i] if i >= 0 else "" for i in body.groups.pin] == ["n1", "n0", ""]
    assert body.roles == ("r1", "", "")


def test_defaults_of_columns_are_those_of_rows() -> None:
    want_classes = (ClassSpec(demand=(("cpu", 5),)),)
    for request in (a_batch(1, [a_unit("a")]), packed("a"), packed("a", count=u4(0))):
        body = converted(request).body
        assert (body.keys, body.classes, body.roles, body.pins) == (("a",), want_classes, (), ())
        hi, lo = uid_of("a")
        assert body.units.rows() == [{"uid_hi": hi, "uid_lo": lo, "priority": 0, "groups": 1}]
        assert body.groups.rows() == [{"klass": 0, "count": 1, "min": 1, "pin": -1}]


@pytest.mark.parametrize("request_", [a_batch(1, [a_unit("a"), a_unit("b")]), packed("a", "b")])
def test_columns_are_of_the_kind_that_kernels_are_compiled_for(request_: Any) -> None:
    body = converted(request_).body
    for table in (body.units, body.groups):
        for name, dtype in table.types.items():
            column = getattr(table, name)
            assert (column.dtype, column.flags.c_contiguous, column.flags.writeable) == (
                dtype,
                True,
                True,
            ), name


def test_a_batch_without_units_only_brings_classes() -> None:
    classes = classes_of()
    result = wire_units.submit(pb.SubmitRequest(classes=[a_class(3, cpu=1)]), classes, ITEMS_MAX)
    assert (result.body, result.count, result.refused) == (None, 0, [])
    assert classes.specs([3]) == [ClassSpec(demand=(("cpu", 1),))]


def test_the_same_class_again_is_no_conflict() -> None:
    classes = classes_of(a_class(1, cpu=5, memory=0), a_class(1, cpu=5))
    assert classes.specs([1]) == [ClassSpec(demand=(("cpu", 5),))]


def test_classes_of_a_stream_have_a_limit() -> None:
    entries = [a_class(number, cpu=number + 1) for number in range(3)]
    with pytest.raises(TooManyClasses):
        classes_of(*entries, limit=2)
    classes_of(*entries, limit=3).add(entries)


def test_one_message_brings_no_more_classes_than_that_though_they_are_one() -> None:
    with pytest.raises(TooManyClasses, match="3 classes in one message, limit 2"):
        classes_of(*[a_class(1, cpu=1)] * 3, limit=2)


groups_of = st.lists(
    st.builds(
        Group,
        class_number=st.integers(0, 4),
        count=st.integers(0, 3),
        min=st.none() | st.integers(0, 5),
        pin=st.sampled_from(["", "n0", "n1", "x" * 254]),
        role=st.sampled_from(["", "r", "y" * 254]),
    ),
    max_size=3,
)
units_of = st.lists(
    st.builds(
        pb.Unit,
        key=st.text(st.characters(codec="utf-8"), max_size=5),
        priority=st.integers(-(1 << 31), (1 << 31) - 1),
        groups=groups_of,
    ),
    max_size=5,
)


@given(units_of)
def test_columns_mean_what_rows_mean(units: list[pb.Unit]) -> None:
    entries = [a_class(0, cpu=1), a_class(1, cpu=2), a_class(3, cpu=-1)]
    rows = converted(pb.SubmitRequest(units=units), *entries)
    columns = converted(pb.SubmitRequest(packed=as_columns(units)), *entries)
    assert described(rows) == described(columns)
    assert rows.count == len(units)


def as_columns(units: list[pb.Unit]) -> pb.PackedUnits:
    groups = [group for unit in units for group in unit.groups]
    pins = sorted({group.pin for group in groups if group.pin})
    return pb.PackedUnits(
        keys=[unit.key for unit in units],
        priority=i4(*[unit.priority for unit in units]),
        groups=bytes([len(unit.groups) for unit in units]),
        class_number=u4(*[group.class_number for group in groups]),
        count=u4(*[group.count for group in groups]),
        min=u4(*[g.min if g.HasField("min") else g.count or 1 for g in groups]),
        roles=[group.role for group in groups],
        pin=i4(*[pins.index(group.pin) if group.pin else -1 for group in groups]),
        pins=pins,
    )


def described(result: Any) -> Any:
    """What a conversion says, with names instead of indices."""
    refused = [(index, refusal.field, refusal.reason) for index, refusal in result.refused]
    if result.body is None:
        return refused, []
    body: Submit = result.body
    groups = [
        (
            body.classes[row["klass"]],
            row["count"],
            row["min"],
            body.pins[row["pin"]] if row["pin"] >= 0 else "",
            body.roles[i] if body.roles else "",
        )
        for i, row in enumerate(body.groups.rows())
    ]
    return refused, [body.keys, body.units.rows(), groups, list(result.kept or [])]
