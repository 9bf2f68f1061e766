"""What a new life knows: everything that was acknowledged, and that it must ask again."""

from __future__ import annotations

from cell.effects import Persist, Send
from cell.messages import Assign, Join
from cell.reasons import Reason
from cell.unit import Phase, Place, Verdict
from dispatcher.config import DispatcherConfig
from tests.unit.dispatcher.builders import Desk, State, a_group, a_member, a_unit, encoded, restored
from tests.unit.dispatcher.test_settling import phases


def a_day(desk: Desk) -> None:
    """Something of everything."""
    desk.binder()
    desk.scheduler()
    desk.submit(*(a_unit(f"u{i}") for i in range(6)), a_unit("e", a_group(count=4, min=1)))
    desk.submit(a_unit("g", a_group(count=2, role="r", pin="n1"), a_group(cpu=7)), a_unit("w"))
    desk.bind("u0", node="n0")
    desk.bind("u1", node="n1")
    desk.bind("u2", node="n2")
    desk.bind("e", 0, 2)
    desk.refuse("u3", "u4")
    desk.settle(desk.outcome("u5", Verdict.REJECTED, reason=Reason.CONFLICT))
    desk.report("u0", Phase.READY)
    desk.report("u1", Phase.DONE)
    desk.settle(desk.outcome("u1", Verdict.RELEASED))
    desk.settle(desk.outcome("u1", Verdict.RELEASED, ordinal=0))
    desk.amend("u0", 2, a_group(cpu=3))
    desk.amend("u2", 2, a_group(cpu=3), place=Place.ANYWHERE)
    desk.cancel("u3", "u4")
    desk.settle(desk.outcome("u3", Verdict.CANCELLED))
    desk.ask(Join((a_member("a", size=3), a_member("b", gang="pair"))))
    desk.ask(Join((a_member("c", gang="pair"),)))
    desk.settle(desk.outcome("e", Verdict.FAILED, ordinal=2, reason=Reason.NODE_GONE))
    desk.write_outcomes()


def test_day_is_the_same_after_a_restart_from_records_or_from_a_snapshot() -> None:
    desk = Desk()
    a_day(desk)
    want = encoded(desk.core)
    from_records = restored(2, desk.config, desk.log)
    from_snapshot = restored(2, desk.config, want)
    assert encoded(from_records) == want
    assert encoded(from_snapshot) == want


def test_any_prefix_of_the_log_is_a_life() -> None:
    desk = Desk(DispatcherConfig(finished_max=1))
    a_day(desk)
    for length in range(len(desk.log) + 1):
        core = restored(2, desk.config, desk.log[:length])
        again = restored(3, desk.config, encoded(core))
        assert encoded(again) == encoded(core)


def test_snapshot_and_the_records_after_it_are_a_life() -> None:
    desk = Desk(DispatcherConfig(finished_max=1))
    a_day(desk)
    want = encoded(desk.core)
    for length in range(len(desk.log) + 1):
        snapshot = encoded(restored(2, desk.config, desk.log[:length]))
        assert encoded(restored(3, desk.config, snapshot + desk.log[length:])) == want


def test_key_that_is_free_again_may_be_used_after_a_snapshot() -> None:
    desk = Desk(DispatcherConfig(finished_max=1))
    desk.binder()
    desk.submit(a_unit("a"), a_unit("b"))
    desk.cancel("a")
    snapshot = encoded(desk.core)
    before = len(desk.log)
    desk.cancel("b")
    assert desk.core.unit("a") is None
    desk.submit(a_unit("a"))
    core = restored(2, desk.config, snapshot + desk.log[before:])
    assert core.unit("a") is not None
    assert encoded(core) == encoded(desk.core)


def test_everything_that_is_not_bound_waits_anew() -> None:
    desk = Desk()
    a_day(desk)
    desk.restart()
    states = {view.key: desk.state(view.key) for view in desk.core.units()}
    assert states == {
        "u0": State.COMMANDED,
        "u1": State.FINISHED,
        "u2": State.COMMANDED,
        "u3": State.FINISHED,
        "u4": State.COMMANDED,
        "u5": State.ACTIVE,
        "e": State.HELD,
        "g": State.ACTIVE,
        "w": State.ACTIVE,
        "gang": State.GATHERING,
        "pair": State.ACTIVE,
    }
    desk.scheduler()
    assert desk.assigned_now() == ["u5", "g", "w", "pair"]
    assert {desk.assigned[key]["attempt"] for key in ("u5", "g", "w")} == {1, 2, 3}


def test_restored_unit_may_have_a_plan_under_way() -> None:
    desk = Desk()
    desk.submit(a_unit("u"), a_unit("v"))
    desk.restart()
    desk.binder()
    desk.cancel("u")
    desk.amend("v", 2, a_group(cpu=4))
    assert desk.state("u") is desk.state("v") is State.COMMANDED
    assert [row["op"] for row in desk.commands] == [0, 1]


def test_outcomes_that_were_not_taken_arrive_again() -> None:
    desk = Desk()
    desk.binder()
    desk.scheduler()
    desk.submit(a_unit("u"), a_unit("v"))
    first, second = desk.outcome("u", Verdict.BOUND), desk.outcome("v", Verdict.BOUND)
    desk.settle(first)
    desk.write_outcomes()
    desk.settle(second)
    desk.restart()
    desk.binder()
    assert desk.command is not None
    assert (desk.command.term, desk.command.ack) == (2, 1)
    assert (desk.word("u"), desk.word("v")) == ("BOUND", "WAITING")
    desk.settle(first, second, first=0)
    assert phases(desk, "u") == phases(desk, "v") == ["BOUND"]


def written(desk: Desk) -> list[str]:
    """Kinds of the records of the last event."""
    return [type(e.record).__name__ for e in desk.effects if isinstance(e, Persist)]


def test_outcomes_ride_with_the_next_record() -> None:
    desk = Desk()
    desk.binder()
    desk.scheduler()
    desk.submit(a_unit("u"))
    desk.bind("u")
    assert (desk.word("u"), written(desk)) == ("BOUND", [])
    desk.submit(a_unit("v"))
    assert written(desk) == ["Settled", "Submitted"]


def test_outcomes_are_written_with_their_ack_at_latest() -> None:
    desk = Desk(DispatcherConfig(ack_ms=10))
    desk.binder()
    desk.scheduler()
    desk.submit(a_unit("u"), a_unit("v"))
    desk.bind("u")
    desk.after(9)
    assert written(desk) == []
    desk.after(1)
    order = [type(e) for e in desk.effects if isinstance(e, Persist | Send)]
    assert (written(desk), order) == (["Settled"], [Persist, Send])
    assert desk.command is not None
    assert desk.command.ack == 1


def test_outcomes_in_a_snapshot_are_not_applied_again() -> None:
    desk = Desk()
    desk.binder()
    desk.scheduler()
    desk.submit(a_unit("u"))
    desk.bind("u")
    snapshot, before = encoded(desk.core), len(desk.log)
    desk.report("u", Phase.DONE)
    core = restored(2, desk.config, snapshot + desk.log[before:])
    assert encoded(core) == encoded(desk.core)


def test_ages_and_terms_never_go_back() -> None:
    desk = Desk()
    desk.submit(a_unit("a"), a_unit("b"))
    desk.cancel("a")
    desk.log = encoded(desk.core)
    desk.restart()
    desk.submit(a_unit("c"))
    desk.scheduler()
    assert desk.assigned_now() == ["b", "c"]
    assert [assign.term for _, assign in desk.sent(Assign)] == [2]
