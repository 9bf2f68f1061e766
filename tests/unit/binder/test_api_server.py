"""The API-server home: what each answer and each delta means, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from cell.home import (
    Code,
    Evict,
    LeaseLost,
    ObjectState,
    Post,
    Read,
    ReadRecord,
    RecordView,
    Relist,
    Relisted,
    Watched,
    WatchLost,
    Write,
)
from cell.messages import RegisterNodes
from cell.reasons import Reason, Refusal
from cell.unit import CommandOp, Verdict
from tests.unit.binder.api_builders import ApiBinder, a_pod
from tests.unit.binder.builders import a_command, a_gang, a_node, a_row

ACCEPTED, BOUND, FAILED = Verdict.ACCEPTED, Verdict.BOUND, Verdict.FAILED
REJECTED = Verdict.REJECTED
HOME_GONE = Reason.HOME_GONE


def a_posted(**config: Any) -> ApiBinder:
    """One pod, accepted and posted to n0."""
    binder = ApiBinder([a_pod()], **config)
    binder.plan([a_row()])
    assert binder.kinds() == ["Post"]
    return binder


def a_written(minimum: int | None = None, **config: Any) -> ApiBinder:
    """A gang of two, its record being written."""
    binder = ApiBinder([a_pod(), a_pod(ordinal=1)], **config)
    binder.plan(a_gang(1, [0, 1], minimum=minimum))
    assert binder.kinds() == ["Write"]
    return binder


def test_a_single_is_accepted_with_its_room_held_then_bound() -> None:
    binder = a_posted()
    assert binder.told() == [(1, ACCEPTED, Reason.NONE, 0)]
    assert binder.claims() == {(1, 0): ("n0", "committing")}
    assert binder.used() == {"n0": 1000}
    post = binder.answer(Post)
    assert (post.object, post.node) == (1000, "n0")
    assert binder.told()[1:] == [(1, BOUND, Reason.NONE, 0)]
    assert binder.claims() == {(1, 0): ("n0", "bound")}
    binder.show(a_pod(node="n0", version=2))
    assert len(binder.told()) == 2


def test_the_watch_may_confirm_before_the_answer() -> None:
    binder = a_posted()
    binder.show(a_pod(node="n0", version=2))
    binder.answer(Post, Code.UNKNOWN)
    assert binder.verdicts() == [ACCEPTED, BOUND]
    assert binder.calls == []


@pytest.mark.parametrize("code", [Code.CONFLICT, Code.UNKNOWN])
@pytest.mark.parametrize(
    ("found", "want_verdicts", "want_claims"),
    [
        (a_pod(node="n0", version=2), [BOUND], {(1, 0): ("n0", "bound")}),
        (a_pod(node="n1", version=2), [BOUND], {(1, 0): ("n1", "bound")}),
        (a_pod(version=5, object=77), [FAILED], {}),
        (a_pod(version=2, state=ObjectState.TERMINATING), [FAILED], {}),
        (
            a_pod(version=2, node="n0", state=ObjectState.TERMINATING),
            [],
            {(1, 0): ("n0", "terminating")},
        ),
        (a_pod(version=2, node="n0", state=ObjectState.DONE), [Verdict.RELEASED], {}),
    ],
    ids=["ours applied", "bound elsewhere", "other object", "terminating", "bound, going", "done"],
)
def test_a_conflict_or_a_time_out_is_no_verdict_what_is_read_is(
    code: Code, found: Any, want_verdicts: list[Verdict], want_claims: dict[Any, Any]
) -> None:
    binder = a_posted()
    binder.answer(Post, code)
    assert binder.claims() == {(1, 0): ("n0", "committing")}, "charged until it is known"
    assert binder.verdicts() == [ACCEPTED]
    binder.answer(Read, found=found)
    assert binder.verdicts()[1:] == want_verdicts
    assert binder.claims() == want_claims
    assert "Post" not in binder.kinds()


def test_an_object_still_pending_is_posted_again_to_the_same_node_after_a_pause() -> None:
    binder = a_posted(post_retry_ms=100)
    binder.answer(Post, Code.UNKNOWN)
    binder.answer(Read, found=a_pod())
    assert binder.calls == []
    assert binder.wake_at_us == binder.now_us + 100_000
    binder.wait(100)
    assert binder.answer(Post).node == "n0"
    assert binder.verdicts() == [ACCEPTED, BOUND]


def test_a_throttled_post_is_made_again_and_the_room_stays_charged() -> None:
    binder = a_posted(post_retry_ms=100)
    binder.answer(Post, Code.THROTTLED)
    assert binder.used() == {"n0": 1000}
    binder.wait(100)
    assert binder.kinds() == ["Post"]


@pytest.mark.parametrize("code", [Code.THROTTLED, Code.UNKNOWN])
def test_a_read_without_an_answer_is_made_again(code: Code) -> None:
    binder = a_posted(post_retry_ms=100)
    binder.answer(Post, Code.UNKNOWN)
    binder.answer(Read, code)
    binder.wait(100)
    binder.answer(Read, Code.GONE)
    assert binder.told()[1:] == [(1, FAILED, HOME_GONE, 0)]
    assert binder.used() == {}


def test_an_object_that_is_gone_fails_and_the_late_watch_does_not_bring_it_back() -> None:
    binder = a_posted()
    binder.answer(Post, Code.GONE)
    assert binder.told()[1:] == [(1, FAILED, HOME_GONE, 0)]
    binder.show(a_pod(node="n0", version=2), a_pod(version=3, state=ObjectState.DELETED))
    assert binder.claims() == {}
    assert len(binder.told()) == 2


@pytest.mark.parametrize(
    ("state", "want"),
    [
        (ObjectState.DELETED, (1, FAILED, HOME_GONE, 0)),
        (ObjectState.FAILED, (1, FAILED, Reason.REPORTED_FAILED, 0)),
        (ObjectState.DONE, (1, Verdict.RELEASED, Reason.REPORTED_DONE, 0)),
    ],
)
def test_room_is_free_when_the_object_has_ended(state: ObjectState, want: Any) -> None:
    binder = a_posted()
    binder.answer(Post)
    binder.show(a_pod(node="n0", version=3, state=state))
    assert binder.told()[-1] == want
    assert binder.used() == {}


def test_room_is_held_while_an_object_is_terminating() -> None:
    binder = a_posted()
    binder.answer(Post)
    binder.show(a_pod(node="n0", version=3, state=ObjectState.TERMINATING))
    assert binder.used() == {"n0": 1000}
    binder.plan([a_row(1, attempt=2)])
    assert binder.verdicts()[-1] == REJECTED
    binder.show(a_pod(node="n0", version=4, state=ObjectState.DELETED))
    assert binder.used() == {}


def test_objects_of_others_take_room_that_may_be_negative_and_nobody_is_told() -> None:
    binder = ApiBinder([a_pod()], nodes=[a_node("n0", cpu=1500)])
    foreign = [a_pod(50 + i, node="n0", is_ours=False) for i in range(2)]
    binder.show(*foreign)
    assert binder.used() == {"n0": 2000}
    binder.plan([a_row()])
    assert binder.told() == [(1, REJECTED, Reason.CONFLICT, -1)]
    binder.show(a_pod(50, node="n0", is_ours=False, version=2, state=ObjectState.DELETED))
    assert binder.used() == {"n0": 1000}
    assert len(binder.told()) == 1


def test_a_replica_whose_object_is_not_there_is_refused() -> None:
    binder = ApiBinder([a_pod(1, revision=2)])
    binder.plan([a_row(1), a_row(2)])
    assert binder.told() == [(1, REJECTED, HOME_GONE, -1), (2, REJECTED, HOME_GONE, -1)]
    assert binder.used() == {}


def test_what_is_pending_of_an_elastic_unit_is_posted() -> None:
    binder = ApiBinder([a_pod(ordinal=1)])
    binder.plan(a_gang(1, [0, 1], minimum=1))
    assert binder.told() == [(1, ACCEPTED, Reason.NONE, 1)]


def test_a_bound_replica_is_so_already_and_one_under_way_is_not() -> None:
    binder = a_posted()
    binder.plan([a_row(attempt=2)])
    binder.answer(Post)
    binder.plan([a_row(attempt=3)])
    assert binder.verdicts() == [ACCEPTED, REJECTED, BOUND, Verdict.ALREADY]


def test_calls_in_flight_have_a_limit() -> None:
    binder = ApiBinder([a_pod(uid) for uid in range(1, 5)], posts_max=2)
    binder.plan([a_row(uid) for uid in range(1, 5)])
    assert binder.kinds() == ["Post"] * 2
    binder.answer(Post)
    assert binder.kinds() == ["Post"] * 2


# Gangs


def test_a_gang_s_record_is_written_before_the_first_post_and_before_anything_is_told() -> None:
    binder = a_written()
    assert binder.told() == []
    assert binder.used() == {"n0": 1000, "n1": 1000}
    record = binder.answer(Write, version=7).record
    assert record.minima == ((0, 2),)
    assert [(m.ordinal, m.object, m.node) for m in record.members] == [
        (0, 1000, "n0"),
        (1, 1001, "n1"),
    ]
    assert binder.verdicts() == [ACCEPTED] * 2
    assert binder.kinds() == ["Post"] * 2
    binder.answer(Post)
    binder.answer(Post)
    assert binder.verdicts()[2:] == [BOUND] * 2
    removal = binder.answer(Write, version=8)
    assert (removal.version, removal.record) == (7, None)
    assert binder.calls == []


@pytest.mark.parametrize("code", [Code.CONFLICT, Code.UNKNOWN])
def test_a_record_of_unknown_fate_is_read(code: Code) -> None:
    binder = a_written()
    record = binder.answer(Write, code).record
    assert binder.told() == []
    binder.answer(ReadRecord, kept=RecordView(5, record))
    assert binder.kinds() == ["Post"] * 2


def test_a_record_that_is_not_there_is_written_again_at_its_version() -> None:
    binder = a_written()
    binder.answer(Write, Code.UNKNOWN)
    binder.answer(ReadRecord, kept=RecordView(4, None))
    assert binder.take(Write).version == 4


def test_a_record_of_a_unit_that_is_gone_gives_the_room_back() -> None:
    binder = a_written()
    binder.answer(Write, Code.GONE)
    assert binder.told() == [(1, REJECTED, HOME_GONE, -1)]
    assert binder.claims() == {}
    binder.plan(a_gang(1, [0, 1], attempt=2))
    assert binder.kinds() == ["Write"]


def test_a_record_that_a_former_leader_left_late_is_written_over() -> None:
    binder = a_written()
    record = binder.answer(Write, Code.CONFLICT).record
    left = type(record)(1, 1, 1, 99, 1, (), ())
    binder.answer(ReadRecord, kept=RecordView(4, left))
    again = binder.answer(Write, version=5)
    assert (again.version, again.record) == (4, record)
    assert binder.kinds() == ["Post"] * 2


def test_a_throttled_write_is_made_again() -> None:
    binder = a_written(post_retry_ms=100)
    binder.answer(Write, Code.THROTTLED)
    binder.wait(100)
    assert binder.kinds() == ["Write"]


def test_a_gang_that_misses_its_minimum_is_evicted_when_its_time_is_over() -> None:
    binder = a_written(gang_repair_ms_max=1000)
    binder.answer(Write, version=7)
    binder.answer(Post)
    binder.answer(Post, Code.GONE)
    assert binder.calls == []
    assert binder.claims() == {(1, 0): ("n0", "bound")}
    assert binder.wake_at_us <= binder.now_us + 1_000_000
    binder.wait(1000)
    assert binder.claims() == {(1, 0): ("n0", "terminating")}
    binder.answer(Evict)
    assert binder.calls == [], "the record stays while a member holds room"
    binder.show(a_pod(node="n0", version=9, state=ObjectState.DELETED))
    assert binder.told()[-1] == (1, FAILED, Reason.GANG_REPAIR, 0)
    assert binder.answer(Write, version=8).record is None
    assert binder.used() == {}


def test_a_gang_with_its_minima_bound_is_complete_although_an_elastic_member_is_gone() -> None:
    binder = ApiBinder([a_pod(ordinal=i) for i in range(3)])
    binder.plan(a_gang(1, [0, 1, 1], minimum=2))
    binder.answer(Write, version=7)
    binder.answer(Post)
    binder.answer(Post, Code.GONE)
    assert "Write" not in binder.kinds()
    binder.answer(Post)
    assert binder.answer(Write).record is None
    assert binder.verdicts()[3:] == [BOUND, FAILED, BOUND]


def a_crashed_gang() -> Any:
    """The record that a leader left behind."""
    binder = a_written()
    return binder.answer(Write, version=7).record


def test_a_new_leader_rolls_an_unfinished_gang_forward() -> None:
    record = a_crashed_gang()
    pods = [a_pod(ordinal=0, node="n0", version=9), a_pod(ordinal=1)]
    binder = ApiBinder(pods, records=[RecordView(7, record)], term=2)
    assert binder.claims() == {(1, 0): ("n0", "bound"), (1, 1): ("n1", "committing")}
    post = binder.answer(Post)
    assert (post.object, post.node) == (1001, "n1")
    assert binder.answer(Write).version == 7
    assert binder.verdicts() == [BOUND, ACCEPTED, BOUND]
    assert binder.settles[0].first == 2 << 34


def test_a_new_leader_evicts_a_gang_that_cannot_be_completed() -> None:
    record = a_crashed_gang()
    binder = ApiBinder(
        [a_pod(ordinal=0, node="n0", version=9)],
        records=[RecordView(7, record)],
        term=2,
        gang_repair_ms_max=500,
    )
    assert binder.calls == []
    binder.wait(500)
    assert binder.take(Evict).object == 1000


def test_a_member_whose_node_is_gone_is_not_posted_by_a_new_leader() -> None:
    record = a_crashed_gang()
    pods = [a_pod(ordinal=0), a_pod(ordinal=1)]
    binder = ApiBinder(pods, [a_node("n0")], [RecordView(7, record)], term=2)
    assert [call.node for call in binder.calls] == ["n0"]


# Commands


def test_a_cancel_is_settled_when_the_evictions_are_taken_and_room_held_until_they_are_done() -> (
    None
):
    binder = a_posted()
    binder.answer(Post)
    binder.command(a_command(CommandOp.CANCEL))
    assert binder.claims() == {(1, 0): ("n0", "terminating")}
    assert Verdict.CANCELLED not in binder.verdicts()
    binder.plan([a_row(attempt=2)])
    assert binder.verdicts()[-1] == Verdict.CANCELLED, "refused from now on"
    told = len(binder.told())
    binder.answer(Evict)
    assert binder.told()[told:] == [(1, Verdict.CANCELLED, Reason.CANCELLED, -1)]
    assert binder.used() == {"n0": 1000}
    binder.show(a_pod(node="n0", version=9, state=ObjectState.DELETED))
    assert (binder.used(), len(binder.told())) == ({}, told + 1)


@pytest.mark.parametrize("code", [Code.THROTTLED, Code.UNKNOWN])
def test_an_eviction_without_an_answer_is_made_again(code: Code) -> None:
    binder = a_posted(post_retry_ms=100)
    binder.answer(Post)
    binder.command(a_command(CommandOp.CANCEL))
    binder.answer(Evict, code)
    assert Verdict.CANCELLED not in binder.verdicts()
    binder.wait(100)
    binder.answer(Evict, Code.GONE)
    assert binder.verdicts()[-1] == Verdict.CANCELLED
    assert binder.used() == {}


def test_a_cancel_of_a_pending_unit_deletes_its_objects() -> None:
    binder = ApiBinder([a_pod()])
    binder.command(a_command(CommandOp.CANCEL))
    binder.answer(Evict)
    assert binder.verdicts() == [Verdict.CANCELLED]


def test_a_binding_that_lands_after_the_cancel_is_evicted() -> None:
    binder = a_posted()
    binder.command(a_command(CommandOp.CANCEL))
    binder.answer(Evict, Code.UNKNOWN)
    binder.show(a_pod(node="n0", version=2))
    binder.answer(Post, Code.UNKNOWN)
    assert binder.claims() == {(1, 0): ("n0", "terminating")}
    binder.wait(1000)
    binder.answer(Evict)
    assert binder.verdicts()[-1] == Verdict.CANCELLED


def test_release_ends_older_objects_only() -> None:
    binder = ApiBinder([a_pod(node="n0"), a_pod(ordinal=1, node="n1", revision=2)])
    binder.command(a_command(CommandOp.RELEASE, revision=2))
    assert binder.answer(Evict).object == 1000
    assert binder.told()[-1] == (1, Verdict.RELEASED, Reason.RELEASED, -1)
    assert binder.claims() == {(1, 0): ("n0", "terminating"), (1, 1): ("n1", "bound")}


def test_free_ends_one_replica() -> None:
    binder = ApiBinder([a_pod(node="n0"), a_pod(ordinal=1, node="n1")])
    binder.command(a_command(CommandOp.FREE, ordinal=1))
    assert binder.answer(Evict).object == 1001
    assert binder.told()[-1] == (1, Verdict.RELEASED, Reason.REPORTED_DONE, 1)
    assert binder.used() == {"n0": 1000, "n1": 1000}
    binder.show(a_pod(ordinal=1, node="n1", version=9, state=ObjectState.DELETED))
    assert binder.used() == {"n0": 1000}
    assert len(binder.told()) == 3


def test_objects_cannot_be_amended_in_place() -> None:
    binder = ApiBinder([a_pod(node="n0")])
    binder.command(a_command(CommandOp.AMEND, revision=2))
    assert binder.told()[-1] == (1, REJECTED, Reason.HOME_REFUSED, -1)
    binder.command(a_command(CommandOp.AMEND, 9, revision=2))
    assert binder.told()[-1] == (9, Verdict.RELEASED, Reason.RELEASED, -1)


# The watch, lists and the lease


def test_older_views_change_nothing() -> None:
    binder = a_posted()
    binder.show(a_pod(node="n0", version=5))
    binder.show(a_pod(version=4))
    assert binder.claims() == {(1, 0): ("n0", "bound")}


def test_an_object_of_the_same_name_replaces_the_one_before() -> None:
    binder = a_posted()
    binder.answer(Post)
    binder.show(a_pod(object=5, version=9))
    assert binder.told()[-1] == (1, FAILED, HOME_GONE, 0)
    assert binder.used() == {}


def test_nodes_come_from_the_watch_and_requests_are_refused() -> None:
    binder = ApiBinder(nodes=[])
    binder.handle(Watched(nodes=(a_node("n7"),)))
    assert [view.name for view in binder.core.nodes()] == ["n7"]
    binder.handle(Watched(removed=("n7",)))
    assert binder.core.nodes() == []
    from cell.effects import Answer, Request

    (answer, *_) = binder.core.handle(0, Request(1, RegisterNodes((a_node(),))))
    assert isinstance(answer, Answer)
    assert isinstance(answer.body, Refusal)


def test_claims_on_a_node_that_is_gone_stay_until_their_objects_are() -> None:
    binder = ApiBinder([a_pod(node="n0")])
    binder.handle(Watched(removed=("n0",)))
    assert binder.claims() == {(1, 0): ("n0", "bound")}
    binder.show(a_pod(node="n0", version=5, state=ObjectState.DELETED))
    assert binder.claims() == {}


def test_after_a_gap_everything_is_listed_and_what_is_missing_is_read() -> None:
    binder = ApiBinder([a_pod(1, node="n0"), a_pod(2, node="n1"), a_pod(3)])
    binder.handle(WatchLost())
    binder.relist([a_pod(1, node="n0"), a_pod(4, node="n1")])
    assert binder.claims()[4, 0] == ("n1", "bound")
    assert binder.take(Read).replica.uid_lo == 2
    assert binder.calls == []


def test_a_list_that_was_lost_with_its_watch_is_asked_for_again() -> None:
    binder = ApiBinder([a_pod(1, node="n0")])
    binder.handle(WatchLost())
    lost = binder.take(Relist)
    binder.handle(WatchLost())
    binder.handle(Relisted(lost.call, (), (), ()))
    assert binder.claims() == {(1, 0): ("n0", "bound")}
    binder.relist([a_pod(1, node="n0")])
    assert binder.calls == []


def test_without_the_lease_nothing_is_written_and_the_rest_is_followed() -> None:
    binder = ApiBinder([a_pod(1), a_pod(2)], posts_max=1)
    binder.plan([a_row(1), a_row(2)])
    told = len(binder.told())
    binder.handle(LeaseLost())
    assert binder.claims() == {(1, 0): ("n0", "committing")}, "the one not posted is given back"
    binder.answer(Post, Code.UNKNOWN)
    binder.answer(Read, found=a_pod(1, node="n0", version=4))
    assert binder.claims() == {(1, 0): ("n0", "bound")}
    binder.command(a_command(CommandOp.CANCEL))
    binder.plan([a_row(2, attempt=3)])
    binder.wait(60_000)
    assert binder.calls == []
    assert len(binder.told()) == told


def test_without_the_lease_a_gang_not_yet_written_is_given_back() -> None:
    binder = a_written()
    binder.handle(LeaseLost())
    assert binder.claims() == {}
    binder.answer(Write, version=7)
    assert binder.calls == []
