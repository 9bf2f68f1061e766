"""Gangs whose members arrive one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from cell.messages import Acks, Join, Member
from cell.reasons import Reason, Status
from cell.unit import GROUPS_MAX, KEY_BYTES_MAX, REPLICAS_MAX, Phase
from dispatcher.config import DispatcherConfig
from tests.unit.dispatcher.builders import Desk, State, a_class, a_member, a_unit, encoded


def join(desk: Desk, *members: Member) -> list[tuple[int, Status, str]]:
    answer = desk.ask(Join(members))
    assert isinstance(answer, Acks)
    return [(item, refusal.status, refusal.field) for item, refusal in answer.refused]


def a_desk(**fields: int) -> Desk:
    desk = Desk(DispatcherConfig(**fields))
    desk.binder()
    desk.scheduler()
    return desk


def test_gang_waits_until_it_is_whole() -> None:
    desk = a_desk()
    assert join(desk, a_member("b", size=3), a_member("a", size=3)) == []
    assert desk.state("gang") is State.GATHERING
    view = desk.core.unit("gang")
    assert view is not None
    assert (view.word, view.why, view.wakes) == (
        "WAITING",
        "waiting for the rest of the gang",
        ("MEMBERS",),
    )
    assert join(desk, a_member("c", size=3, klass=a_class(5), pin="n1")) == []
    assert desk.assigned_now() == ["gang"]
    assert desk.core.seats("gang") == [(0, 0, "a"), (0, 1, "b"), (1, 0, "c")]


def test_replicas_are_numbered_by_names_whatever_the_order_of_arrival() -> None:
    names = ["a", "b", "c", "d"]
    seats = []
    for order in (names, names[::-1], ["c", "a", "d", "b"]):
        desk = a_desk()
        for name in order:
            klass = a_class(1 if name in "ac" else 2)
            join(desk, a_member(name, size=4, klass=klass))
        seats.append(desk.core.seats("gang"))
    assert seats[0] == [(0, 0, "a"), (0, 1, "c"), (1, 0, "b"), (1, 1, "d")]
    assert seats[1] == seats[2] == seats[0]


def test_incomplete_gang_fails_after_its_time() -> None:
    desk = a_desk()
    desk.after(30)  # The wake of a scheduler that is ready is repeated once.
    join(desk, a_member("a", timeout_ms=500))
    assert desk.wake_at_us == desk.now_us + 500_000
    desk.after(499)
    assert desk.word("gang") == "WAITING"
    desk.after(1)
    view = desk.core.unit("gang")
    assert view is not None
    assert (view.word, view.why) == ("FAILED", "the gang was not complete in time")
    assert desk.changes[-1][4:] == (Phase.FAILED, "", Reason.GANG_INCOMPLETE)
    assert join(desk, a_member("b", timeout_ms=500)) == [(0, Status.FAILED_PRECONDITION, "gang")]
    desk.restart()
    assert desk.word("gang") == "FAILED"


def test_whole_gang_has_no_time_out() -> None:
    desk = a_desk()
    desk.after(30)  # The wake of a scheduler that is ready is repeated once.
    join(desk, a_member("a"), a_member("b"))
    desk.refuse("gang")
    desk.after(5_000)
    assert desk.word("gang") == "WAITING"


@dataclass(frozen=True)
class Case:
    """A member that comes after member "a" of a gang of three."""

    name: str
    member: Member
    want: tuple[Status, str] | None


INVALID = Status.INVALID_ARGUMENT
CASES = [
    Case("another", a_member("b", size=3), None),
    Case("the same again", a_member("a", size=3), None),
    Case(
        "the same, other class",
        a_member("a", size=3, klass=a_class(7)),
        (Status.ALREADY_EXISTS, "name"),
    ),
    Case("another size", a_member("b", size=2), (INVALID, "size")),
    Case("another time-out", a_member("b", size=3, timeout_ms=7), (INVALID, "size")),
    Case("another priority", a_member("b", size=3, priority=7), (INVALID, "size")),
    Case("no name", a_member("", size=3), (INVALID, "name")),
    Case("a long name", a_member("b" * (KEY_BYTES_MAX + 1), size=3), (INVALID, "name")),
    Case("no gang", a_member("b", gang="", size=3), (INVALID, "gang")),
    Case("no size", a_member("b", gang="g", size=0), (INVALID, "size")),
    Case("a great size", a_member("b", gang="g", size=REPLICAS_MAX + 1), (INVALID, "size")),
    Case("no time", a_member("b", gang="g", timeout_ms=0), (INVALID, "timeout_ms")),
    Case("the longest time", a_member("b", gang="g", timeout_ms=86_400_000), None),
    Case("more than that", a_member("b", gang="g", timeout_ms=86_400_001), (INVALID, "timeout_ms")),
    Case("a far priority", a_member("b", gang="g", priority=1 << 31), (INVALID, "priority")),
    Case("a long pin", a_member("b", gang="g", pin="n" * 254), (INVALID, "pin")),
    Case("a bad class", a_member("b", gang="g", klass=a_class(-1)), (INVALID, "class.demand[cpu]")),
    Case("a unit's key", a_member("b", gang="unit"), (Status.ALREADY_EXISTS, "gang")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_member_that_joins(case: Case) -> None:
    desk = a_desk()
    desk.submit(a_unit("unit"))
    join(desk, a_member("a", size=3))
    want = [] if case.want is None else [(0, *case.want)]
    assert join(desk, case.member) == want


def test_too_many_kinds_of_members_are_refused() -> None:
    desk = a_desk()
    size = GROUPS_MAX + 2
    members = [a_member(f"m{i:02}", size=size, klass=a_class(i + 1)) for i in range(size - 1)]
    assert join(desk, *members) == [(GROUPS_MAX, INVALID, "class")]


@pytest.mark.parametrize("limits", [{"gangs_max": 1}, {"units_max": 1}, {"replicas_max": 3}])
def test_gangs_beyond_a_limit_are_told_when_to_try_again(limits: dict[str, Any]) -> None:
    desk = a_desk(**limits)
    assert join(desk, a_member("a"), a_member("a", gang="other")) == [
        (1, Status.RESOURCE_EXHAUSTED, "gang")
    ]


def test_cancelled_gang_ends_and_its_name_can_be_used_once_forgotten() -> None:
    desk = a_desk(finished_max=1)
    join(desk, a_member("a", timeout_ms=500))
    desk.cancel("gang")
    assert desk.word("gang") == "CANCELLED"
    desk.submit(a_unit("u"))
    desk.now_us += 1_000_000
    desk.cancel("u")
    join(desk, a_member("a", gang="more"))
    desk.cancel("more")
    assert join(desk, a_member("a", timeout_ms=60_000)) == []
    desk.after(1_000)
    assert desk.state("gang") is State.GATHERING, "the former gang's time is not this one's"


def test_restart_keeps_members_and_time() -> None:
    desk = a_desk()
    join(desk, a_member("a", timeout_ms=500))
    for log in (desk.log, None):
        if log is None:
            desk.log = encoded(desk.core)
        desk.restart()
        assert desk.state("gang") is State.GATHERING
    assert join(desk, a_member("a", timeout_ms=500)) == []
    assert desk.core._gangs.next_at_us() == desk.now_us + 500_000
    assert join(desk, a_member("b", timeout_ms=500)) == []
    assert desk.state("gang") is State.ACTIVE
    assert [seat[2] for seat in desk.core.seats("gang")] == ["a", "b"]
