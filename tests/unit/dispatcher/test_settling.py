"""Outcomes of the binder: a rule per verdict, and the races they repair."""

from __future__ import annotations

import pytest

from cell.effects import Persist, Publish, Send
from cell.messages import Command
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT, CommandOp, Phase, Verdict, uid_of
from dispatcher.config import DispatcherConfig
from tests.unit.dispatcher.builders import Desk, State, a_group, a_unit, encoded


def a_desk(*units: object, **fields: int) -> Desk:
    desk = Desk(DispatcherConfig(**fields))
    desk.binder()
    desk.scheduler()
    if units:
        desk.submit(*units)  # type: ignore[arg-type]
    return desk


def phases(desk: Desk, key: str) -> list[str]:
    view = desk.core.unit(key)
    assert view is not None
    return [replica.phase for replica in view.replicas]


def test_outcome_is_published_at_once_and_acked_behind_its_record() -> None:
    desk = a_desk(a_unit("u"), ack_ms=0)
    desk.bind("u")
    kinds = [type(e) for e in desk.effects if isinstance(e, Publish | Persist | Send)]
    assert kinds == [Publish, Persist, Send]
    ((peer, command),) = desk.sent(Command)
    assert (peer, command.ack, len(command.rows)) == ("binder", 1, 0)
    assert desk.changes[-1][:6] == ("u", 1, 0, 0, Phase.BOUND, "n0")


def test_acks_are_gathered_for_a_short_time() -> None:
    desk = a_desk(a_unit("u"), a_unit("v"), ack_ms=10)
    desk.bind("u")
    desk.bind("v")
    assert desk.sent(Command) == []
    desk.after(10)
    assert [command.ack for _, command in desk.sent(Command)] == [2]
    desk.after(10)
    assert desk.sent(Command) == []


def test_marks_tell_floor_and_next() -> None:
    desk = a_desk(*(a_unit(key) for key in ("a", "b")), ack_ms=0)
    desk.submit(a_unit("c"))
    desk.bind("c")
    assert desk.command is not None
    assert (desk.command.term, desk.command.floor, desk.command.next) == (1, 1, 4)
    desk.bind("a")
    assert desk.command.floor == 1, "b of the same message is still out"
    desk.bind("b")
    assert desk.command.floor == 4


@pytest.mark.parametrize("verdict", list(Verdict))
def test_doubled_outcome_changes_nothing(verdict: Verdict) -> None:
    desk = a_desk(a_unit("u"), a_unit("v"))
    desk.bind("v")
    row = desk.outcome("u", verdict)
    desk.settle(row)
    before, records = encoded(desk.core), len(desk.log)
    desk.settle(row, first=1)
    assert encoded(desk.core) == before
    assert len(desk.log) == records


def test_new_session_of_the_binder_may_resend_some_and_add_others() -> None:
    desk = a_desk(a_unit("u"), a_unit("v"))
    desk.bind("u")
    desk.down("binder")
    desk.binder()
    desk.settle(desk.outcome("u", Verdict.BOUND), desk.outcome("v", Verdict.BOUND), first=0)
    assert desk.word("u") == desk.word("v") == "BOUND"


def test_gang_is_bound_as_a_whole() -> None:
    desk = a_desk(a_unit("g", a_group(count=2), a_group(cpu=5, count=3)))
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    desk.settle(*(desk.outcome("g", Verdict.BOUND, group=g, ordinal=o) for g, o in rows))
    assert phases(desk, "g") == ["BOUND"] * 5
    assert desk.state("g") is State.HELD


def test_rest_above_the_minimum_is_tried_again_and_then_waits() -> None:
    desk = a_desk(a_unit("e", a_group(count=5, min=2)))
    desk.bind("e", 0, 1, 3)
    view = desk.core.unit("e")
    assert view is not None
    assert view.word == "BOUND"
    assert desk.state("e") is State.FLIGHT
    (assign,) = [e.body for e in desk.effects if isinstance(e, Send) and e.peer == "s0"]
    runs = [(row["first"], row["count"], row["min"]) for row in assign.rows.rows()]
    assert runs == [(2, 1, 0), (4, 1, 0)]
    desk.refuse("e")
    assert (desk.state("e"), desk.word("e")) == (State.PARKED, "BOUND")
    desk.settle(wakes=1)
    desk.bind("e", 2, 4)
    assert desk.state("e") is State.HELD


def test_minima_that_arrive_row_by_row_are_one_commit() -> None:
    desk = a_desk(a_unit("g", a_group(count=3)))
    for ordinal in range(2):
        desk.settle(desk.outcome("g", Verdict.ACCEPTED, ordinal=ordinal))
        assert desk.assigned_now() == []
        assert desk.state("g") is State.FLIGHT
    desk.settle(desk.outcome("g", Verdict.ACCEPTED, ordinal=2))
    assert desk.state("g") is State.HELD
    assert phases(desk, "g") == ["PLACING"] * 3
    desk.bind("g", 0, 1, 2)
    assert phases(desk, "g") == ["BOUND"] * 3


def test_older_attempt_that_won_ends_the_present_one() -> None:
    desk = a_desk(a_unit("u"))
    older = desk.outcome("u", Verdict.BOUND)
    desk.down("s0")
    desk.scheduler()
    assert desk.state("u") is State.FLIGHT
    desk.settle(older)
    assert desk.state("u") is State.HELD
    desk.settle(desk.outcome("u", Verdict.ALREADY, attempt=older["attempt"]))
    assert phases(desk, "u") == ["BOUND"]


def test_refusal_of_an_older_attempt_changes_nothing() -> None:
    desk = a_desk(a_unit("u"))
    older = desk.outcome("u", Verdict.STALE, reason=Reason.STALE_ATTEMPT)
    desk.down("s0")
    desk.scheduler()
    desk.settle(older)
    assert desk.state("u") is State.FLIGHT


