"""Walks of the API-server home through a hostile server; then it heals and all must agree."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from binder.config import BinderConfig
from binder.home.apiserver import ApiServerBinder
from cell.effects import PeerUp, Received, Tick
from cell.home import Call, Evict, ObjectState, Post, Replica, WatchLost, Write
from cell.link import Hello
from cell.messages import ClaimState, Command, Plan
from cell.unit import CommandOp, Commands, PlanRows
from tests.property.binder.api_world import HOLDS, ApiWorld
from tests.unit.binder.builders import (
    a_class,
    a_command,
    a_gang,
    a_node,
    a_row,
    columns,
    definitions,
)

CLASSES = definitions([a_class(500)])
GANGS = {1: 3, 2: 2}
SINGLES = (3, 4, 5)
NODES = [a_node("n0", cpu=3000), a_node("n1", cpu=2000)]


class Walk:
    """One history, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = ApiWorld(self.random, NODES)
        self.now_us = 1_000_000
        self.term = 0
        self.attempt = 0
        for uid in (*GANGS, *SINGLES):
            for ordinal in range(GANGS.get(uid, 1)):
                self.world.create(Replica(uid, uid, 0, ordinal), a_class(500).encoded())
        self.start()

    def start(self) -> None:
        """A new leader; it has waited for records under way, other calls may yet land."""
        self.term += 1
        for call in self.world.open:
            if isinstance(call, Post | Evict | Write) and self.random.random() < 0.5:
                self.world.late.append(call)
        self.world.open = []
        self.world.land(Write)
        config = BinderConfig(posts_max=3, post_retry_ms=50, gang_repair_ms_max=400)
        self.core = ApiServerBinder(self.term, config)
        self.core.restore([])
        self.planned = 0
        self.give(PeerUp("s0", Hello(name="s0", role="scheduler")))
        self.give(PeerUp("dispatcher", Hello(name="dispatcher", role="dispatcher", term=1)))
        self.give(Tick())

    def give(self, event: Any) -> None:
        effects = self.core.handle(self.now_us, event)
        self.world.open += [effect for effect in effects if isinstance(effect, Call)]

    def serve(self, *, is_kind: bool = False) -> None:
        if self.world.open:
            call = self.world.open.pop(self.random.randrange(len(self.world.open)))
            self.give(self.world.serve(call, is_kind=is_kind))

    def show(self) -> None:
        delta = self.world.delta()
        if delta is not None:
            self.give(delta)

    def tick(self) -> None:
        self.now_us += self.random.choice([1_000, 60_000, 200_000])
        self.give(Tick())

    def plan(self) -> None:
        count = len(self.core.nodes())
        if not count:
            return
        self.attempt += 1
        uid = self.random.choice([*GANGS, *SINGLES])
        nodes = [self.random.randrange(count) for _ in range(GANGS.get(uid, 1))]
        rows = a_gang(uid, nodes, attempt=self.attempt)
        if uid in SINGLES:
            rows = [a_row(uid, node=nodes[0], attempt=self.attempt)]
        first, self.planned = self.planned, self.planned + len(rows)
        self.give(Received("s0", Plan(1, first, 0, columns(PlanRows, rows), CLASSES)))

    def command(self) -> None:
        uid = self.random.choice([1, 3])
        op = self.random.choice([CommandOp.CANCEL, CommandOp.FREE, CommandOp.AMEND])
        self.world.disturbed.add((uid, uid))
        rows = columns(Commands, [a_command(op, uid, revision=1 + (op == CommandOp.AMEND))])
        self.give(Received("dispatcher", Command(1, 0, 1 << 20, 0, rows, CLASSES)))

    def others(self) -> None:
        views = sorted(self.world.objects)
        does = self.random.choice(["end", "bind", "gap", "crash"])
        if does == "gap":
            self.world.deltas.clear()
            self.give(WatchLost())
        elif does == "crash" and self.random.random() < 0.3:
            self.start()
        elif does == "bind":
            foreign = Replica(900, self.world.made)
            self.world.create(foreign, a_class(700).encoded(), "n0", is_ours=False)
        elif does == "end" and views:
            states = [ObjectState.TERMINATING, ObjectState.FAILED, ObjectState.DELETED]
            self.world.change(self.random.choice(views), self.random.choice(states))

    def step(self) -> None:
        moves = [self.plan] * 4 + [self.serve] * 6 + [self.show] * 6 + [self.tick] * 2
        self.random.choice([*moves, self.command, self.others, self.world.land])()
        self.check_books()

    def heal(self) -> None:
        """Everything is answered and shown, and what terminates ends."""
        for _ in range(60):
            self.world.land()
            while self.world.open:
                self.serve(is_kind=True)
            while self.world.deltas:
                self.show()
            self.now_us += 100_000
            self.give(Tick())
            for view in list(self.world.objects.values()):
                if view.state is ObjectState.TERMINATING:
                    self.world.change(view.replica, ObjectState.DELETED)

    def check_books(self) -> None:
        """What is used is the sum of the claims."""
        ledger = self.core._ledger
        columns_, used = ledger.classes.columns, np.zeros_like(ledger.nodes.used())
        for claim in ledger.live_claims().tolist():
            klass = ledger.claims.klass[claim]
            for j in range(columns_.entries[klass]):
                node = ledger.claims.node[claim]
                used[node, columns_.resource[klass, j]] += columns_.amount[klass, j]
        assert np.array_equal(ledger.nodes.used(), used)

    def check_agreement(self) -> None:
        """The ledger is what the server has, nothing is under way, gangs are whole."""
        view = self.core.ledger()
        claims = {
            (r["uid_lo"], r["ordinal"]): (view.nodes[r["node"]], r["state"])
            for r in view.claims.rows()
        }
        objects = {
            (o.replica.uid_lo, o.replica.ordinal): (o.node, ClaimState.BOUND)
            for o in self.world.objects.values()
            if o.state in HOLDS
        }
        assert claims == objects
        assert self.world.open == []
        assert [kept for kept in self.world.records.values() if kept.record] == []
        for uid, size in GANGS.items():
            if (uid, uid) not in self.world.disturbed:
                assert sum(name == uid for name, _ in claims) in (0, size)
        assert len(self.world.bound) == len(set(self.world.bound))


@settings(max_examples=150)
@given(st.integers(0, 1 << 32), st.integers(0, 120))
def test_after_any_history_the_ledger_is_what_the_server_has(seed: int, steps: int) -> None:
    walk = Walk(seed)
    for _ in range(steps):
        walk.step()
    walk.heal()
    walk.check_agreement()
