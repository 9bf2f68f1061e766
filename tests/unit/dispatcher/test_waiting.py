"""Who waits, in what order, and what wakes whom."""

from __future__ import annotations

import pytest

from cell.messages import Assign
from cell.reasons import Reason, Wake
from cell.unit import Phase, Verdict
from dispatcher.config import DispatcherConfig
from tests.unit.dispatcher.builders import Desk, State, a_group, a_unit


def a_desk(**fields: int) -> Desk:
    desk = Desk(DispatcherConfig(**fields))
    desk.binder()
    desk.scheduler()
    return desk


def a_full_desk(count: int, **fields: int) -> Desk:
    """Units u00, u01, ... of one shape, all parked for want of room."""
    desk = a_desk(**fields)
    keys = [f"u{i:02}" for i in range(count)]
    desk.submit(*(a_unit(key) for key in keys))
    desk.refuse(*keys)
    assert {desk.state(key) for key in keys} == {State.PARKED}
    return desk


def test_order_is_priority_then_age() -> None:
    desk = Desk()
    desk.submit(a_unit("a", priority=0), a_unit("b", priority=-5))
    desk.submit(a_unit("c", priority=7), a_unit("d", priority=0))
    desk.scheduler()
    assert desk.assigned_now() == ["c", "a", "d", "b"]


def test_lost_scheduler_gives_its_units_back_at_their_age() -> None:
    desk = Desk()
    desk.scheduler("s0")
    desk.submit(a_unit("old"))
    desk.submit(a_unit("mid"))
    desk.submit(a_unit("new"))
    first = desk.assigned["old"]["attempt"]
    desk.down("s0")
    assert desk.word("old") == "WAITING"
    desk.scheduler("s1")
    assert desk.assigned_now("s1") == ["old", "mid", "new"]
    assert desk.assigned["old"]["attempt"] > first


def test_unready_scheduler_gives_a_unit_back_for_another() -> None:
    desk = Desk()
    desk.scheduler("s0")
    desk.submit(a_unit("u"))
    desk.scheduler("s1")
    desk.refuse("u", reason=Reason.SCHEDULER_UNREADY, wakes=0)
    assert desk.assigned_now() == ["u"]


def test_answer_to_a_void_attempt_changes_nothing() -> None:
    desk = Desk()
    desk.scheduler("s0")
    desk.submit(a_unit("u"))
    before = desk.assigned["u"]
    desk.down("s0")
    desk.scheduler("s0")
    now = desk.assigned["u"]
    desk.assigned["u"] = before
    desk.refuse("u")
    assert desk.state("u") is State.FLIGHT
    desk.assigned["u"] = now
    desk.refuse("u")
    desk.refuse("u")
    assert desk.state("u") is State.PARKED


def test_conflicts_back_off_longer_each_time_up_to_a_limit() -> None:
    desk = a_desk(backoff_ms_min=10, backoff_ms_max=200)
    desk.submit(a_unit("u"))
    waits = []
    for _ in range(8):
        desk.settle(desk.outcome("u", Verdict.REJECTED, reason=Reason.CONFLICT))
        assert desk.state("u") is State.BACKOFF
        refused_us = desk.now_us
        while desk.state("u") is State.BACKOFF:
            desk.after((desk.wake_at_us - desk.now_us) / 1000)
        waits.append((desk.now_us - refused_us) / 1000)
    assert all(5 <= wait <= 202 for wait in waits)
    for i, wait in enumerate(waits[:4]):
        assert 5 * 2**i <= wait <= 10 * 2**i + 2
    assert waits[-1] > 90


def test_losers_of_one_conflict_do_not_meet_again() -> None:
    desk = a_desk(backoff_ms_min=200, backoff_ms_max=200)
    keys = [f"u{i}" for i in range(20)]
    desk.submit(*(a_unit(key) for key in keys))
    desk.settle(*(desk.outcome(k, Verdict.REJECTED, reason=Reason.CONFLICT) for k in keys))
    at: set[int] = set()
    while any(desk.state(key) is State.BACKOFF for key in keys):
        at.add(desk.wake_at_us)
        desk.after((desk.wake_at_us - desk.now_us) / 1000)
    assert len(at) > 10


