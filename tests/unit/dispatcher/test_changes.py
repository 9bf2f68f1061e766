"""Cancel, Amend, Report: what is refused, what the binder is asked, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from cell.effects import Request
from cell.messages import Acks, Amend, Cancel, Join, Report, ReportRows
from cell.reasons import Reason, Status
from cell.unit import WHOLE_UNIT, CommandOp, GroupSpec, Phase, Place, Verdict
from dispatcher.config import DispatcherConfig
from tests.unit.dispatcher.builders import (
    Desk,
    State,
    a_group,
    a_member,
    a_report,
    a_submit,
    a_unit,
    encoded,
)
from tests.unit.dispatcher.test_settling import a_desk, phases


def a_bound_desk(*groups: GroupSpec) -> Desk:
    """Unit "u", all of it bound."""
    desk = a_desk(a_unit("u", *groups))
    desk.settle(
        *(
            desk.outcome("u", Verdict.BOUND, group=g, ordinal=o)
            for g, group in enumerate(groups or (a_group(),))
            for o in range(group.count)
        )
    )
    assert desk.state("u") is State.HELD
    return desk


def ops(desk: Desk) -> list[tuple[CommandOp, int, int, int]]:
    """(op, revision, group, ordinal) of all commands so far; they are forgotten."""
    found = [
        (CommandOp(row["op"]), row["revision"], row["group"], row["ordinal"])
        for row in desk.commands
    ]
    desk.commands.clear()
    return found


# Cancel


def test_unit_that_was_never_given_out_ends_at_once() -> None:
    desk = Desk()
    desk.binder()
    desk.submit(a_unit("u"))
    assert desk.cancel("u").refused == ()
    assert (desk.word("u"), ops(desk)) == ("CANCELLED", [])


@pytest.mark.parametrize("is_bound", [True, False])
def test_cancel_is_settled_by_the_binder(is_bound: bool) -> None:
    desk = a_desk(a_unit("u"))
    if is_bound:
        desk.bind("u")
    desk.cancel("u")
    assert ops(desk) == [(CommandOp.CANCEL, 1, 0, WHOLE_UNIT)]
    assert desk.state("u") is State.COMMANDED
    desk.settle(desk.outcome("u", Verdict.CANCELLED))
    assert (desk.word("u"), desk.state("u")) == ("CANCELLED", State.FINISHED)
    assert desk.changes[-1][4:] == (Phase.CANCELLED, "n0" if is_bound else "", Reason.CANCELLED)


def test_cancel_wins_over_a_plan_that_is_settled_meanwhile() -> None:
    desk = a_desk(a_unit("u"))
    desk.cancel("u")
    desk.bind("u")
    assert desk.state("u") is State.COMMANDED
    desk.settle(desk.outcome("u", Verdict.CANCELLED))
    assert desk.word("u") == "CANCELLED"


def test_cancel_again_is_acked_and_unknown_is_not_found() -> None:
    desk = a_desk(a_unit("u"))
    desk.cancel("u")
    records = len(desk.log)
    answer = desk.cancel("u", "nobody", "u")
    assert [(i, r.status, r.field) for i, r in answer.refused] == [(1, Status.NOT_FOUND, "key")]
    assert len(desk.log) == records
    assert desk.ask(Cancel(())) == Acks(0)


def test_commands_are_repeated_in_each_session_until_they_are_settled() -> None:
    desk = a_desk(a_unit("u"), a_unit("v"))
    desk.bind("v")
    desk.down("binder")
    desk.cancel("u")
    desk.report("v", Phase.DONE)
    assert ops(desk) == []
    want = [(CommandOp.CANCEL, 1, 0, WHOLE_UNIT), (CommandOp.FREE, 1, 0, 0)]
    for _ in range(2):
        desk.binder()
        assert ops(desk) == want
        desk.down("binder")
    desk.restart()
    desk.binder()
    assert ops(desk) == want
    desk.settle(
        desk.outcome("u", Verdict.CANCELLED), desk.outcome("v", Verdict.RELEASED, ordinal=0)
    )
    desk.binder()
    assert ops(desk) == []
    assert desk.state("u") is desk.state("v") is State.FINISHED


# Amend


@dataclass(frozen=True)
class AmendCase:
    """An amendment of a bound unit of two replicas at revision 1."""

    name: str
    want: tuple[Status, str] | None
    revision: int = 2
    groups: tuple[GroupSpec, ...] = field(default_factory=lambda: (a_group(cpu=9, count=2),))
    place: Place = Place.KEEP
    key: str = "u"


AMENDS = [
    AmendCase("other class in place", None),
    AmendCase("more replicas in place", None, groups=(a_group(count=4),)),
    AmendCase("anything anywhere", None, groups=(a_group(), a_group()), place=Place.ANYWHERE),
    AmendCase("the same again", None, revision=1, groups=(a_group(count=2),)),
    AmendCase("unknown unit", (Status.NOT_FOUND, "key"), key="nobody"),
    AmendCase("another content", (Status.ALREADY_EXISTS, "revision"), revision=1),
    AmendCase("a gap", (Status.FAILED_PRECONDITION, "revision"), revision=3),
    AmendCase("the past", (Status.FAILED_PRECONDITION, "revision"), revision=0),
    AmendCase("same node", (Status.UNIMPLEMENTED, "place"), place=Place.SAME_NODE),
    AmendCase("prefer", (Status.UNIMPLEMENTED, "place"), place=Place.PREFER),
    AmendCase("no groups", (Status.INVALID_ARGUMENT, "groups"), groups=()),
    AmendCase("shrink", (Status.UNIMPLEMENTED, "groups[0].count"), groups=(a_group(),)),
    AmendCase(
        "more groups", (Status.UNIMPLEMENTED, "groups"), groups=(a_group(count=2), a_group())
    ),
    AmendCase(
        "another pin",
        (Status.FAILED_PRECONDITION, "groups[0].pin"),
        groups=(a_group(count=2, pin="n9"),),
    ),
    AmendCase(
        "a negative demand",
        (Status.INVALID_ARGUMENT, "groups[0].class.demand[cpu]"),
        groups=(a_group(cpu=-1, count=2),),
    ),
    AmendCase(
        "a minimum above the count",
        (Status.INVALID_ARGUMENT, "groups[0].min"),
        groups=(a_group(count=2, min=3),),
    ),
]


@pytest.mark.parametrize("case", AMENDS, ids=lambda case: case.name)
def test_amend_of_a_bound_unit(case: AmendCase) -> None:
    desk = a_bound_desk(a_group(count=2))
    refusal = desk.amend(case.key, case.revision, *case.groups, place=case.place)
    assert (refusal and (refusal.status, refusal.field)) == case.want
    view = desk.core.unit("u")
    assert view is not None
    assert view.revision == (1 if case.want or case.revision == 1 else 2)


def test_amend_in_place_swaps_room_by_one_command_per_group() -> None:
    desk = a_bound_desk(a_group(count=2), a_group(cpu=5))
    assert desk.amend("u", 2, a_group(cpu=7, count=2), a_group(cpu=6)) is None
    assert ops(desk) == [
        (CommandOp.AMEND, 2, 0, WHOLE_UNIT),
        (CommandOp.AMEND, 2, 1, WHOLE_UNIT),
    ]
    assert phases(desk, "u") == ["PLACING"] * 3
    rows = [(0, 0), (0, 1), (1, 0)]
    desk.settle(
        *(desk.outcome("u", Verdict.AMENDED, revision=2, group=g, ordinal=o) for g, o in rows)
    )
    assert phases(desk, "u") == ["BOUND"] * 3
    assert desk.state("u") is State.HELD
    assert {change[1] for change in desk.changes[-3:]} == {2}


def test_amend_in_place_that_does_not_fit_is_tried_again_and_says_why() -> None:
    desk = a_bound_desk()
    desk.amend("u", 2, a_group(cpu=7))
    ops(desk)
    no = desk.outcome(
        "u",
        Verdict.REJECTED,
        revision=2,
        ordinal=WHOLE_UNIT,
        reason=Reason.INSUFFICIENT_RESOURCE,
        node="",
    )
    desk.settle(no)
    assert desk.state("u") is State.BACKOFF
    desk.after(1_000)
    assert ops(desk) == [(CommandOp.AMEND, 2, 0, WHOLE_UNIT)]
    assert desk.amend("u", 3, a_group()) is None
    assert ops(desk) == [(CommandOp.AMEND, 3, 0, WHOLE_UNIT)]
    desk.settle({**no, "attempt": 0})
    assert desk.state("u") is State.COMMANDED, "an answer to the superseded revision"
    desk.settle(desk.outcome("u", Verdict.AMENDED, revision=3))
    assert desk.state("u") is State.HELD


def test_amend_anywhere_waits_for_the_fence_and_then_for_room() -> None:
    desk = a_bound_desk()
    desk.amend("u", 2, a_group(count=2), place=Place.ANYWHERE)
    assert ops(desk) == [(CommandOp.RELEASE, 2, 0, WHOLE_UNIT)]
    assert phases(desk, "u") == ["WAITING"] * 2
    assert desk.assigned_now() == []
    desk.settle(desk.outcome("u", Verdict.RELEASED, revision=2))
    assert desk.assigned_now() == ["u"]
    assert desk.assigned["u"]["revision"] == 2
    desk.bind("u", 0, 1)
    assert desk.state("u") is State.HELD


def test_waiting_unit_that_may_have_a_plan_is_fenced_first() -> None:
    desk = a_desk(a_unit("u"))
    desk.refuse("u")
    desk.amend("u", 2, a_group(cpu=3))
    assert ops(desk) == [(CommandOp.RELEASE, 2, 0, WHOLE_UNIT)]
    desk.bind("u")
    assert desk.state("u") is State.COMMANDED, "the old plan was committed first; it is released"
    desk.settle(desk.outcome("u", Verdict.RELEASED, revision=2))
    assert desk.assigned["u"]["revision"] == 2


def test_waiting_unit_that_was_never_given_out_only_changes() -> None:
    desk = Desk()
    desk.binder()
    desk.submit(a_unit("u"))
    desk.amend("u", 2, a_group(cpu=3, count=2))
    assert (desk.state("u"), ops(desk)) == (State.ACTIVE, [])
    desk.scheduler()
    assert (desk.assigned["u"]["revision"], desk.assigned["u"]["count"]) == (2, 2)


def test_claim_of_an_older_revision_that_turns_up_is_released() -> None:
    desk = a_desk(a_unit("u"))
    late = desk.outcome("u", Verdict.BOUND)
    desk.amend("u", 2, a_group(cpu=3))
    desk.settle(desk.outcome("u", Verdict.RELEASED, revision=2))
    ops(desk)
    desk.settle(late)
    assert ops(desk) == [(CommandOp.RELEASE, 2, 0, WHOLE_UNIT)]


def test_claim_of_the_new_revision_that_turns_up_before_the_release_is_settled_stays() -> None:
    """1. A unit is amended, its release is under way. 2. Somebody else binds a pod of the new
    revision. 3. The release of the older ones is settled."""
    desk = a_bound_desk()
    desk.amend("u", 2, a_group(count=2), place=Place.ANYWHERE)
    desk.settle(desk.outcome("u", Verdict.BOUND, revision=2, ordinal=1))
    assert desk.state("u") is State.COMMANDED
    assert phases(desk, "u") == ["WAITING", "BOUND"]
    desk.settle(desk.outcome("u", Verdict.RELEASED, revision=2))
    assert (desk.assigned["u"]["first"], desk.assigned["u"]["count"]) == (0, 1)
    assert phases(desk, "u") == ["PLACING", "BOUND"]
    desk.write_outcomes()
    want = encoded(desk.core)
    desk.restart()
    assert encoded(desk.core) == want


def test_amendment_that_was_settled_twice_is_told_once() -> None:
    """1. The binder is slow, and a command asked for again. 2. It settles both in one message."""
    desk = a_bound_desk()
    desk.amend("u", 2, a_group(cpu=3))
    desk.changes.clear()
    amended = desk.outcome("u", Verdict.AMENDED, revision=2)
    desk.settle(amended, amended)
    assert [phase for *_, phase, _, _ in desk.changes] == [Phase.BOUND]


def test_amend_that_found_no_claim_places_the_unit_anew() -> None:
    desk = a_bound_desk()
    desk.amend("u", 2, a_group(cpu=3))
    desk.settle(
        desk.outcome("u", Verdict.FAILED, reason=Reason.NODE_GONE),
        desk.outcome("u", Verdict.RELEASED, revision=2),
    )
    assert desk.assigned_now() == ["u"]


def test_replica_lost_while_amending_is_placed_at_the_new_revision() -> None:
    desk = a_bound_desk(a_group(count=2))
    desk.amend("u", 2, a_group(cpu=3, count=2))
    desk.settle(
        desk.outcome("u", Verdict.FAILED, ordinal=0, reason=Reason.NODE_GONE),
        desk.outcome("u", Verdict.AMENDED, revision=2, ordinal=1),
    )
    assert phases(desk, "u") == ["PLACING", "BOUND"]
    row = desk.assigned["u"]
    assert (row["first"], row["count"], row["min"], row["revision"]) == (0, 1, 1, 2)


def test_claim_made_just_before_its_amendment_is_kept_with_the_others() -> None:
    desk = a_desk(a_unit("u", a_group(count=3, min=1)))
    desk.bind("u", 0)
    late = desk.outcome("u", Verdict.BOUND, ordinal=1, node="n1")
    desk.amend("u", 2, a_group(cpu=3, count=3, min=1))
    no = {"revision": 2, "ordinal": WHOLE_UNIT, "reason": Reason.CONFLICT, "node": ""}
    desk.settle(late, desk.outcome("u", Verdict.REJECTED, **no))
    view = desk.core.unit("u")
    assert view is not None
    assert [(r.phase, r.node) for r in view.replicas] == [
        ("PLACING", "n0"),
        ("PLACING", "n1"),
        ("WAITING", ""),
    ]


def test_unit_of_which_something_has_ended_is_not_amended() -> None:
    desk = a_bound_desk(a_group(count=2))
    desk.report("u", Phase.DONE)
    refusal = desk.amend("u", 2, a_group(cpu=3, count=2), place=Place.ANYWHERE)
    assert refusal is not None
    assert (refusal.status, refusal.field) == (Status.FAILED_PRECONDITION, "key")


# Report


@dataclass(frozen=True)
class ReportCase:
    """A report about a unit of two bound replicas, the second of which is done."""

    name: str
    phase: Phase
    want: tuple[Status, str] | None = None
    group: int = 0
    ordinal: int = 0
    revision: int = 0
    key: str = "u"


PRECONDITION = Status.FAILED_PRECONDITION
INVALID = Status.INVALID_ARGUMENT
REPORTS = [
    ReportCase("starting", Phase.STARTING),
    ReportCase("ready", Phase.READY, revision=1),
    ReportCase("failed", Phase.FAILED),
    ReportCase("done", Phase.DONE),
    ReportCase("done again", Phase.DONE, ordinal=1),
    ReportCase("ready after done", Phase.READY, (PRECONDITION, "phase"), ordinal=1),
    ReportCase("bound", Phase.BOUND, (INVALID, "phase")),
    ReportCase("cancelled", Phase.CANCELLED, (INVALID, "phase")),
    ReportCase("another revision", Phase.READY, (PRECONDITION, "revision"), revision=2),
    ReportCase("no such group", Phase.READY, (INVALID, "group"), group=1),
    ReportCase("no such replica", Phase.READY, (INVALID, "ordinal"), ordinal=2),
    ReportCase("unknown unit", Phase.READY, (Status.NOT_FOUND, "key"), key="nobody"),
]


@pytest.mark.parametrize("case", REPORTS, ids=lambda case: case.name)
def test_report(case: ReportCase) -> None:
    desk = a_bound_desk(a_group(count=2))
    desk.report("u", Phase.DONE, ordinal=1)
    refusal = desk.report(
        case.key, case.phase, group=case.group, ordinal=case.ordinal, revision=case.revision
    )
    assert (refusal and (refusal.status, refusal.field)) == case.want
    if case.want is None:
        assert phases(desk, "u")[case.ordinal] == case.phase.name


def test_report_about_a_replica_without_a_place_is_refused() -> None:
    desk = a_desk(a_unit("u"))
    refusal = desk.report("u", Phase.READY)
    assert refusal is not None
    assert (refusal.status, refusal.field) == (PRECONDITION, "phase")


def test_reports_of_one_replica_in_a_batch_apply_in_order() -> None:
    desk = a_bound_desk()
    answer = desk.ask(a_report(("u", Phase.STARTING), ("u", Phase.READY), ("u", Phase.DONE)))
    assert answer == Acks(3)
    assert phases(desk, "u") == ["DONE"]
    desk.restart()
    assert phases(desk, "u") == ["DONE"]


def test_done_gives_room_back_and_ends_the_unit_when_that_is_settled() -> None:
    desk = a_bound_desk(a_group(), a_group(cpu=5, count=2))
    for group, ordinal in ((1, 1), (0, 0), (1, 0)):
        desk.report("u", Phase.DONE, group=group, ordinal=ordinal)
        assert ops(desk) == [(CommandOp.FREE, 1, group, ordinal)]
    assert (desk.word("u"), desk.state("u")) == ("DONE", State.HELD)
    desk.settle(
        *(
            desk.outcome("u", Verdict.RELEASED, group=group, ordinal=ordinal)
            for group, ordinal in ((1, 1), (0, 0), (1, 0))
        )
    )
    assert desk.state("u") is State.FINISHED


def test_node_that_is_removed_answers_a_free() -> None:
    desk = a_bound_desk()
    desk.report("u", Phase.DONE)
    desk.settle(desk.outcome("u", Verdict.FAILED, reason=Reason.NODE_GONE))
    assert (desk.word("u"), desk.state("u")) == ("DONE", State.FINISHED)


def test_words_follow_the_phases() -> None:
    desk = a_bound_desk(a_group(count=2))
    seen = [desk.word("u")]
    for phase in (Phase.STARTING, Phase.READY, Phase.DONE):
        for ordinal in range(2):
            desk.report("u", phase, ordinal=ordinal)
        seen.append(desk.word("u"))
    assert seen == ["BOUND", "RUNNING", "RUNNING", "DONE"]
    assert [view.key for view in desk.core.units(word="done")] == ["u"]
    assert desk.core.units(word="BOUND") == []


def test_finished_units_are_remembered_up_to_a_limit() -> None:
    desk = Desk(DispatcherConfig(finished_max=2))
    for key in ("a", "b", "c"):
        desk.submit(a_unit(key))
        desk.cancel(key)
    assert [view.key for view in desk.core.units()] == ["b", "c"]
    assert desk.submit(a_unit("b")).refused == ()
    assert desk.word("b") == "CANCELLED"
    assert desk.submit(a_unit("a", priority=4)).refused == ()
    assert desk.word("a") == "WAITING"


def test_requests_that_are_none_are_refused() -> None:
    desk = Desk()
    for body in (
        a_member("m"),
        Report(("u",), ReportRows.empty()),
    ):
        answer = desk.core.handle(desk.now_us, Request(1, body))[-1]
        assert answer.body.status in (INVALID, Status.UNIMPLEMENTED)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body",
    [
        a_submit(*[a_unit("u")] * 10_001),
        Cancel(("k",) * 10_001),
        Amend((None,) * 10_001),  # type: ignore[arg-type]
        Report(("u",) * 10_001, ReportRows.empty()),
        Join((None,) * 10_001),  # type: ignore[arg-type]
    ],
    ids=lambda body: type(body).__name__,
)
def test_too_many_items_are_refused_by_one_answer(body: Any) -> None:
    desk = Desk()
    answer: Any = desk.core.handle(desk.now_us, Request(1, body))[-1]
    assert (answer.body.status, "10001 items" in answer.body.reason) == (
        Status.RESOURCE_EXHAUSTED,
        True,
    )
