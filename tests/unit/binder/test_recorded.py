"""Units without objects: placed and ended by one write of their record, whatever becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from cell.home import (
    Code,
    GangRecord,
    HomeGroup,
    HomeUnit,
    LeaseLost,
    Member,
    ObjectState,
    ReadRecord,
    RecordView,
    Write,
)
from cell.reasons import Reason
from cell.unit import CommandOp, Verdict
from tests.unit.binder.api_builders import ApiBinder
from tests.unit.binder.builders import a_class, a_command, a_gang

BOUND, FAILED, REJECTED, RELEASED = (
    Verdict.BOUND,
    Verdict.FAILED,
    Verdict.REJECTED,
    Verdict.RELEASED,
)
NODES = ("n0", "n1")


def a_unit(version: int = 5, members: tuple[Member, ...] | None = None, **fields: Any) -> HomeUnit:
    """A gang of two; `members` of its record, if it has one."""
    record = None if members is None else GangRecord(1, 1, 1, 0, 0, (), members, "u1")
    kept = RecordView(version, record)
    groups = (HomeGroup(a_class().encoded(), count=2, min=2),)
    return HomeUnit(1, 1, "u1", groups=groups, kept=kept, **fields)


def members(**states: ObjectState) -> tuple[Member, ...]:
    return tuple(
        Member(0, i, 0, node, states.get(node, ObjectState.BOUND)) for i, node in enumerate(NODES)
    )


def a_binder(*units: HomeUnit) -> ApiBinder:
    """A binder that was shown units."""
    binder = ApiBinder(post_retry_ms=100)
    binder.show(units=units or (a_unit(),))
    return binder


def planned() -> ApiBinder:
    """One that was asked to place both replicas: the write is under way."""
    binder = a_binder()
    binder.plan(a_gang(1, [0, 1]))
    return binder


def test_gang_is_written_whole_and_bound_when_that_is_answered() -> None:
    binder = planned()
    (call,) = binder.calls
    assert (call.version, call.record.members) == (5, members())
    assert binder.verdicts() == []
    assert binder.used() == {"n0": 1000, "n1": 1000}
    binder.answer(Write, version=6)
    assert binder.verdicts() == [BOUND, BOUND]
    binder.show(units=(a_unit(6, members()),))
    assert (len(binder.told()), binder.calls) == (2, [])


def test_watch_may_be_faster_than_the_answer() -> None:
    binder = planned()
    binder.show(units=(a_unit(6, members()),))
    assert binder.verdicts() == [BOUND, BOUND]
    binder.answer(Write, version=6)
    assert (len(binder.told()), binder.calls) == (2, [])


@pytest.mark.parametrize("code", [Code.CONFLICT, Code.UNKNOWN])
def test_what_is_read_says_whether_it_was_written(code: Code) -> None:
    binder = planned()
    binder.answer(Write, code)
    assert binder.used() == {"n0": 1000, "n1": 1000}
    binder.answer(ReadRecord, kept=a_unit(6, members()).kept)
    assert binder.verdicts() == [BOUND, BOUND]
    assert binder.calls == []


@pytest.mark.parametrize("version", [5, 8], ids=["not yet", "never: somebody has labelled it"])
def test_what_was_not_written_is_written_over_what_was_read(version: int) -> None:
    binder = planned()
    binder.answer(Write, Code.UNKNOWN)
    binder.answer(ReadRecord, kept=RecordView(version, None))
    assert binder.answer(Write, version=9).version == version
    assert binder.verdicts() == [BOUND, BOUND]


def test_unit_that_is_gone_gives_its_room_back() -> None:
    binder = planned()
    binder.answer(Write, Code.GONE)
    assert binder.told() == [(1, REJECTED, Reason.HOME_GONE, -1)]
    binder.answer(ReadRecord, Code.GONE)
    assert (binder.used(), binder.calls) == ({}, [])


def test_end_of_a_unit_ends_what_is_bound() -> None:
    binder = a_binder(a_unit(5, members()))
    binder.show(units=(a_unit(6, members(), is_over=True),))
    assert binder.verdicts() == [BOUND, BOUND, FAILED, FAILED]
    assert (binder.used(), binder.calls) == ({}, [])


def test_node_that_is_gone_fails_what_it_had() -> None:
    binder = a_binder(a_unit(5, members()))
    binder.show(removed=("n1",))
    assert binder.verdicts() == [BOUND, BOUND]
    wrote = binder.answer(Write, version=6)
    assert wrote.record.members == members(n1=ObjectState.FAILED)
    assert binder.told()[-1] == (1, FAILED, Reason.NODE_GONE, 1)


def test_report_is_settled_when_it_is_written() -> None:
    binder = a_binder(a_unit(5, members()))
    binder.command(a_command(CommandOp.FREE, ordinal=0))
    assert binder.verdicts() == [BOUND, BOUND]
    wrote = binder.answer(Write, version=6)
    assert wrote.record.members == members(n0=ObjectState.DONE)
    assert binder.told()[-1] == (1, RELEASED, Reason.REPORTED_DONE, 0)
    assert binder.used() == {"n1": 1000}


def test_new_leader_tells_what_is_bound_before_what_has_ended() -> None:
    binder = a_binder(a_unit(5, members(n0=ObjectState.FAILED)))
    told = [(told[1], told[3]) for told in binder.told()]
    assert told == [(BOUND, 0), (BOUND, 1), (FAILED, 0)]


@pytest.mark.parametrize(("is_sent", "want"), [(True, 2), (False, 0)])
def test_without_the_lease_room_is_kept_for_what_may_be_written(is_sent: bool, want: int) -> None:
    binder = planned()
    if not is_sent:
        binder.answer(Write, Code.THROTTLED)
    binder.handle(LeaseLost())
    assert len(binder.claims()) == want
    binder.wait(200)
    assert [kind for kind in binder.kinds() if kind == "Write"] == ["Write"] * bool(is_sent)
