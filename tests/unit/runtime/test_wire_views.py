"""Views and changes as messages: what is left out, and that parts join without loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cell.messages import NO_NODE, ChangeRows, Changes, ReplicaView, UnitView
from cell.reasons import Reason, Refusal, Status
from cell.unit import Phase
from godel.v1 import placement_pb2 as pb
from godel.v1 import types_pb2
from runtime import wire_views

NAMES = "abcde"


@st.composite
def changes(draw: st.DrawFn, size_min: int = 1) -> Changes:
    """A published batch in which every index names something."""
    reason = st.sampled_from([0, int(Reason.CONFLICT), int(Reason.INSUFFICIENT_RESOURCE)])
    row = st.tuples(
        st.text("abc", max_size=3),
        st.integers(1, 3),
        st.integers(0, 2),
        st.sampled_from([0, 1, 7, (1 << 32) - 1]),
        st.sampled_from([int(phase) for phase in Phase]),
        st.sampled_from([0, 1, 2, NO_NODE]),
        reason,
        st.integers(0, 1),
    )
    rows = draw(st.lists(row, min_size=size_min, max_size=6))
    keys, *columns = zip(*rows, strict=True) if rows else [()] * 8
    names = list(ChangeRows.types)
    table = ChangeRows.of(**dict(zip(names, columns, strict=True)))
    nodes = draw(st.permutations(NAMES))[:3]
    resources = draw(st.permutations(NAMES))[:2]
    return Changes(tuple(keys), table, tuple(nodes), tuple(resources), draw(st.integers(1, 9)))


def plain(part: Changes) -> list[Any]:
    """The rows with names instead of indices."""
    return [
        (
            key,
            row["revision"],
            row["group"],
            row["ordinal"],
            row["phase"],
            "" if row["node"] == NO_NODE else part.nodes[row["node"]],
            row["reason"],
            _argument(part.resources, row["reason"], row["argument"]),
        )
        for key, row in zip(part.keys, part.rows.rows(), strict=True)
    ]


def _argument(resources: tuple[str, ...], reason: int, argument: int) -> Any:
    return resources[argument] if reason == Reason.INSUFFICIENT_RESOURCE else argument


def plain_packed(packed: pb.PackedChanges) -> list[Any]:
    """The rows of a packed message."""
    columns = {name: getattr(packed, name) for name in ChangeRows.types}
    rows = ChangeRows.from_bytes(columns)
    return plain(Changes(tuple(packed.keys), rows, tuple(packed.nodes), tuple(packed.resources), 0))


def plain_rows(rows: Any) -> list[Any]:
    """The rows of a message of rows; an argument without a reason is not told."""
    return [
        (
            c.key,
            c.revision,
            c.group,
            c.ordinal,
            c.phase,
            c.node,
            c.reason,
            (c.resource or c.argument) if c.reason else None,
        )
        for c in rows
    ]


def without_idle_arguments(rows: list[Any]) -> list[Any]:
    return [(*row[:-1], row[-1] if row[-2] else None) for row in rows]


@given(st.lists(changes(), min_size=1, max_size=3))
def test_joined_parts_say_what_each_said(parts: list[Changes]) -> None:
    want = [row for part in parts for row in plain(part)]
    packed, rows = wire_views.packed_reply(parts), wire_views.row_reply(parts)
    assert plain_packed(packed.packed) == want
    assert plain_rows(rows.changes) == without_idle_arguments(want)
    assert packed.at_us == rows.at_us == max(part.at_us for part in parts)


@given(changes(), st.text("abc", max_size=2))
def test_prefix_keeps_exactly_its_units_and_their_names(part: Changes, prefix: str) -> None:
    kept = wire_views.with_prefix(part, prefix, min(part.keys), max(part.keys))
    want = [row for row in plain(part) if row[0].startswith(prefix)]
    assert (plain(kept) if kept else []) == want
    if kept and len(kept.keys) < len(part.keys):
        assert set(kept.nodes) == {row[5] for row in want if row[5]}
        assert set(kept.resources) == {row[7] for row in want if isinstance(row[7], str)}


@given(changes(size_min=0), st.integers(1, 4))
def test_split_parts_are_small_and_lose_nothing(part: Changes, rows_max: int) -> None:
    parts = list(wire_views.split(part, rows_max))
    assert [row for each in parts for row in plain(each)] == plain(part)
    assert all(len(each.keys) <= rows_max for each in parts)


def test_narrowing_leaves_the_published_batch_alone() -> None:
    rows = ChangeRows.of(
        revision=[1, 1], group=0, ordinal=0, phase=2, node=[0, 1], reason=2, argument=[0, 1]
    )
    part = Changes(("a", "b"), rows, ("n0", "n1"), ("cpu", "gpu"), 1)
    before = plain(part)
    wire_views.narrowed(part, np.array([1]))
    wire_views.packed_reply([part, part])
    assert plain(part) == before


def test_unit_view_has_every_field() -> None:
    view = UnitView(
        key="k",
        uid="ab" * 16,
        revision=3,
        priority=-7,
        word="BOUND",
        phases={"BOUND": 2},
        why="because",
        wakes=("ROOM_FREED", "NODE_ADDED"),
        submitted_at_us=5,
        bound_at_us=6,
        attempts=2,
        replicas=(ReplicaView(1, 4, "READY", "n1"), ReplicaView(0, 0, "Waiting")),
    )
    made = wire_views.unit_view(view)
    assert {field.name for field, _ in made.ListFields()} == set(
        pb.UnitView.DESCRIPTOR.fields_by_name
    )
    assert (made.priority, dict(made.phases), list(made.wakes)) == (
        -7,
        {"BOUND": 2},
        ["ROOM_FREED", "NODE_ADDED"],
    )
    assert [(r.group, r.ordinal, r.phase, r.node) for r in made.replicas] == [
        (1, 4, types_pb2.PHASE_READY, "n1"),
        (0, 0, types_pb2.PHASE_WAITING, ""),
    ]


def test_pages_count_replicas() -> None:
    def a_view(key: str, replicas: int) -> UnitView:
        each = tuple([ReplicaView(0, i, "BOUND", "n") for i in range(replicas)])
        return UnitView(key, "", 1, 0, "BOUND", {}, replicas=each)

    views = [a_view("a", 2), a_view("b", 0), a_view("c", 9), a_view("d", 1), a_view("e", 1)]
    pages = [[view.key for view in page] for page in wire_views.pages(views, 4)]
    assert pages == [["a", "b"], ["c"], ["d", "e"]]


def test_refusals_keep_code_field_reason_and_hint() -> None:
    refusal = Refusal(Status.RESOURCE_EXHAUSTED, "key", "too many", 250)
    (made,) = wire_views.refused_items([(4, refusal)])
    assert made == types_pb2.Refused(
        index=4, code=8, field="key", reason="too many", retry_after_ms=250
    )