@pytest.mark.parametrize(
    ("wakes", "event", "want_tried"),
    [
        (Wake.ROOM_FREED, Wake.ROOM_FREED, True),
        (Wake.NODE_ADDED | Wake.NODE_CHANGED, Wake.NODE_CHANGED, True),
        (Wake.NODE_ADDED | Wake.NODE_CHANGED, Wake.ROOM_FREED, False),
        (Wake.NODE_ADDED, Wake.ALL, True),
        (Wake.NONE, Wake.ROOM_FREED, True),
    ],
    ids=["the one", "one of two", "another", "all", "unknown wakers: any"],
)
def test_parked_unit_wakes_for_what_could_help(wakes: Wake, event: Wake, want_tried: bool) -> None:
    desk = a_desk()
    desk.submit(a_unit("u"))
    desk.refuse("u", wakes=wakes)
    assert desk.state("u") is State.PARKED
    desk.settle(wakes=event)
    assert (desk.state("u") is State.FLIGHT) is want_tried


def test_wake_while_a_try_is_under_way_is_not_lost() -> None:
    desk = a_desk(wake_echo_ms=60_000)
    desk.submit(a_unit("u"))
    desk.settle(wakes=Wake.ROOM_FREED)
    desk.refuse("u")
    assert desk.state("u") is State.FLIGHT, "room was freed after it was assigned"
    desk.refuse("u")
    assert desk.state("u") is State.PARKED


def test_what_does_not_last_is_told_to_nobody() -> None:
    desk = a_desk(news_ms=100)
    desk.submit(a_unit("u"))
    desk.after(99)
    desk.bind("u")
    desk.after(1_000)
    assert [phase for *_, phase, _, _ in desk.changes] == [Phase.BOUND]


def test_what_lasts_is_told_once() -> None:
    desk = a_desk(news_ms=100)
    desk.submit(a_unit("u"))
    desk.after(100)
    assert [phase for *_, phase, _, _ in desk.changes] == [Phase.PLACING]
    desk.down("s0")
    desk.after(99)
    assert len(desk.changes) == 1
    desk.after(1)
    assert [phase for *_, phase, _, _ in desk.changes] == [Phase.PLACING, Phase.WAITING]
    desk.after(1_000)
    assert len(desk.changes) == 2


def test_why_a_unit_waits_is_told_at_once_and_stays() -> None:
    desk = a_desk(news_ms=100, wake_echo_ms=60_000)
    desk.submit(a_unit("u"))
    desk.refuse("u")
    told = [(phase, reason != Reason.NONE) for *_, phase, _, reason in desk.changes]
    assert told == [(Phase.WAITING, True)]
    desk.after(1_000)
    assert len(desk.changes) == 1


def test_wake_is_repeated_until_the_scheduler_has_heard_of_it() -> None:
    desk = a_full_desk(1, wake_echo_ms=30)
    desk.settle(wakes=Wake.ROOM_FREED)
    for _ in range(3):
        desk.refuse("u00", behind=1)
        assert desk.state("u00") is State.PARKED
        desk.after(30)
        assert desk.state("u00") is State.FLIGHT
    desk.refuse("u00")
    desk.after(1_000)
    assert desk.state("u00") is State.PARKED


def test_news_that_does_not_help_need_not_be_heard() -> None:
    desk = a_desk(wake_echo_ms=30)
    desk.submit(a_unit("u"))
    desk.settle(wakes=Wake.ROOM_FREED)
    desk.refuse("u", wakes=Wake.NODE_ADDED, behind=1)
    desk.after(1_000)
    assert desk.state("u") is State.PARKED


def test_one_wake_tries_few_and_success_wakes_more() -> None:
    desk = a_full_desk(40, wave_min=2, wake_echo_ms=60_000)
    desk.settle(wakes=Wake.ROOM_FREED)
    assert desk.assigned_now() == ["u00", "u01"]
    desk.bind("u00")
    assert desk.assigned_now() == []
    desk.bind("u01")
    assert desk.assigned_now() == ["u02", "u03", "u04", "u05"]
    desk.refuse("u03")
    desk.settle(*(desk.outcome(key, Verdict.BOUND) for key in ("u02", "u04", "u05")))
    assert desk.assigned_now() == [], "one refusal ends the wave"
    desk.settle(wakes=Wake.ROOM_FREED)
    assert desk.assigned_now() == ["u03", "u06"]


def test_wave_is_not_stopped_by_a_try_that_ends_otherwise() -> None:
    desk = a_full_desk(4, wave_min=2, wake_echo_ms=60_000)
    desk.settle(wakes=Wake.ROOM_FREED)
    desk.cancel("u00")
    desk.bind("u01")
    assert desk.assigned_now() == ["u02", "u03"]


def test_other_shape_is_woken_too() -> None:
    desk = a_desk(wave_min=1)
    desk.submit(a_unit("big", a_group(cpu=8000)), a_unit("big2", a_group(cpu=8000)), a_unit("wee"))
    desk.refuse("big", "big2", "wee")
    desk.settle(wakes=Wake.ROOM_FREED)
    assert desk.assigned_now() == ["big", "wee"]


