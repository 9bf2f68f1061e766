"""Races of the API-server home that seeds of the simulation have found, one test each."""

from __future__ import annotations

from typing import Any

import pytest

from cell.effects import Send, Tick, WakeAt
from cell.home import (
    Code,
    Evict,
    LeaseLost,
    ObjectState,
    ObjectView,
    Post,
    Read,
    RecordView,
    Relist,
    Relisted,
    WatchLost,
    Write,
)
from cell.messages import State
from cell.reasons import Reason
from cell.unit import CommandOp, Verdict
from tests.unit.binder.api_builders import ApiBinder, a_pod
from tests.unit.binder.builders import a_command, a_gang, a_row


def test_a_slow_answer_for_an_older_object_ends_nothing_of_the_newer_one() -> None:
    """1. A Post is slow. 2. Its object goes, another of the name is placed and posted. 3. The first
    Post is answered, and the name read: the claim is the newer object's."""
    binder = ApiBinder([a_pod()])
    binder.plan([a_row()])
    slow = binder.take(Post)
    binder.show(a_pod(state=ObjectState.DELETED, version=2))
    binder.show(a_pod(object=7, version=3, revision=2))
    binder.plan([a_row(attempt=2, revision=2)])
    binder.calls.insert(0, slow)
    binder.answer(Post, Code.CONFLICT)
    for read in [call for call in binder.calls if isinstance(call, Read)]:
        assert read.replica == slow.replica
        binder.answer(Read, found=a_pod(object=7, version=3, revision=2))
    assert binder.claims() == {(1, 0): ("n0", "committing")}
    binder.answer(Post)
    assert binder.claims() == {(1, 0): ("n0", "bound")}


def test_a_tick_for_the_home_keeps_the_time_of_deltas() -> None:
    """1. A delta is to leave at T. 2. The home asks for a Tick before T: of two times a shell keeps
    the earlier. 3. That Tick comes: the core has to ask for T once more."""
    binder = ApiBinder([a_pod()], delta_ms=50, post_retry_ms=10)
    binder.plan([a_row()])
    due_us = binder.wake_at_us
    binder.answer(Post, Code.THROTTLED)
    assert binder.wake_at_us < due_us
    binder.now_us = binder.wake_at_us
    wakes = [e.at_us for e in binder.core.handle(binder.now_us, Tick()) if isinstance(e, WakeAt)]
    assert due_us in wakes
    effects = binder.core.handle(due_us, Tick())
    assert any(isinstance(e, Send) and isinstance(e.body, State) for e in effects)


@pytest.mark.parametrize(
    ("pod", "want_verdict", "want_reason"),
    [
        (None, Verdict.FAILED, Reason.HOME_GONE),
        (a_pod(), Verdict.FAILED, Reason.CONFLICT),
        (a_pod(state=ObjectState.DONE), Verdict.RELEASED, Reason.REPORTED_DONE),
        (a_pod(state=ObjectState.FAILED), Verdict.FAILED, Reason.REPORTED_FAILED),
    ],
    ids=["gone", "never bound", "done", "failed"],
)
def test_a_claim_that_is_not_there_is_told_when_asked(
    pod: ObjectView | None, want_verdict: Verdict, want_reason: Reason
) -> None:
    """What a former binder settled last may be lost with it: the dispatcher asks."""
    binder = ApiBinder([pod] if pod is not None else [])
    binder.command(a_command(CommandOp.CONFIRM, ordinal=0, revision=1))
    assert binder.told() == [(1, want_verdict, want_reason, 0)]


def test_a_claim_that_is_there_is_not_settled_again() -> None:
    binder = ApiBinder([a_pod(node="n0")])
    before = binder.told()
    binder.command(a_command(CommandOp.CONFIRM, ordinal=0, revision=1))
    assert binder.told() == before


class Unlisted(ApiBinder):
    """Its first list is answered when the test says so."""

    def relist(self, *listed: Any) -> None:
        """Not yet."""

    def list_now(self, *pods: ObjectView) -> None:
        """These are there."""
        super().relist(pods)


def test_confirmation_waits_for_the_first_list() -> None:
    binder = Unlisted()
    binder.command(a_command(CommandOp.CONFIRM, ordinal=0, revision=1))
    assert binder.told() == []
    binder.list_now()
    assert binder.told() == [(1, Verdict.FAILED, Reason.HOME_GONE, 0)]


def test_a_claim_that_the_first_list_shows_is_not_said_to_be_lost() -> None:
    """1. The binder and the dispatcher start together. 2. The dispatcher asks about a claim before
    the first list. 3. The list shows it: it is there when the question is answered."""
    binder = Unlisted()
    binder.command(a_command(CommandOp.CONFIRM, ordinal=0, revision=1))
    binder.list_now(a_pod(node="n0"))
    assert binder.verdicts() == [Verdict.BOUND]
    assert binder.claims() == {(1, 0): ("n0", "bound")}


def test_a_claim_of_an_older_revision_is_not_freed_when_asked_for() -> None:
    """1. A bound unit is amended in place. 2. Binder and dispatcher start anew. 3. The dispatcher
    asks about the claim at the new revision: its object still has the room."""
    binder = ApiBinder([a_pod(node="n0")])
    before = binder.told()
    binder.command(a_command(CommandOp.CONFIRM, ordinal=0, revision=2))
    assert binder.told() == before
    assert binder.claims() == {(1, 0): ("n0", "bound")}