def test_wrong_handle_is_found_by_uid() -> None:
    desk = a_desk(a_unit("u"), a_unit("v"))
    desk.settle(desk.outcome("v", Verdict.BOUND, handle=desk.assigned["u"]["handle"]))
    desk.settle(desk.outcome("u", Verdict.BOUND, handle=4_000_000_000))
    assert desk.word("u") == desk.word("v") == "BOUND"


def test_removed_node_fails_the_unit_and_the_rest_keeps_its_room() -> None:
    desk = a_desk(a_unit("g", a_group(count=3)))
    desk.bind("g", 0, 1, 2)
    desk.settle(desk.outcome("g", Verdict.FAILED, ordinal=1, reason=Reason.NODE_GONE))
    assert phases(desk, "g") == ["BOUND", "FAILED", "BOUND"]
    view = desk.core.unit("g")
    assert view is not None
    assert (view.word, view.why) == ("FAILED", "the node is gone")
    assert desk.commands == []
    desk.cancel("g")
    desk.settle(desk.outcome("g", Verdict.CANCELLED))
    assert phases(desk, "g") == ["CANCELLED", "FAILED", "CANCELLED"]
    assert desk.state("g") is State.FINISHED


def test_waiting_rest_of_a_failed_unit_fails_with_it() -> None:
    desk = a_desk(a_unit("e", a_group(count=3, min=1)))
    desk.bind("e", 0, 1)
    desk.refuse("e")
    desk.settle(desk.outcome("e", Verdict.FAILED, ordinal=0, reason=Reason.NODE_GONE))
    assert phases(desk, "e") == ["FAILED", "BOUND", "FAILED"]
    assert desk.state("e") is State.HELD


def test_rest_in_flight_of_a_failed_unit_fails_too_and_is_given_back() -> None:
    """Also after a restart: a record knows of no flight."""
    desk = a_desk(a_unit("e", a_group(count=3, min=1)))
    desk.bind("e", 0)
    assert desk.state("e") is State.FLIGHT
    desk.report("e", Phase.FAILED)
    desk.commands.clear()
    desk.bind("e", 1)
    assert phases(desk, "e") == ["FAILED"] * 3
    assert [(row["op"], row["ordinal"]) for row in desk.commands] == [(CommandOp.FREE, 1)]
    want = encoded(desk.core)
    desk.restart()
    assert encoded(desk.core) == want


def test_claim_of_a_forgotten_unit_is_given_back() -> None:
    desk = a_desk(a_unit("u"), a_unit("w"), finished_max=1)
    late = desk.outcome("u", Verdict.BOUND)
    for key in ("u", "w"):
        desk.cancel(key)
        desk.settle(desk.outcome(key, Verdict.CANCELLED))
    assert desk.core.unit("u") is None
    desk.settle(late)
    row = desk.commands[-1]
    assert (row["op"], row["uid_hi"], row["uid_lo"]) == (CommandOp.CANCEL, *uid_of("u"))
    desk.restart()
    desk.commands.clear()
    desk.binder()
    assert [row["uid_hi"] for row in desk.commands] == [uid_of("u")[0]]
    desk.settle(desk.outcome("u", Verdict.CANCELLED))
    desk.down("binder")
    desk.commands.clear()
    desk.binder()
    assert desk.commands == []


def test_claim_of_a_unit_that_the_same_message_has_ended_is_given_back() -> None:
    """1. Somebody else binds a pod of a unit, and deletes it. 2. Another of the name is bound, too.
    3. The dispatcher hears of all that at once, and forgets the unit at the second row."""
    desk = a_desk(a_unit("u"), a_unit("w"), finished_max=1)
    gone = {"reason": Reason.HOME_GONE}
    desk.settle(
        desk.outcome("u", Verdict.BOUND),
        desk.outcome("w", Verdict.BOUND),
        desk.outcome("u", Verdict.FAILED, **gone),
        desk.outcome("w", Verdict.FAILED, **gone),
        desk.outcome("u", Verdict.BOUND),
    )
    assert desk.core.unit("u") is None
    row = desk.commands[-1]
    assert (row["op"], row["uid_hi"], row["uid_lo"]) == (CommandOp.CANCEL, *uid_of("u"))


def test_claim_for_a_replica_that_is_done_is_freed_again() -> None:
    desk = a_desk(a_unit("g", a_group(count=2)))
    desk.bind("g", 0, 1)
    desk.report("g", Phase.DONE)
    free = desk.outcome("g", Verdict.RELEASED, ordinal=0)
    desk.settle(free)
    desk.commands.clear()
    desk.settle(desk.outcome("g", Verdict.BOUND, ordinal=0))
    assert [(row["op"], row["ordinal"]) for row in desk.commands] == [(CommandOp.FREE, 0)]
    assert phases(desk, "g") == ["DONE", "BOUND"]


def test_tombstone_of_a_former_unit_of_the_key_is_waited_out() -> None:
    desk = a_desk(a_unit("u"))
    desk.settle(desk.outcome("u", Verdict.CANCELLED, reason=Reason.CANCELLED))
    assert desk.state("u") is State.BACKOFF
    desk.after(1_000)
    assert desk.state("u") is State.FLIGHT


def test_row_about_a_replica_that_does_not_exist_is_ignored() -> None:
    desk = a_desk(a_unit("u"))
    for fields in ({"group": 3}, {"ordinal": 9}, {"ordinal": WHOLE_UNIT}):
        desk.settle(desk.outcome("u", Verdict.FAILED, **fields))
    desk.settle(desk.outcome("u", Verdict.BOUND, ordinal=7))
    assert phases(desk, "u") in (["PLACING"], ["WAITING"])
