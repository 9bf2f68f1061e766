"""Builders of what a binder is told, and a loop that keeps its log and follows its streams.

Everything crosses as bytes, so that nothing shares memory with the core and columns are read-only
as in production.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from binder.config import BinderConfig
from binder.core import BinderCore
from binder.records import Record
from cell import record as codec
from cell.classes import ClassSpec, Toleration
from cell.effects import (
    Answer,
    Effect,
    PeerDown,
    PeerUp,
    Persist,
    Publish,
    Received,
    Request,
    Send,
    Tick,
    WakeAt,
)
from cell.link import Hello
from cell.messages import (
    ClassDef,
    Command,
    LedgerChanges,
    NodeFlag,
    Plan,
    RegisterNodes,
    Settle,
    State,
)
from cell.node import NodeSpec
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT, CommandOp, Commands, PlanOp, PlanRows, Verdict

DECODER = codec.decoder(Record)
DISPATCHER = "dispatcher"


def a_node(name: str = "n0", cpu: int = 4000, **fields: Any) -> NodeSpec:
    """A node of so many milli-cores."""
    return NodeSpec(name, (("cpu", cpu),), **fields)


def a_class(cpu: int = 1000, **fields: Any) -> ClassSpec:
    """A class that demands so many milli-cores."""
    return ClassSpec(demand=(("cpu", cpu),), **fields)


TOLERANT = (Toleration(operator="Exists"),)


def a_row(uid: int = 1, **fields: int) -> dict[str, int]:
    """A plan row of unit `uid`: revision 1, attempt 1, a single of class 0 on node 0."""
    row = {
        "op": PlanOp.BIND,
        "handle": uid,
        "uid_hi": uid,
        "uid_lo": uid,
        "revision": 1,
        "attempt": 1,
        "group": 0,
        "ordinal": 0,
        "klass": 0,
        "min": 1,
        "node": 0,
        "incarnation": 1,
    }
    return {**row, **fields}


def a_gang(uid: int, nodes: Sequence[int], minimum: int | None = None, **fields: int) -> list[Any]:
    """Rows of a gang, one replica per entry of `nodes`; all are needed by default."""
    least = len(nodes) if minimum is None else minimum
    return [a_row(uid, ordinal=i, node=n, min=least, **fields) for i, n in enumerate(nodes)]


def a_command(op: CommandOp, uid: int = 1, **fields: int) -> dict[str, int]:
    """A command for unit `uid`, whose handle is its uid."""
    row = {
        "op": op,
        "handle": uid,
        "uid_hi": uid,
        "uid_lo": uid,
        "revision": 1,
        "group": 0,
        "ordinal": 0 if op == CommandOp.FREE else WHOLE_UNIT,
        "klass": 0,
        "reason": Reason.REPORTED_DONE if op == CommandOp.FREE else Reason.NONE,
    }
    return {**row, **fields}


def columns(table: Any, rows: Sequence[dict[str, int]]) -> Any:
    """A table of these rows, read-only as a message brings it."""
    if not rows:
        return table.empty()
    made = table.of(**{name: [int(row[name]) for row in rows] for name in rows[0]})
    return table.from_bytes(made.to_bytes())


def definitions(classes: Sequence[ClassSpec]) -> tuple[ClassDef, ...]:
    """A dictionary that numbers the classes in order."""
    return tuple(ClassDef(i, spec.encoded()) for i, spec in enumerate(classes))


class Follower:
    """A scheduler's copy of the node tables, kept from State as a dumb reader would."""

    def __init__(self) -> None:
        self.resources: list[str] = []
        self.strings: list[str] = []
        self.specs: dict[int, tuple[str, int, int]] = {}
        """node → (name, incarnation, flags)"""
        self.allocatable: dict[int, dict[str, int]] = {}
        self.used: dict[int, dict[str, int]] = {}
        self.generations: dict[int, int] = {}
        self.watermark = 0
        self.generation = 0
        self.is_whole = False

    def take(self, state: State) -> None:
        """Follow one message."""
        assert state.generation >= self.generation
        assert state.watermark >= self.watermark
        self.resources += state.resources
        self.strings += state.strings
        width = len(self.resources)
        for i, row in enumerate(state.specs.rows()):
            self.specs[row["node"]] = self.strings[row["name"]], row["incarnation"], row["flags"]
            amounts = state.specs.allocatable[i * width : (i + 1) * width].tolist()
            self.allocatable[row["node"]] = dict(zip(self.resources, amounts, strict=True))
        for i, row in enumerate(state.use.rows()):
            assert row["generation"] >= self.generations.get(row["node"], 0)
            self.generations[row["node"]] = row["generation"]
            amounts = state.use.used[i * width : (i + 1) * width].tolist()
            used = dict(zip(self.resources, amounts, strict=True))
            self.used[row["node"]] = {name: amount for name, amount in used.items() if amount}
        self.watermark, self.generation = state.watermark, state.generation
        self.is_whole |= state.is_last

    def free(self, name: str, resource: str = "cpu") -> int:
        """What is free of a resource on the present node of that name."""
        node = next(
            node
            for node, (known, _, flags) in self.specs.items()
            if known == name and not flags & NodeFlag.REMOVED
        )
        return self.allocatable[node].get(resource, 0) - self.used.get(node, {}).get(resource, 0)


