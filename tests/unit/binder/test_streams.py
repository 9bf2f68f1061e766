"""What schedulers and the dispatcher hear, in which order, and what a restart repeats."""

from __future__ import annotations

import pytest

from binder.config import BinderConfig
from cell.effects import PeerUp, Received, Send, WakeAt
from cell.link import Hello
from cell.messages import (
    SNAPSHOT_NODES_MAX,
    Ability,
    CordonNodes,
    NodeFlag,
    RegisterNodes,
    RemoveNodes,
    Settle,
    State,
)
from cell.reasons import Reason, Wake
from cell.unit import CommandOp, Verdict
from tests.unit.binder.builders import (
    Binder,
    a_class,
    a_command,
    a_gang,
    a_node,
    a_row,
    wakes_of,
)


def states(effects: list) -> list[tuple[str, State]]:  # type: ignore[type-arg]
    return [(e.peer, e.body) for e in effects if isinstance(e, Send) and isinstance(e.body, State)]


def test_a_session_begins_with_the_whole_snapshot_in_chunks() -> None:
    count = SNAPSHOT_NODES_MAX + 10
    binder = Binder()
    nodes = [a_node(f"n{i}") for i in range(count)]
    binder.ask(RegisterNodes(tuple(nodes)))
    follower = binder.scheduler_up()
    assert len(follower.specs) == count
    assert follower.free(f"n{count - 1}") == 4000


def test_a_message_that_is_none_of_the_binders_changes_nothing() -> None:
    binder = Binder([a_node()])
    binder.scheduler_up("s0")
    records = len(binder.log)
    assert binder.handle(Received("s0", Ability(is_ready=True))) == []
    assert binder.handle(PeerUp("s1", Hello(name="s1", role="sharding"))) == []
    assert len(binder.log) == records


def test_no_delta_leaves_before_the_snapshot_is_whole() -> None:
    binder = Binder()
    binder.ask(RegisterNodes(tuple(a_node(f"n{i}") for i in range(SNAPSHOT_NODES_MAX + 1))))
    binder.scheduler_up("s1")
    binder.followers["s0"] = type(binder.followers["s1"])()
    binder.handle(PeerUp("s0", Hello(name="s0", role="scheduler")))
    assert not binder.followers["s0"].is_whole
    binder.ask(RemoveNodes(("n0",)))
    binder.deltas()
    binder.deltas()
    assert binder.followers["s0"].specs[0] == ("n0", 1, NodeFlag.REMOVED)


def test_a_snapshot_leaves_removed_nodes_out() -> None:
    binder = Binder([a_node("n0"), a_node("n1")])
    binder.ask(RemoveNodes(("n0",)))
    assert sorted(binder.scheduler_up().specs) == [1]


def test_deltas_are_gathered_and_computed_once_for_equal_positions() -> None:
    binder = Binder([a_node("n0"), a_node("n1")])
    for name in ("s0", "s1"):
        binder.scheduler_up(name)
    binder.deltas()
    binder.plan([a_row(1)])
    binder.plan([a_row(2, node=1)])
    binder.now_us += binder.config.delta_ms * 1000
    from cell.effects import Tick

    sent = dict(states(binder.handle(Tick())))
    assert sent["s0"].use is sent["s1"].use
    assert [row["node"] for row in sent["s0"].use.rows()] == [0, 1]
    assert (sent["s0"].watermark, sent["s1"].watermark) == (2, 0)
    assert binder.handle(Tick()) == []


def test_the_first_change_asks_for_the_tick_and_the_next_ones_do_not() -> None:
    binder = Binder([a_node()])
    binder.scheduler_up()
    binder.deltas()
    due_us = binder.now_us + binder.config.delta_ms * 1000
    assert binder.plan([a_row(1)])[-1] == WakeAt(due_us)
    assert not any(isinstance(effect, WakeAt) for effect in binder.plan([a_row(2)]))


def test_a_refused_plan_moves_the_watermark_and_its_fresh_rows_leave_at_once() -> None:
    binder = Binder([a_node(cpu=1500)])
    binder.scheduler_up("s0")
    binder.scheduler_up("s1")
    binder.plan([a_row(1)], scheduler="s1")
    effects = binder.plan([a_row(2)], scheduler="s0")
    assert [peer for peer, _ in states(effects)] == ["s0"]
    loser = binder.followers["s0"]
    assert (loser.watermark, loser.free("n0")) == (1, 500)
    assert binder.followers["s1"].watermark == 0


def test_a_watermark_never_runs_ahead_of_the_rows() -> None:
    """A loser's fresh rows come with everything that its watermark covers."""
    binder = Binder([a_node("n0", cpu=1500), a_node("n1")])
    binder.plan([a_row(1, node=1)])
    binder.plan([a_row(2, node=0)], scheduler="s1")
    binder.plan([a_row(3, node=0)])
    follower = binder.followers["s0"]
    assert (follower.watermark, follower.free("n1")) == (2, 3000)


def test_a_new_resource_widens_the_tables() -> None:
    binder = Binder([a_node()])
    follower = binder.scheduler_up()
    binder.ask(RegisterNodes((a_node("n1"), *[_with_gpu("n2")])))
    binder.deltas()
    assert (follower.free("n2", "gpu"), follower.free("n0", "gpu")) == (8, 0)


def _with_gpu(name: str):  # type: ignore[no-untyped-def]
    from cell.node import NodeSpec

    return NodeSpec(name, (("cpu", 4000), ("gpu", 8)))


