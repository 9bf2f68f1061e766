"""Nodes registered, cordoned, removed: what is answered, and what becomes of claims there."""

from __future__ import annotations

import pytest

from binder import requests
from cell.effects import Persist, Publish
from cell.messages import ITEMS_MAX, Acks, CordonNodes, RegisterNodes, RemoveNodes
from cell.node import NODE_RESOURCES_MAX, NODES_MAX, NodeSpec, Taint
from cell.reasons import Reason, Refusal, Status
from cell.unit import CommandOp, Verdict
from tests.unit.binder.builders import Binder, a_command, a_gang, a_node, a_row


def test_a_registered_node_is_durable_before_the_ack_and_offered() -> None:
    binder = Binder([a_node()])
    follower = binder.scheduler_up()
    assert binder.ask(RegisterNodes((a_node("n1", cpu=7000),))) == Acks(1)
    binder.deltas()
    assert follower.free("n1") == 7000
    binder.start()
    assert [view.name for view in binder.core.nodes()] == ["n0", "n1"]


def test_registering_again_replaces_the_spec_and_keeps_claims() -> None:
    binder = Binder([a_node()])
    binder.plan([a_row()])
    binder.ask(RegisterNodes((a_node("n0", cpu=500, labels=(("zone", "b"),)),)))
    (view,) = binder.core.nodes()
    assert (view.allocatable["cpu"], view.used["cpu"], view.incarnation) == (500, 1000, 1)
    binder.deltas()
    assert binder.followers["s0"].free("n0") == -500


def test_the_same_spec_again_is_acked_and_writes_nothing() -> None:
    binder = Binder([a_node()])
    records = len(binder.log)
    assert binder.ask(RegisterNodes((a_node(),))) == Acks(1)
    assert len(binder.log) == records


@pytest.mark.parametrize(
    ("node", "field"),
    [
        (NodeSpec(""), "name"),
        (NodeSpec("x" * 254), "name"),
        (NodeSpec("x\ny"), "name"),
        (NodeSpec("x y"), "name"),
        (NodeSpec("x\x1b[2J"), "name"),
        (NodeSpec("x", (("cpu", -1),)), "allocatable[cpu]"),
        (NodeSpec("x", (), (("", "v"),)), "labels[]"),
        (NodeSpec("x", taints=(Taint("k" * 318, "", "NoSchedule"),)), "taints[0].key"),
        (NodeSpec("x", taints=(Taint("k", "v" * 318, "NoSchedule"),)), "taints[0].value"),
    ],
)
def test_a_bad_node_is_refused_in_band(node: NodeSpec, field: str) -> None:
    binder = Binder()
    answer = binder.ask(RegisterNodes((node, a_node("good"))))
    ((item, refusal),) = answer.refused
    assert (answer.count, item) == (2, 0)
    assert (refusal.status, refusal.field) == (Status.INVALID_ARGUMENT, field)
    assert [view.name for view in binder.core.nodes()] == ["good"]


def test_limits_are_answered() -> None:
    binder = Binder()
    names = tuple(str(i) for i in range(ITEMS_MAX + 1))
    answer = binder.ask(RemoveNodes(names))
    assert isinstance(answer, Refusal)
    assert answer.status == Status.RESOURCE_EXHAUSTED
    wide = tuple((f"r{i}", 1) for i in range(NODE_RESOURCES_MAX - 1))
    one_more = NodeSpec("y", (("other", 1),))
    answer = binder.ask(RegisterNodes((NodeSpec("x", wide), one_more, NodeSpec("z", wide))))
    assert [(i, r.status) for i, r in answer.refused] == [(1, Status.RESOURCE_EXHAUSTED)]


def test_nodes_beyond_the_limit_are_refused_and_known_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert NODES_MAX == 1_048_576
    monkeypatch.setattr(requests, "NODES_MAX", 2)
    binder = Binder()
    answer = binder.ask(RegisterNodes((a_node("n0"), a_node("n1"), a_node("n2"))))
    ((item, refusal),) = answer.refused
    assert (item, refusal.status, refusal.field) == (2, Status.RESOURCE_EXHAUSTED, "name")
    assert binder.ask(RegisterNodes((a_node("n1", cpu=9),))) == Acks(1)


def test_an_unknown_node_is_not_found_and_a_removed_one_is_removed_again() -> None:
    binder = Binder([a_node()])
    for request in (CordonNodes(("x",), is_cordoned=True), RemoveNodes(("x",))):
        ((_, refusal),) = binder.ask(request).refused
        assert refusal.status == Status.NOT_FOUND
    assert binder.ask(RemoveNodes(("n0",))) == Acks(1)
    assert binder.ask(RemoveNodes(("n0",))) == Acks(1)


def test_claims_on_a_removed_node_fail_and_the_rest_of_the_unit_stays() -> None:
    binder = Binder([a_node("n0"), a_node("n1")])
    binder.command()
    binder.plan(a_gang(1, [0, 1]))
    binder.settles = []
    binder.ask(RemoveNodes(("n0",)))
    assert binder.outcomes() == [(1, Verdict.FAILED, Reason.NODE_GONE, 0, "n0")]
    assert binder.claims() == {(1, 0, 1): ("n1", 1)}


def test_a_node_registered_again_is_a_new_incarnation_and_empty() -> None:
    binder = Binder([a_node()])
    binder.command()
    binder.plan([a_row()])
    binder.ask(RemoveNodes(("n0",)))
    binder.ask(RegisterNodes((a_node(),)))
    (view,) = binder.core.nodes()
    assert (view.incarnation, view.used, view.claims) == (2, {}, 0)
    binder.settles = []
    binder.plan([a_row(2, incarnation=1), a_row(3, incarnation=2)])
    assert [told[1:] for told in binder.verdicts()] == [
        (Verdict.REJECTED, Reason.NODE_GONE),
        (Verdict.BOUND, Reason.NONE),
    ]
    binder.deltas()
    assert binder.followers["s0"].specs[0] == ("n0", 2, 0)


def test_a_replica_that_failed_with_its_node_is_not_placed_by_a_plan_under_way() -> None:
    binder = Binder([a_node("n0"), a_node("n1")])
    binder.command()
    binder.plan([a_row()])
    binder.ask(RemoveNodes(("n0",)))
    binder.settles = []
    binder.plan([a_row(attempt=2, node=1)])
    assert binder.verdicts() == [(1, Verdict.STALE, Reason.STALE_ATTEMPT)]


def test_a_commit_is_durable_before_anybody_hears_of_it() -> None:
    binder = Binder([a_node()])
    binder.command()
    binder.scheduler_up()
    binder.deltas()
    effects = binder.plan([a_row()])
    kinds = [type(effect).__name__ for effect in effects]
    assert kinds == ["Persist", "Send", "Publish", "WakeAt"]
    effects = binder.command(a_command(CommandOp.CANCEL))
    assert isinstance(effects[0], Persist)
    published = next(e.body for e in effects if isinstance(e, Publish))
    assert [row["state"] for row in published.claims.rows()] == [4]
