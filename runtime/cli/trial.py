"""A trial: a cluster out of manifests, and what would become of what waits there.

No service is started. The binder's ledger and its re-check, its stream to schedulers and one
scheduler's core run as they do in production, with nothing between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from binder.classes import Masks, SessionClasses
from binder.evaluate import evaluate
from binder.kernels.layout import NONE
from binder.ledger import Ledger
from binder.records import Journal, NodeEntry
from binder.streams import SchedulerStreams
from cell.classes import ClassSpec
from cell.effects import Effect, PeerUp, Received, Send
from cell.link import Hello
from cell.messages import Assign, ClassDef, Plan, State
from cell.node import NodeSpec
from cell.reasons import text
from cell.unit import NO_PIN, Assignments, UnitSpec, Verdict, uid_of
from runtime.cli.trial_cluster import Running, TrialCluster
from scheduler.config import SchedulerConfig
from scheduler.core import SchedulerCore
from scheduler.verdicts import Verdicts

BINDER, DISPATCHER, SCHEDULER = "binder", "dispatcher", "scheduler"
TERM = 1


class Outcome(msgspec.Struct, frozen=True):
    """What became of one replica: its node, "" for none, and what the rules said of every node
    before its unit was placed."""

    unit: UnitSpec
    group: int
    ordinal: int
    node: str
    verdicts: Verdicts


class Trial:
    """One cluster. `place` may be asked once per unit, `verdicts` any time."""

    def __init__(self, cluster: TrialCluster, config: SchedulerConfig | None = None) -> None:
        self._ledger = Ledger()
        self._masks = Masks(self._ledger.nodes.statics, self._ledger.classes, 64)
        self._streams = SchedulerStreams(self._ledger, TERM)
        self._core = SchedulerCore(SCHEDULER, config=config or SchedulerConfig())
        self._told = 0
        self._put_nodes(cluster.nodes)
        for running in cluster.running:
            self._hold(running)
        self._handle(PeerUp(BINDER, Hello(name=BINDER, role="binder")))
        self._handle(PeerUp(DISPATCHER, Hello(name=DISPATCHER, role="dispatcher", term=TERM)))
        self._classes = SessionClasses(self._ledger.classes)
        self._follow(self._streams.open(SCHEDULER))
        while self._streams.is_snapshotting:
            self._follow(self._streams.chunks())

    def verdicts(self, klass: ClassSpec, pin: str = "") -> Verdicts:
        """What the rules say of every node for one more replica of a class."""
        return self._core.verdicts(klass.encoded(), pin)

    def place(self, unit: UnitSpec) -> list[Outcome]:
        """Place a unit, so that later ones see it."""
        before = [self.verdicts(group.klass, group.pin) for group in unit.groups]
        where: dict[tuple[int, int], str] = {}
        for effect in self._handle(Received(DISPATCHER, self._assign(unit))):
            if isinstance(effect, Send) and isinstance(effect.body, Plan):
                where |= self._commit(effect.body)
        return [
            Outcome(unit, g, ordinal, where.get((g, ordinal), ""), before[g])
            for g, group in enumerate(unit.groups)
            for ordinal in range(group.count)
        ]

    def _put_nodes(self, nodes: Sequence[NodeSpec]) -> None:
        entries = tuple(NodeEntry(i, 1, spec) for i, spec in enumerate(nodes))
        self._ledger.apply(self._ledger.draft(Journal.empty(), entries))

    def _hold(self, running: Running) -> None:
        """A pod that has its node holds what it takes, whether it would be let in or not."""
        node = self._ledger.nodes.node_of(running.node)
        if node == NONE:
            return
        uid = uid_of(running.key)
        row = Journal.of(
            handle=[0],
            uid_hi=uid[0],
            uid_lo=uid[1],
            revision=1,
            attempt=0,
            verdict=Verdict.BOUND,
            reason=0,
            group=0,
            ordinal=0,
            node=node,
            argument=0,
            klass=self._ledger.number_class(running.klass.encoded()),
        )
        self._ledger.apply(self._ledger.draft(row), is_told=False)
        if running.is_leaving:
            self._ledger.terminate(self._ledger.claim_of(uid, 0, 0))

    def _assign(self, unit: UnitSpec) -> Assign:
        groups, uid = unit.groups, uid_of(unit.key)
        pins = tuple(sorted({group.pin for group in groups} - {""}))
        self._told += 1
        rows = Assignments.of(
            handle=[self._told] * len(groups),
            uid_hi=uid[0],
            uid_lo=uid[1],
            revision=1,
            attempt=self._told,
            group=range(len(groups)),
            klass=range(len(groups)),
            first=0,
            count=[group.count for group in groups],
            min=[group.min for group in groups],
            priority=unit.priority,
            pin=[pins.index(group.pin) if group.pin else NO_PIN for group in groups],
        )
        classes = tuple(ClassDef(i, each.klass.encoded()) for i, each in enumerate(groups))
        return Assign(TERM, rows, classes, pins)

    def _commit(self, plan: Plan) -> dict[tuple[int, int], str]:
        """The binder judges the plan and tells of it; raises ValueError if it disagrees."""
        self._classes.learn(plan.classes)
        klass = self._classes.local(plan.rows.klass)
        judged = evaluate(self._ledger, self._masks, plan.term, plan.rows, klass)
        if judged.is_lost:
            why = [text(reason) for reason in judged.journal.reason.tolist()]
            raise ValueError(f"the binder refuses what the scheduler planned: {why}")
        self._ledger.apply(self._ledger.draft(judged.journal), is_told=False)
        session = self._streams.sessions[SCHEDULER]
        session.evaluated = plan.first + len(plan.rows)
        self._follow(self._streams.deltas())
        rows, names = plan.rows, self._ledger.nodes.names
        places = zip(rows.group.tolist(), rows.ordinal.tolist(), strict=True)
        return dict(zip(places, names[rows.node.astype(np.int64)].tolist(), strict=True))

    def _follow(self, effects: list[Effect]) -> None:
        for state in _states(effects):
            self._handle(Received(BINDER, state))

    def _handle(self, event: Any) -> list[Effect]:
        return self._core.handle(0, event)


def _states(effects: list[Effect]) -> Iterator[State]:
    for effect in effects:
        if isinstance(effect, Send) and isinstance(effect.body, State):
            yield effect.body