def test_a_class_waiting_for_a_resource_is_resolved_when_nodes_bring_it() -> None:
    from cell.classes import ClassSpec

    binder = Binder([a_node()], [ClassSpec(demand=(("gpu", 8),))])
    binder.command()
    binder.plan([a_row(1)])
    binder.ask(RegisterNodes((_with_gpu("n1"),)))
    binder.plan([a_row(2, node=1), a_row(3, node=1)])
    assert [told[1] for told in binder.verdicts()] == [
        Verdict.REJECTED,
        Verdict.BOUND,
        Verdict.REJECTED,
    ]


def test_outcomes_are_resent_from_the_last_ack_with_their_numbers() -> None:
    binder = Binder([a_node()])
    binder.command()
    for uid in (1, 2, 3):
        binder.plan([a_row(uid)])
    binder.command(ack=2)
    binder.dispatcher_up()
    assert [settle.first for settle in binder.settles] == [2]
    assert binder.outcomes() == [(3, Verdict.BOUND, Reason.NONE, 0, "n0")]


def test_an_ack_within_a_commit_resends_only_the_rest() -> None:
    binder = Binder([a_node()])
    binder.command()
    binder.plan([a_row(1), a_row(2), a_row(3)])
    binder.command(ack=1)
    binder.dispatcher_up()
    assert (binder.settles[0].first, len(binder.settles[0].rows)) == (1, 2)


def test_outcomes_survive_a_restart_and_acks_are_written_lazily() -> None:
    binder = Binder([a_node()])
    binder.command()
    binder.plan([a_row(1)])
    binder.command(ack=1)
    records = len(binder.log)
    binder.plan([a_row(2)])
    assert len(binder.log) == records + 1
    binder.start()
    binder.dispatcher_up()
    assert [told[0] for told in binder.outcomes()] == [2]
    assert binder.settles[0].first == 1


def test_resent_outcomes_of_several_commits_share_messages_up_to_the_limit() -> None:
    binder = Binder([a_node(cpu=100_000)], config=BinderConfig(settle_rows_max=4))
    binder.command()
    for uid in range(1, 4):
        binder.plan(a_gang(uid, [0, 0]))
    binder.dispatcher_up()
    assert [(settle.first, len(settle.rows)) for settle in binder.settles] == [(0, 4), (4, 2)]


def test_a_new_session_wakes_everyone_behind_the_deltas() -> None:
    binder = Binder([a_node()])
    binder.dispatcher_up()
    assert wakes_of(binder.settles) == Wake.NONE
    binder.deltas()
    assert wakes_of(binder.settles) == Wake.ALL
    assert isinstance(binder.settles[-1], Settle)
    assert binder.names == ["n0"]


def test_wakes_leave_behind_the_state_that_shows_them() -> None:
    from cell.effects import Tick

    binder = Binder([a_node()])
    binder.scheduler_up()
    binder.command()
    binder.plan([a_row()])
    binder.deltas()
    binder.command(a_command(CommandOp.CANCEL))
    binder.now_us += binder.config.delta_ms * 1000
    kinds = [type(e.body).__name__ for e in binder.handle(Tick()) if isinstance(e, Send)]
    assert kinds == ["State", "Settle"]


def test_messages_of_a_session_that_has_ended_are_not_followed() -> None:
    binder = Binder([a_node()])
    binder.command()
    binder.scheduler_up()
    binder.down("s0")
    assert binder.plan([a_row()]) == []
    binder.down("dispatcher")
    assert binder.command(a_command(CommandOp.CANCEL)) == []


@pytest.mark.parametrize("is_restored", [False, True])
def test_tombstones_are_dropped_when_the_floor_has_passed(is_restored: bool) -> None:
    binder = Binder([a_node()])
    binder.command(next=0)
    binder.plan([a_row(1, attempt=1)])
    binder.command(a_command(CommandOp.CANCEL), next=10)
    binder.command(ack=2, next=20, floor=5)
    if is_restored:
        binder.compact()
        binder.start()
    binder.dispatcher_up()
    binder.command(ack=2, next=20, floor=19)
    binder.settles = []
    binder.plan([a_row(1, attempt=19)])
    assert binder.verdicts() == [(1, Verdict.CANCELLED, Reason.CANCELLED)], "19 may be under way"
    binder.command(ack=2, next=30, floor=20)
    binder.settles = []
    binder.plan([a_row(1, attempt=21)])
    assert binder.verdicts() == [(1, Verdict.BOUND, Reason.NONE)]


def test_a_fence_stays_while_its_unit_has_claims() -> None:
    binder = Binder([a_node()])
    binder.command()
    binder.plan([a_row(revision=1)])
    binder.command(a_command(CommandOp.RELEASE, revision=2))
    binder.plan([a_row(revision=2, attempt=2)])
    binder.command(ack=3, next=10, floor=3)
    binder.command(ack=3, next=10, floor=10)
    binder.settles = []
    binder.plan([a_row(revision=1, attempt=12)])
    assert binder.verdicts() == [(1, Verdict.STALE, Reason.STALE_REVISION)]


def test_published_changes_name_nodes_and_generations_grow() -> None:
    binder = Binder([a_node("n0"), a_node("n1")], [a_class()])
    binder.plan(a_gang(1, [1, 0]))
    binder.command(a_command(CommandOp.FREE, ordinal=0))
    binder.ask(CordonNodes(("n0",), is_cordoned=True))
    seen = [
        (row["ordinal"], changes.nodes[row["node"]], row["state"])
        for changes in binder.published
        for row in changes.claims.rows()
    ]
    assert seen == [(0, "n1", 2), (1, "n0", 2), (0, "n1", 4)]
    generations = [changes.generation for changes in binder.published]
    assert generations == sorted(set(generations))
    binder.start()
    binder.plan([a_row(2)])
    assert binder.published[-1].generation > generations[-1]