def test_shape_that_nothing_wakes_is_tried_after_a_time() -> None:
    desk = a_full_desk(3, wave_min=1, parked_retry_ms_max=500)
    desk.after(30)  # The wake of a scheduler that is ready is repeated once.
    desk.refuse("u00")
    desk.after(499)
    assert desk.assigned_now() == []
    desk.after(1)
    assert desk.assigned_now() == ["u00"]
    desk.refuse("u00")
    desk.after(500)
    assert desk.assigned_now() == ["u00"]


def test_tries_at_once_are_limited_and_the_rest_follows() -> None:
    desk = a_desk(woken_max=3, wave_min=1, wake_echo_ms=60_000)
    keys = [f"u{i}" for i in range(9)]
    desk.submit(*(a_unit(key, a_group(cpu=i + 1)) for i, key in enumerate(keys)))
    desk.refuse(*keys)
    desk.settle(wakes=Wake.ROOM_FREED)
    tried = desk.assigned_now()
    assert len(tried) == 3
    while desk.assigned_now():
        now = desk.assigned_now()
        desk.refuse(*now)
        tried += desk.assigned_now()
    assert sorted(tried) == keys


def test_shapes_looked_at_in_one_call_are_limited_and_the_rest_follows() -> None:
    assert DispatcherConfig().shapes_per_call_max == 1024
    desk = a_desk(wave_min=1, wake_echo_ms=60_000, shapes_per_call_max=2)
    keys = [f"u{i}" for i in range(4)]
    desk.submit(*(a_unit(key, a_group(cpu=i + 1)) for i, key in enumerate(keys)))
    desk.refuse(*keys)
    desk.settle(wakes=Wake.ROOM_FREED)
    assert desk.assigned_now() == keys[:2]
    desk.after(0)
    assert desk.assigned_now() == keys[2:]


def test_cancelled_unit_leaves_without_a_trace_in_any_set() -> None:
    desk = a_full_desk(3)
    desk.submit(a_unit("backing"), a_unit("active", a_group(profile="none")))
    desk.settle(desk.outcome("backing", Verdict.REJECTED, reason=Reason.CONFLICT))
    desk.cancel("u01", "backing", "active")
    desk.settle(desk.outcome("u01", Verdict.CANCELLED), desk.outcome("backing", Verdict.CANCELLED))
    assert {desk.word(key) for key in ("u01", "backing", "active")} == {"CANCELLED"}
    desk.settle(wakes=Wake.ALL)
    desk.after(10_000)
    assert "u01" not in desk.assigned_now()


def test_line_of_why_says_what_kept_nodes_away() -> None:
    desk = a_desk()
    desk.submit(a_unit("u"))
    short = [(Reason.TAINT, 400), (Reason.INSUFFICIENT_RESOURCE, 600)]
    desk.refuse("u", short=short)
    view = desk.core.unit("u")
    assert view is not None
    assert view.why == "no node fits: 600 insufficient cpu, 400 untolerated taint"
    assert view.wakes == ("ROOM_FREED", "NODE_ADDED", "NODE_CHANGED")
    assert desk.core.summary().why == {view.why: 1}
    assert desk.changes[-1][4:] == (Phase.WAITING, "", Reason.INSUFFICIENT_RESOURCE)


def test_profile_that_nobody_runs_is_told_and_cured_by_who_runs_it() -> None:
    desk = a_desk()
    desk.submit(a_unit("u", a_group(profile="batch")), a_unit("v"))
    assert desk.assigned_now() == ["v"]
    view = desk.core.unit("u")
    assert view is not None
    assert view.why == "no scheduler has the profile batch"
    assert desk.state("u") is State.PARKED
    desk.settle(wakes=Wake.ALL)
    assert desk.state("u") is State.PARKED
    desk.scheduler("s1", ("default", "batch"))
    assert desk.assigned_now("s1") == ["u"]


def test_unit_that_needs_two_profiles_goes_to_who_has_both() -> None:
    desk = Desk()
    desk.scheduler("s0", ("default",))
    desk.scheduler("s1", ("default", "batch"))
    desk.submit(a_unit("u", a_group(), a_group(profile="batch")))
    assert desk.assigned_now() == ["u"]
    assert desk.sent(Assign)[0][0] == "s1"


def test_without_schedulers_a_unit_says_so() -> None:
    desk = Desk()
    desk.submit(a_unit("u"))
    view = desk.core.unit("u")
    assert view is not None
    assert view.why == "no scheduler is connected"
    assert desk.state("u") is State.ACTIVE