class Binder:
    """A core with its log and its sessions; effects are performed at once and in order."""

    def __init__(
        self,
        nodes: Sequence[NodeSpec] = (),
        classes: Sequence[ClassSpec] = (a_class(),),
        config: BinderConfig | None = None,
    ) -> None:
        self.config = config or BinderConfig()
        self.classes = definitions(classes)
        self.log: list[bytes] = []
        self.now_us = 1_000_000
        self.term = 0
        self.published: list[LedgerChanges] = []
        self.start()
        if nodes:
            self.ask(RegisterNodes(tuple(nodes)))

    def start(self) -> None:
        """Start, or start again from what is durable: every session is gone."""
        self.term += 1
        self.core = BinderCore(self.term, self.config)
        self.core.restore([DECODER.decode(entry) for entry in self.log])
        self.followers: dict[str, Follower] = {}
        self.planned: dict[str, int] = {}
        self.is_dispatcher_up = False
        self.settles: list[Settle] = []
        self.names: list[str] = []
        self.wake_at_us = 0

    def compact(self) -> None:
        """Replace the log by a snapshot."""
        self.log = [codec.encode(record) for record in self.core.snapshot()]

    def handle(self, event: Any) -> list[Effect]:
        """Give the core an event and perform what it returns."""
        effects = self.core.handle(self.now_us, event)
        for effect in effects:
            match effect:
                case Persist(record=record):
                    self.log.append(codec.encode(record))
                case Send(peer=peer, body=State() as state):
                    self.followers[peer].take(state)
                case Send(body=Settle() as settle):
                    assert len(self.names) == settle.node_base
                    self.names += settle.nodes
                    self.settles.append(settle)
                case Publish(body=changes):
                    self.published.append(changes)
                case WakeAt(at_us=at_us):
                    self.wake_at_us = at_us
        return effects

    def ask(self, body: Any) -> Any:
        """The answer to a request."""
        effects = self.handle(Request(1, body))
        return next(effect.body for effect in effects if isinstance(effect, Answer))

    def scheduler_up(self, name: str = "s0") -> Follower:
        """A fresh session of a scheduler, with its whole snapshot."""
        self.followers[name] = Follower()
        self.planned[name] = 0
        self.handle(PeerUp(name, Hello(name=name, role="scheduler")))
        while not self.followers[name].is_whole:
            self.handle(Tick())
        return self.followers[name]

    def dispatcher_up(self) -> None:
        """A fresh session of the dispatcher."""
        self.settles, self.names = [], []
        self.handle(PeerUp(DISPATCHER, Hello(name=DISPATCHER, role="dispatcher", term=1)))

    def down(self, peer: str) -> None:
        """The peer's session ends."""
        self.handle(PeerDown(peer))

    def plan(
        self,
        rows: Sequence[dict[str, int]],
        term: int = 1,
        scheduler: str = "s0",
        classes: tuple[ClassDef, ...] | None = None,
    ) -> list[Effect]:
        """A plan of a scheduler, which is connected when it was not."""
        if scheduler not in self.followers:
            self.scheduler_up(scheduler)
        first = self.planned[scheduler]
        self.planned[scheduler] += len(rows)
        defined = self.classes if classes is None else classes
        table = columns(PlanRows, rows)
        return self.handle(Received(scheduler, Plan(term, first, 0, table, defined)))

    def command(self, *rows: dict[str, int], **marks: int) -> list[Effect]:
        """Commands, or only marks, of the dispatcher, which is connected when it was not."""
        if not self.settles and not self.is_dispatcher_up:
            self.is_dispatcher_up = True
            self.dispatcher_up()
        made = {"term": 1, "floor": 0, "next": 100, "ack": 0, **marks}
        table = columns(Commands, rows)
        return self.handle(Received(DISPATCHER, Command(**made, rows=table, classes=self.classes)))

    def deltas(self) -> None:
        """Let the time of the next deltas come."""
        self.now_us += self.config.delta_ms * 1000
        self.handle(Tick())

    def outcomes(self) -> list[tuple[int, Verdict, Reason, int, str]]:
        """What the dispatcher was told in this session: uid, verdict, reason, ordinal, node."""
        told = []
        for settle in self.settles:
            for row in settle.rows.rows():
                node = row["node"]
                told.append(
                    (
                        row["uid_lo"],
                        Verdict(row["verdict"]),
                        Reason(row["reason"]),
                        -1 if row["ordinal"] == WHOLE_UNIT else row["ordinal"],
                        self.names[node] if node < len(self.names) else "",
                    )
                )
        return told

    def verdicts(self) -> list[tuple[int, Verdict, Reason]]:
        """The same, without ordinal and node."""
        return [told[:3] for told in self.outcomes()]

    def claims(self) -> dict[tuple[int, int, int], tuple[str, int]]:
        """(uid, group, ordinal) → (node, revision) of all claims that hold room."""
        view = self.core.ledger()
        return {
            (row["uid_lo"], row["group"], row["ordinal"]): (
                view.nodes[row["node"]],
                row["revision"],
            )
            for row in view.claims.rows()
        }

    def used(self, resource: str = "cpu") -> dict[str, int]:
        """What is used of a resource per node, where anything is."""
        views = self.core.nodes()
        return {v.name: v.used[resource] for v in views if v.used.get(resource)}


def wakes_of(settles: Sequence[Settle]) -> int:
    """All wakes told."""
    return int(np.bitwise_or.reduce([settle.wakes for settle in settles] or [0]))
