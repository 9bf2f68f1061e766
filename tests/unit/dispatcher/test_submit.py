"""Submit: what is refused and how, what a key means, and what happens at the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest

from cell.effects import Answer, Persist, Send
from cell.messages import Acks, Assign, Submit
from cell.reasons import Refusal, Status
from cell.unit import GROUPS_MAX, KEY_BYTES_MAX, PRIORITY_MAX, REPLICAS_MAX, GroupSpec, Verdict
from dispatcher.config import DispatcherConfig
from tests.unit.dispatcher.builders import Desk, a_class, a_group, a_submit, a_unit


@dataclass(frozen=True)
class Case:
    """A unit beside two good ones, and the field that is refused; "" for none."""

    name: str
    unit: Any
    want_field: str


CASES = [
    Case("a longest key", a_unit("k" * KEY_BYTES_MAX), ""),
    Case("an empty key", a_unit(""), "key"),
    Case("a key that is too long", a_unit("k" * (KEY_BYTES_MAX + 1)), "key"),
    Case("a key that is too long in bytes only", a_unit("é" * 127), "key"),
    Case("a key in two lines", a_unit("k\n"), "key"),
    Case("a key with a space", a_unit("k k"), "key"),
    Case("a key with a NUL", a_unit("\0"), "key"),
    Case("a key with an escape", a_unit("\x1b[31mk"), "key"),
    Case("a key with a space of another kind", a_unit("k\u2003k"), "key"),
    Case("a key of another alphabet", a_unit("ключ-鍵"), ""),
    Case("highest priority", a_unit("u", priority=PRIORITY_MAX), ""),
    Case("a priority above all", a_unit("u", priority=PRIORITY_MAX + 1), "priority"),
    Case("a priority below all", a_unit("u", priority=-PRIORITY_MAX - 1), "priority"),
    Case("most groups", a_unit("u", *[a_group()] * GROUPS_MAX), ""),
    Case("too many groups", a_unit("u", *[a_group()] * (GROUPS_MAX + 1)), "groups"),
    Case("most replicas", a_unit("u", a_group(count=REPLICAS_MAX)), ""),
    Case("too many replicas", a_unit("u", *[a_group(count=2049)] * 2), "groups"),
    Case("a group of none", a_unit("u", a_group(), a_group(count=0)), "groups[1].count"),
    Case("no minimum", a_unit("u", a_group(count=2, min=0)), ""),
    Case("a minimum above the count", a_unit("u", a_group(count=2, min=3)), "groups[0].min"),
    Case("a pin", a_unit("u", a_group(pin="n1")), ""),
    Case("a pin that is too long", a_unit("u", a_group(pin="n" * 254)), "groups[0].pin"),
    Case("a role that is too long", a_unit("u", a_group(role="r" * 254)), "groups[0].role"),
    Case("a negative demand", a_unit("u", a_group(cpu=-1)), "groups[0].class.demand[cpu]"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_item_is_named_and_disturbs_nobody(case: Case) -> None:
    desk = Desk()
    answer = desk.submit(a_unit("before"), case.unit, a_unit("after"))
    fields = {item: refusal.field for item, refusal in answer.refused}
    assert fields == ({1: case.want_field} if case.want_field else {})
    for _, refusal in answer.refused:
        assert refusal.status is Status.INVALID_ARGUMENT
        assert refusal.reason
    assert desk.word("before") == desk.word("after") == "WAITING"
    assert (desk.word(case.unit.key) == "WAITING") is not bool(case.want_field)


@pytest.mark.parametrize(
    ("column", "value", "want_field"),
    [
        ("klass", 1, "groups[0].class"),
        ("pin", 0, "groups[0].pin"),
        ("pin", -2, "groups[0].pin"),
    ],
)
def test_index_of_nothing_is_refused(column: str, value: int, want_field: str) -> None:
    desk, body = Desk(), a_submit(a_unit("u"))
    getattr(body.groups, column)[0] = value
    answer = desk.ask(body)
    assert isinstance(answer, Acks)
    assert [refusal.field for _, refusal in answer.refused] == [want_field]


@pytest.mark.parametrize(
    "fields",
    [
        {"keys": ("u", "v")},
        {"roles": ("a", "b")},
        {"units": msgspec.UNSET},
    ],
    ids=["more keys than units", "more roles than groups", "groups do not add up"],
)
def test_columns_that_do_not_fit_are_refused_whole(fields: dict[str, Any]) -> None:
    body = a_submit(a_unit("u"))
    if fields.get("units") is msgspec.UNSET:
        body.units.groups[0] = 2
    else:
        body = msgspec.structs.replace(body, **fields)
    answer = Desk().ask(body)
    assert isinstance(answer, Refusal)
    assert answer.status is Status.INVALID_ARGUMENT


def test_ack_and_assignment_stand_behind_the_record() -> None:
    desk = Desk()
    desk.scheduler()
    desk.submit(a_unit("u"))
    kinds = [type(effect) for effect in desk.effects if type(effect) in _ORDERED]
    assert kinds == [Persist, Answer, Send]


_ORDERED = (Persist, Answer, Send)


def test_same_key_and_content_is_acked_again_without_a_record() -> None:
    desk = Desk()
    unit = a_unit("u", a_group(count=2, role="worker", pin="n1"), a_group(cpu=5))
    desk.submit(unit)
    records = len(desk.log)
    assert desk.submit(unit).refused == ()
    assert len(desk.log) == records


@pytest.mark.parametrize(
    "other",
    [
        a_unit("u", priority=1),
        a_unit("u", a_group(cpu=2000)),
        a_unit("u", a_group(count=2)),
        a_unit("u", a_group(pin="n1")),
        a_unit("u", a_group(role="r")),
        a_unit("u", a_group(), a_group()),
        a_unit("u", a_group(profile="other")),
    ],
)
def test_same_key_with_other_content_is_refused_in_every_state(other: Any) -> None:
    desk = Desk()
    desk.scheduler()
    desk.binder()
    desk.submit(a_unit("u"))
    changes: list[Callable[[], None]] = [lambda: None, lambda: desk.bind("u"), desk.restart]
    for change in changes:
        change()
        ((_, refusal),) = desk.submit(other).refused
        assert (refusal.status, refusal.field) == (Status.ALREADY_EXISTS, "key")
        assert desk.submit(a_unit("u")).refused == ()


def test_class_is_the_same_however_it_is_written() -> None:
    desk = Desk()
    first = GroupSpec(klass=msgspec.structs.replace(a_class(), selector=(("a", "1"), ("b", "2"))))
    again = GroupSpec(klass=msgspec.structs.replace(a_class(), selector=(("b", "2"), ("a", "1"))))
    desk.submit(a_unit("u", first))
    assert desk.submit(a_unit("u", again)).refused == ()


def test_key_twice_in_a_batch_is_one_unit() -> None:
    desk = Desk()
    answer = desk.submit(a_unit("u"), a_unit("v"), a_unit("u"), a_unit("u", priority=3))
    assert [(item, refusal.status) for item, refusal in answer.refused] == [
        (3, Status.ALREADY_EXISTS)
    ]
    assert [view.key for view in desk.core.units()] == ["u", "v"]


def test_units_beyond_the_limit_are_told_when_to_try_again() -> None:
    desk = Desk(DispatcherConfig(units_max=2, retry_after_ms=77))
    answer = desk.submit(*(a_unit(f"u{i}") for i in range(4)))
    assert [item for item, _ in answer.refused] == [2, 3]
    for _, refusal in answer.refused:
        assert (refusal.status, refusal.retry_after_ms) == (Status.RESOURCE_EXHAUSTED, 77)
    desk.cancel("u0")
    assert desk.submit(a_unit("u2")).refused == ()


def test_replicas_beyond_the_limit_are_refused() -> None:
    desk = Desk(DispatcherConfig(replicas_max=10))
    answer = desk.submit(a_unit("u", a_group(count=8)), a_unit("v", a_group(count=3)))
    assert [item for item, _ in answer.refused] == [1]


def test_batches_of_many_shapes_come_back_as_they_went_in() -> None:
    desk = Desk()
    units = [
        a_unit(f"u{i:02}", *(a_group(cpu=g + 1, count=1 + (i + g) % 5) for g in range(1 + i % 4)))
        for i in range(40)
    ]
    desk.submit(*units)
    for unit in units:
        view = desk.core.unit(unit.key)
        assert view is not None
        want = [(g, o) for g, group in enumerate(unit.groups) for o in range(group.count)]
        assert [(r.group, r.ordinal) for r in view.replicas] == want
    assert desk.core.summary().words == {"WAITING": 40}


def test_forgotten_classes_and_names_make_room() -> None:
    desk = Desk(DispatcherConfig(classes_max=4, names_max=4, finished_max=1))
    desk.scheduler()
    for i in range(60):
        key = f"u{i}"
        desk.submit(a_unit(key, a_group(cpu=i + 1, pin=f"n{i}", role=f"r{i}")))
        row = desk.assigned[key]
        (_, assign) = desk.sent(Assign)[0]
        assert assign.pins == (f"n{i}",)
        assert row["pin"] == 0
        desk.binder()
        desk.cancel(key)
        desk.settle(desk.outcome(key, Verdict.CANCELLED))
    assert len(desk.core._table.classes.entries) < 20
    assert len(desk.core._table.names.entries) < 20
    desk.write_outcomes()
    desk.restart()
    assert desk.word("u59") == "CANCELLED"


def test_garbage_in_columns_never_crashes() -> None:
    rng = np.random.default_rng(7)
    for _ in range(200):
        desk, body = Desk(), a_submit(a_unit("a"), a_unit("b", a_group(), a_group(cpu=2)))
        table = body.groups if rng.random() < 0.7 else body.units
        name = str(rng.choice([n for n in table.types if n not in ("uid_hi", "uid_lo")]))
        column = getattr(table, name)
        info = np.iinfo(column.dtype)
        column[int(rng.integers(len(column)))] = rng.integers(
            info.min, info.max, dtype=column.dtype
        )
        answer = desk.ask(body)
        assert isinstance(answer, Acks | Refusal)
        assert isinstance(body, Submit)
