"""The core against the fake dispatcher: releases, recovery, refusals, restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from cell.effects import Persist, Send
from cell.messages import Amend, Cancel, Submit
from cell.reasons import Refusal, Status
from cell.release import (
    Call,
    CreateRollingset,
    DeleteRollingset,
    GetRollingset,
    ListRollingsets,
    RollingsetList,
    RollingsetSpec,
    RollingsetView,
    UpdateRollingset,
)
from cell.unit import Phase, Place
from sharding.core import RollingCore
from sharding.spec import Limits
from tests.unit.sharding.builders import Loop, a_column, a_set, changed


def a_served_set(**fields: Any) -> Loop:
    """A loop whose rollingset of version 1 serves with all rows."""
    loop = Loop()
    loop.connect()
    assert isinstance(loop.request(CreateRollingset(a_set(**fields))), RollingsetView)
    loop.settle()
    loop.report_all_ready()
    loop.settle()
    assert loop.view().word == "Settled"
    return loop


def roll(loop: Loop, steps: int, broken: frozenset[int] = frozenset()) -> list[int]:
    """Let the cluster answer `steps` times; the rows serving at the worst moment of each."""
    least = []
    for _ in range(steps):
        loop.settle()
        least.append(loop.serving())
        loop.report_all_ready(broken)
        loop.settle()
    return least


def versions(loop: Loop) -> list[tuple[int, int, int]]:
    return [(v.version, v.rows, v.ready) for v in loop.view().versions]


def test_rows_are_submitted_as_gangs_with_one_group_per_column() -> None:
    loop = Loop()
    loop.connect()
    loop.request(CreateRollingset(a_set(rows=2, columns=3, priority=7)))
    loop.arrive()
    effects = loop.deliver()
    (call,) = [e.body for e in effects if isinstance(e, Send) and isinstance(e.body, Call)]
    assert isinstance(call.body, Submit)
    assert call.body.keys == ("web/0/1", "web/1/2")
    assert call.body.roles == ("part0", "part1", "part2") * 2
    assert len(call.body.classes) == 1, "a class is sent once"
    assert [(r["count"], r["min"]) for r in call.body.groups.rows()] == [(2, 2)] * 6
    assert [r["priority"] for r in call.body.units.rows()] == [7, 7]
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Send), "the row table is durable before the request"


def test_a_row_counts_only_when_all_its_columns_are_ready() -> None:
    loop = Loop()
    loop.connect()
    loop.request(CreateRollingset(a_set(rows=1)))
    loop.settle()
    loop.report("web/0/1", Phase.READY, group=0)
    loop.settle()
    assert loop.view().ready_rows == 0
    assert loop.view().rows[0].ready_replicas == 2
    loop.report("web/0/1", Phase.READY, group=1)
    loop.settle()
    assert loop.view().ready_rows == 1


def test_a_release_goes_row_by_row_and_never_below_the_bound() -> None:
    loop = a_served_set(rows=4)
    loop.request(UpdateRollingset(a_set(2, rows=4)))
    assert roll(loop, 4) == [3, 3, 3, 3]
    view = loop.view()
    assert (view.word, view.latest, view.stable, view.ready_rows) == ("Settled", 2, 2, 4)
    assert [row.key for row in view.rows] == ["web/0/1", "web/1/2", "web/2/3", "web/3/4"]
    assert {row.revision for row in view.rows} == {2}, "each row was amended once"


def test_a_broken_release_stops_at_its_blast_radius_and_says_why() -> None:
    loop = a_served_set(rows=6, max_unavailable=2)
    loop.request(UpdateRollingset(a_set(2, rows=6, max_unavailable=2)))
    roll(loop, 5, broken=frozenset({2}))
    assert versions(loop) == [(1, 4, 4), (2, 2, 0)]
    assert loop.view().why == "2 rows are not ready; row 5: 0 of 4 replicas are ready"
    loop.dispatcher.stopped.clear()
    back = loop.request(UpdateRollingset(a_set(1, rows=6, max_unavailable=2)))
    assert back.latest == 1, "the same content is the same version"
    roll(loop, 1)
    assert versions(loop) == [(1, 6, 6)]
    assert loop.dispatcher.stopped == [], "no serving row is touched by the rollback"


def test_a_version_that_arrives_in_mid_roll_takes_over_the_rows_in_flight() -> None:
    loop = a_served_set(rows=4)
    loop.request(UpdateRollingset(a_set(2, rows=4)))
    loop.settle()
    loop.request(UpdateRollingset(a_set(3, rows=4)))
    loop.settle()
    assert versions(loop) == [(1, 3, 3), (3, 1, 0)]
    roll(loop, 4)
    assert versions(loop) == [(3, 4, 4)]


def test_an_update_while_an_amend_is_in_flight_waits_for_its_answer() -> None:
    loop = a_served_set(rows=3)
    loop.request(UpdateRollingset(a_set(2)))
    loop.request(UpdateRollingset(a_set(3)))
    assert len(loop.to_dispatcher) == 1, "one request per unit at a time"
    loop.settle()
    assert versions(loop) == [(1, 2, 2), (3, 1, 0)]


def test_a_failed_row_comes_back_as_a_new_incarnation_on_its_own_version() -> None:
    loop = a_served_set(rows=3)
    loop.report("web/1/2", Phase.FAILED, group=0)
    loop.settle()
    assert [row.key for row in loop.view().rows] == ["web/0/1", "web/1/4", "web/2/3"]
    assert loop.dispatcher.units["web/1/2"].is_over, "the former unit is cancelled"
    roll(loop, 1)
    assert loop.view().word == "Settled"


def test_a_row_that_keeps_failing_comes_back_ever_later() -> None:
    loop = a_served_set(rows=2)
    waits = []
    for _ in range(4):
        loop.report(loop.view().rows[0].key, Phase.FAILED)
        loop.settle()
        waits.append(max(loop.wake_at_us - loop.now_us, 0) // 1000)
        loop.wait(waits[-1])
        loop.settle()
    assert waits == [0, 1000, 2000, 4000]


def test_a_failed_row_uses_the_budget_so_the_roll_waits_for_it() -> None:
    loop = a_served_set(rows=4)
    loop.report("web/0/1", Phase.FAILED)
    loop.settle()
    loop.dispatcher.stopped.clear()
    loop.request(UpdateRollingset(a_set(2, rows=4)))
    loop.settle()
    assert loop.dispatcher.stopped == [], "the row that is down is converted, no ready one"
    assert loop.view().rows[0].version == 2


def test_pause_scales_and_recovers_but_releases_nothing() -> None:
    loop = a_served_set(rows=2)
    paused = a_set(2, rows=3, is_paused=True)
    loop.request(UpdateRollingset(paused))
    loop.settle()
    loop.report("web/0/1", Phase.FAILED)
    roll(loop, 2)
    assert versions(loop) == [(1, 3, 3)]
    assert loop.view().word == "Paused"
    loop.request(UpdateRollingset(changed(paused, is_paused=False)))
    roll(loop, 3)
    assert versions(loop) == [(2, 3, 3)]


def test_a_canary_keeps_its_share_and_goes_back_when_asked() -> None:
    loop = a_served_set(rows=5)
    loop.request(UpdateRollingset(a_set(2, rows=5, keep="60%")))
    roll(loop, 4)
    assert (versions(loop), loop.view().word) == ([(1, 3, 3), (2, 2, 2)], "Canary")
    loop.request(UpdateRollingset(a_set(2, rows=5, keep="100%")))
    roll(loop, 4)
    assert versions(loop) == [(1, 5, 5)]


def test_scale_in_and_deletion_cancel_units() -> None:
    loop = a_served_set(rows=4)
    loop.request(UpdateRollingset(a_set(rows=2)))
    loop.settle()
    assert [row.ordinal for row in loop.view().rows] == [0, 1]
    loop.request(DeleteRollingset("web"))
    loop.settle()
    assert all(unit.is_over for unit in loop.dispatcher.units.values())
    assert loop.published[-1].word == "Deleted"
    assert loop.request(GetRollingset("web")).status == Status.NOT_FOUND


def test_a_name_used_again_makes_new_keys() -> None:
    loop = a_served_set(rows=1)
    loop.request(DeleteRollingset("web"))
    loop.settle()
    loop.restart()
    loop.connect()
    loop.request(CreateRollingset(a_set(rows=1)))
    roll(loop, 1)
    assert [row.key for row in loop.view().rows] == ["web/0/2"]


# Refusals


def test_a_passing_refusal_is_tried_again_when_the_dispatcher_says() -> None:
    loop = Loop()
    loop.connect()
    loop.dispatcher.refuse = Refusal(Status.RESOURCE_EXHAUSTED, "units", "queue is full", 250)
    loop.request(CreateRollingset(a_set(rows=2)))
    loop.settle()
    assert loop.wake_at_us == loop.now_us + 250_000
    assert loop.view().rows[0].why == "refused: units: queue is full"
    loop.dispatcher.refuse = None
    loop.wait(249)
    assert not loop.to_dispatcher
    loop.wait(1)
    roll(loop, 1)
    assert loop.view().word == "Settled"


def test_a_refused_amend_leaves_the_row_serving_and_is_decided_anew() -> None:
    loop = a_served_set(rows=3)
    loop.dispatcher.refuse = Refusal(Status.UNAVAILABLE, "", "no binder", 100)
    loop.request(UpdateRollingset(a_set(2)))
    loop.settle()
    assert versions(loop) == [(1, 3, 3)]
    loop.request(UpdateRollingset(a_set(1)))
    loop.dispatcher.refuse = None
    loop.dispatcher.stopped.clear()
    loop.wait(100)
    loop.settle()
    assert loop.dispatcher.stopped == []
    assert loop.view().word == "Settled"


def test_a_version_the_dispatcher_will_not_take_stops_and_rolls_back_without_a_restart() -> None:
    loop = a_served_set(rows=3)
    loop.dispatcher.refuse_amount = 2000
    loop.request(UpdateRollingset(a_set(2)))
    loop.settle()
    loop.wait(60_000)
    assert not loop.to_dispatcher, "refused for good: not tried again"
    assert loop.view().rows[2].why == "refused: groups[0].class: is not acceptable here"
    loop.request(UpdateRollingset(a_set(1)))
    loop.settle()
    assert (loop.view().word, loop.dispatcher.stopped) == ("Settled", [])


def test_a_key_that_somebody_else_has_is_left_alone() -> None:
    loop = Loop()
    loop.connect()
    loop.dispatcher.receive(Call(1, a_foreign_submit()))
    loop.dispatcher.report("web/0/1", Phase.READY)
    loop.request(CreateRollingset(a_set(rows=1)))
    loop.settle()
    roll(loop, 1)
    assert loop.dispatcher.units["web/0/1"].is_serving
    assert loop.view().rows[0].key == "web/0/2"


def a_foreign_submit() -> Submit:
    other = Loop()
    other.connect()
    other.request(CreateRollingset(a_set(9, rows=1)))
    other.arrive()
    effects = other.deliver()
    (call,) = [e.body for e in effects if isinstance(e, Send) and isinstance(e.body, Call)]
    assert isinstance(call.body, Submit)
    return call.body


def test_a_unit_amended_by_somebody_else_is_brought_back_within_the_budget() -> None:
    loop = a_served_set(rows=3)
    unit = loop.dispatcher.units["web/0/1"]
    unit.revision, unit.amounts = 2, (7000, 7000)
    loop.report("web/0/1", Phase.READY)
    loop.settle()
    roll(loop, 1)
    view = loop.view()
    assert (view.word, view.rows[0].revision, view.rows[0].version) == ("Settled", 3, 1)


# Sessions and restarts


def test_nothing_is_planned_until_the_dispatcher_has_shown_its_units() -> None:
    loop = a_served_set(rows=3)
    loop.restart()
    loop.request(UpdateRollingset(a_set(2)))
    loop.connect()
    assert [type(body).__name__ for body in loop.to_dispatcher] == ["Watch"]
    assert "waiting for the dispatcher" in loop.view().why
    assert roll(loop, 3) == [2, 2, 2]
    assert versions(loop) == [(2, 3, 3)]


def test_an_amend_lost_with_its_session_is_not_repeated_when_the_floor_forbids_it_now() -> None:
    loop = a_served_set(rows=3)
    loop.request(UpdateRollingset(a_set(2)))
    assert isinstance(loop.to_dispatcher[0].body, Amend)
    loop.disconnect()
    loop.report("web/0/1", Phase.FAILED)
    loop.dispatcher.stopped.clear()
    loop.connect()
    loop.settle()
    assert loop.dispatcher.stopped == []
    roll(loop, 4)
    assert versions(loop) == [(2, 3, 3)]


def test_a_cancel_lost_with_its_session_is_sent_again_after_a_restart() -> None:
    loop = a_served_set(rows=2)
    loop.request(UpdateRollingset(a_set(rows=1)))
    assert isinstance(loop.to_dispatcher[0].body, Cancel)
    loop.restart()
    loop.connect()
    loop.settle()
    assert loop.dispatcher.units["web/1/2"].is_over


def test_a_snapshot_stands_for_the_whole_log() -> None:
    loop = a_served_set(rows=3)
    loop.request(UpdateRollingset(a_set(2)))
    roll(loop, 1)
    loop.request(UpdateRollingset(a_set(2, rows=2)))
    restored = RollingCore()
    restored.restore(loop.core.snapshot())
    assert restored.snapshot() == loop.core.snapshot()
    loop.restart()
    assert loop.core.snapshot() == restored.snapshot()


def test_a_doubled_or_unknown_answer_changes_nothing() -> None:
    loop = a_served_set(rows=2)
    before = loop.core.snapshot()
    loop.request(UpdateRollingset(a_set(2, rows=2)))
    loop.arrive()
    answer = loop.to_core[0]
    loop.settle()
    loop.to_core.extend([answer, answer])
    loop.settle()
    assert versions(loop) == [(1, 1, 1), (2, 1, 0)]
    assert before != loop.core.snapshot()
    assert not loop.to_dispatcher


# Requests


@dataclass(frozen=True)
class BadRequest:
    body: Any
    want_status: Status
    want_field: str


def bad_set(**fields: Any) -> CreateRollingset:
    return CreateRollingset(changed(a_set(name="other"), **fields))


INVALID, NOT_YET = Status.INVALID_ARGUMENT, Status.UNIMPLEMENTED
BAD_REQUESTS = {
    "no name": BadRequest(bad_set(name=""), INVALID, "name"),
    "a slash in the name": BadRequest(bad_set(name="a/b"), INVALID, "name"),
    "a name too long": BadRequest(bad_set(name="x" * 201), INVALID, "name"),
    "negative rows": BadRequest(bad_set(rows=-1), INVALID, "rows"),
    "too many rows": BadRequest(bad_set(rows=1001), INVALID, "rows"),
    "no columns": BadRequest(bad_set(columns=()), INVALID, "columns"),
    "too many columns": BadRequest(
        bad_set(columns=tuple(a_column(f"c{i}") for i in range(17))), INVALID, "columns"
    ),
    "a column named twice": BadRequest(
        bad_set(columns=(a_column("a"), a_column("a"))), INVALID, "columns[1].name"
    ),
    "a column's name too long": BadRequest(
        bad_set(columns=(a_column("x" * 201),)), INVALID, "columns[0].name"
    ),
    "too many replicas of a column": BadRequest(
        bad_set(columns=(a_column(count=4097),)), INVALID, "columns[0].count"
    ),
    "one replica too many": BadRequest(
        bad_set(columns=(a_column("a", count=4096), a_column("b"))), INVALID, "columns"
    ),
    "no replicas": BadRequest(bad_set(columns=(a_column(count=0),)), INVALID, "columns[0].count"),
    "a row too large": BadRequest(
        bad_set(columns=(a_column("a", count=4000), a_column("b", count=4000))), INVALID, "columns"
    ),
    "a negative request": BadRequest(
        bad_set(columns=(a_column(cpu=-1),)), INVALID, "columns[0].class.demand[cpu]"
    ),
    "a budget of zero": BadRequest(bad_set(max_unavailable=0), INVALID, "max_unavailable"),
    "a budget that rounds to zero": BadRequest(
        bad_set(max_unavailable="25%"), INVALID, "max_unavailable"
    ),
    "a budget that is no amount": BadRequest(
        bad_set(max_unavailable="-1"), INVALID, "max_unavailable"
    ),
    "more than all": BadRequest(bad_set(keep="101%"), INVALID, "keep"),
    "surge": BadRequest(bad_set(max_surge=1), NOT_YET, "max_surge"),
    "a place": BadRequest(bad_set(place=Place.SAME_NODE), NOT_YET, "place"),
    "an absurd priority": BadRequest(bad_set(priority=1 << 40), INVALID, "priority"),
    "another spec under the same name": BadRequest(
        CreateRollingset(a_set(2)), Status.ALREADY_EXISTS, "name"
    ),
    "an unknown name": BadRequest(GetRollingset("nobody"), Status.NOT_FOUND, "name"),
    "deletion of an unknown name": BadRequest(DeleteRollingset("nobody"), Status.NOT_FOUND, "name"),
    "a stale generation": BadRequest(
        UpdateRollingset(a_set(2), generation=7), Status.FAILED_PRECONDITION, "generation"
    ),
    "another shape": BadRequest(UpdateRollingset(a_set(columns=1)), NOT_YET, "columns"),
    "another priority": BadRequest(UpdateRollingset(a_set(priority=1)), NOT_YET, "priority"),
    "no request at all": BadRequest(object(), NOT_YET, "object"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_bad_request_is_answered_with_field_and_reason_and_changes_nothing(
    case: BadRequest,
) -> None:
    loop = a_served_set()
    before = loop.core.snapshot()
    answer = loop.request(case.body)
    assert isinstance(answer, Refusal), answer
    assert (answer.status, answer.field) == (case.want_status, case.want_field)
    assert answer.reason
    assert loop.core.snapshot() == before


@pytest.mark.parametrize(
    "spec",
    [
        a_set(name="x" * 200),
        a_set(columns=16),
        changed(a_set(), columns=(a_column("y" * 200, count=4096),)),
    ],
    ids=["name", "columns", "replicas"],
)
def test_a_rollingset_at_a_limit_is_taken(spec: Any) -> None:
    loop = Loop()
    loop.connect()
    assert isinstance(loop.request(CreateRollingset(spec)), RollingsetView)


def test_limits_of_rollingsets_and_versions_are_kept() -> None:
    loop = Loop(Limits(rollingsets_max=1, versions_max=2))
    loop.connect()
    loop.request(CreateRollingset(a_set()))
    answer = loop.request(CreateRollingset(a_set(name="other")))
    assert (answer.status, answer.field) == (Status.RESOURCE_EXHAUSTED, "name")
    roll(loop, 1)
    loop.request(UpdateRollingset(a_set(2)))
    loop.settle()
    answer = loop.request(UpdateRollingset(a_set(3)))
    assert (answer.status, answer.field) == (Status.RESOURCE_EXHAUSTED, "columns")


def test_a_repeated_request_is_answered_alike_and_makes_nothing_new() -> None:
    loop = a_served_set()
    again = loop.request(CreateRollingset(a_set()))
    assert isinstance(again, RollingsetView)
    assert again.generation == 1
    first = loop.request(UpdateRollingset(a_set(rows=4)))
    second = loop.request(UpdateRollingset(a_set(rows=4)))
    assert first.generation == second.generation == 2
    listed = loop.request(ListRollingsets())
    assert isinstance(listed, RollingsetList)
    assert [view.spec.name for view in listed.views] == ["web"]


def test_a_deleted_name_takes_no_update_while_its_units_end() -> None:
    loop = a_served_set()
    loop.request(DeleteRollingset("web"))
    for body in (CreateRollingset(a_set()), UpdateRollingset(a_set(2))):
        assert loop.request(body).status == Status.FAILED_PRECONDITION
    assert loop.request(DeleteRollingset("web")).word == "Deleting"


def test_calls_are_cut_at_their_limit() -> None:
    loop = Loop(Limits(call_items_max=4))
    loop.connect()
    loop.request(CreateRollingset(a_set(rows=10)))
    loop.arrive()
    loop.deliver()
    assert [len(body.body.keys) for body in loop.to_dispatcher] == [4, 4, 2]


def test_specs_read_well_in_messages() -> None:
    spec: RollingsetSpec = a_set(rows=3, max_unavailable="25%")
    answer = Loop().request(CreateRollingset(spec))
    assert answer.reason.startswith("25% of 3 rows is less than one row")