def test_after_a_list_that_was_given_up_everything_is_listed_once_more() -> None:
    """1. A list is under way, and the watch is lost. 2. Another is asked for, and arrives. 3. The
    first is served after all: what the watch of the other had still to show never comes."""
    binder = ApiBinder()
    binder.handle(WatchLost())
    given_up = binder.take(Relist)
    binder.handle(WatchLost())
    binder.relist()
    binder.handle(Relisted(given_up.call, (), (), ()))
    binder.relist([a_pod(node="n0")])
    assert binder.claims() == {(1, 0): ("n0", "bound")}
    assert binder.calls == []


@pytest.mark.parametrize("is_lost_first", [True, False], ids=["before the read", "behind it"])
def test_a_post_that_may_yet_be_applied_keeps_its_room_without_the_lease(
    is_lost_first: bool,
) -> None:
    """1. A Post is answered by a time-out, its object has no node yet. 2. It is to be posted once
    more, and the lease is lost. 3. The first is applied."""
    binder = ApiBinder([a_pod()])
    binder.plan([a_row()])
    binder.answer(Post, Code.UNKNOWN)
    if is_lost_first:
        binder.handle(LeaseLost())
    binder.answer(Read, found=a_pod())
    if not is_lost_first:
        binder.handle(LeaseLost())
    assert binder.claims() == {(1, 0): ("n0", "committing")}
    binder.wait(60_000)
    assert binder.calls == []
    binder.show(a_pod(node="n0", version=2))
    assert binder.claims() == {(1, 0): ("n0", "bound")}


def test_a_post_that_was_refused_gives_its_room_back_without_the_lease() -> None:
    binder = ApiBinder([a_pod()])
    binder.plan([a_row()])
    binder.answer(Post, Code.THROTTLED)
    binder.handle(LeaseLost())
    assert binder.claims() == {}


def test_an_object_that_is_bound_while_its_unit_s_end_is_owed_is_evicted() -> None:
    """1. A unit is cancelled; the eviction of its object is slow, other outcomes are acked, the
    tombstone goes. 2. Another object of the unit is made, and somebody binds it."""
    binder = ApiBinder([a_pod()])
    binder.command(a_command(CommandOp.CANCEL))
    binder.ack(1 << 50)
    binder.show(a_pod(ordinal=1, node="n0", version=2))
    assert binder.claims() == {(1, 1): ("n0", "terminating")}
    binder.answer(Evict)
    assert binder.told() == [(1, Verdict.CANCELLED, Reason.CANCELLED, -1)]
    assert binder.claims() == {(1, 1): ("n0", "terminating")}


@pytest.mark.parametrize(
    ("op", "revision", "want"),
    [
        (CommandOp.RELEASE, 2, Verdict.RELEASED),
        (CommandOp.CANCEL, 1, Verdict.CANCELLED),
    ],
    ids=["release", "cancel"],
)
def test_what_ends_a_unit_waits_for_the_first_list(
    op: CommandOp, revision: int, want: Verdict
) -> None:
    """1. A Post is under way, its binder dies. 2. The next one is asked to end the unit before it
    has listed, and knows of no object. 3. The Post lands: the list shows it bound."""
    binder = Unlisted()
    binder.command(a_command(op, revision=revision))
    assert binder.told() == []
    binder.list_now(a_pod(node="n0"))
    assert want not in binder.verdicts(), "not before the eviction is taken"
    binder.answer(Evict)
    assert binder.verdicts()[-1] is want
    assert binder.claims() == {(1, 0): ("n0", "terminating")}


def test_a_list_that_was_given_up_answers_no_question() -> None:
    binder = Unlisted()
    given_up = binder.take(Relist)
    binder.command(a_command(CommandOp.CONFIRM, ordinal=0, revision=1))
    binder.handle(WatchLost())
    binder.handle(Relisted(given_up.call, (), (), ()))
    assert binder.told() == []


def test_a_refusal_of_what_is_there_already_names_the_attempt_that_waits() -> None:
    """1. A bound pod is deleted, the dispatcher has not heard that it was bound. 2. Its replica is
    planned anew, while the pod is terminating."""
    binder = ApiBinder(
        [a_pod(node="n0"), a_pod(node="n0", version=2, state=ObjectState.TERMINATING)]
    )
    binder.plan([a_row(attempt=7)])
    row = binder.settles[-1].rows.rows()[-1]
    assert (row["verdict"], row["reason"], row["attempt"]) == (
        Verdict.REJECTED,
        Reason.ALREADY_BOUND,
        7,
    )


def test_a_list_from_before_its_end_does_not_begin_a_gang_again() -> None:
    """1. A list is made. 2. A gang is complete, its record removed. 3. The list arrives."""
    pods = [a_pod(1, 0), a_pod(1, 1)]
    binder = ApiBinder(pods)
    binder.plan(a_gang(1, [0, 1]))
    written = binder.answer(Write, version=5)
    for _ in pods:
        binder.answer(Post)
    binder.answer(Write, version=6)
    before = binder.claims()
    binder.handle(WatchLost())
    binder.relist(pods, records=[RecordView(5, written.record)])
    assert binder.claims() == before == {(1, 0): ("n0", "bound"), (1, 1): ("n1", "bound")}
    assert binder.calls == []
