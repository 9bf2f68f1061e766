"""Builders: a binder's stream, units, and what a core said, mentioning only what matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cell.classes import POD_SLOT, ClassSpec, normalise
from cell.effects import Effect, PeerUp, Received, Send, Tick, WakeAt
from cell.link import Hello
from cell.messages import Ability, Assign, ClassDef, NodeSpecs, NodeUse, Plan, State, Unplaced
from cell.node import NodeSpec
from cell.reasons import Reason, Wake
from cell.unit import NO_PIN, Assignments
from scheduler.config import SchedulerConfig
from scheduler.core import SchedulerCore
from tests.unit.fit.tables import specs_table

BINDER, DISPATCHER = "binder", "dispatcher"
UP_BINDER = PeerUp(BINDER, Hello(name=BINDER, role=BINDER, term=1))
UP_DISPATCHER = PeerUp(DISPATCHER, Hello(name=DISPATCHER, role=DISPATCHER, term=1))


def a_node(
    cpu: int = 8, memory: int = 8, pods: int = 10, name: str = "", **fields: Any
) -> NodeSpec:
    """A node with room; `others` are amounts of further resources."""
    others = fields.pop("others", {})
    amounts = {"cpu": cpu, "memory": memory, POD_SLOT: pods, **others}
    return NodeSpec(name, tuple(sorted(amounts.items())), **fields)


def a_class(cpu: int = 1, memory: int = 0, **fields: Any) -> ClassSpec:
    """A class by demand; `others` are amounts of further resources."""
    others = fields.pop("others", {})
    demand = {"cpu": cpu, "memory": memory, **others}
    return normalise(ClassSpec(demand=tuple(demand.items()), **fields))


NAMED = (Reason.INSUFFICIENT_RESOURCE, Reason.UNKNOWN_PROFILE, Reason.PROFILE)
"""Reasons whose argument is a name: it indexes the message's names."""
ONE_CPU = a_class()


@dataclass(frozen=True)
class G:
    """One row of a unit."""

    klass: ClassSpec = ONE_CPU
    count: int = 1
    min: int | None = None
    pin: str = ""
    group: int = 0
    first: int = 0

    @property
    def least(self) -> int:
        return self.count if self.min is None else self.min


@dataclass(frozen=True)
class U:
    """One unit as the dispatcher assigns it; uid, handle and attempt follow from its number."""

    number: int
    rows: tuple[G, ...] = (G(),)


def a_unit(number: int, klass: ClassSpec | None = None, **fields: Any) -> U:
    """A unit of one row."""
    return U(number, (G(klass or a_class(), **fields),))


class Stream:
    """What a binder would send: node tables by index, deltas of what changed."""

    def __init__(self) -> None:
        self.nodes: dict[int, NodeSpec | None] = {}
        self.used: dict[int, dict[str, int]] = {}
        self.incarnations: dict[int, int] = {}
        self.generation = 0
        self.watermark = 0
        self._strings: list[str] = []
        self._strings_sent = 0
        self._resources: list[str] = []

    def put(self, index: int, node: NodeSpec | None) -> None:
        """A node as registered, or None when it is removed."""
        if node is not None and not node.name:
            node = NodeSpec(
                f"n{index}", node.allocatable, node.labels, node.taints, node.unschedulable
            )
        if node is not None and self.nodes.get(index) is None:
            self.incarnations[index] = self.incarnations.get(index, 0) + 1
            self.used[index] = {}
        self.nodes[index] = node

    def use(self, index: int, amounts: Mapping[str, int], sign: int = 1) -> None:
        """Room that claims take of a node."""
        used = self.used[index]
        for name, amount in amounts.items():
            used[name] = used.get(name, 0) + sign * amount

    def state(self, changed: Iterable[int] | None = None, *, is_last: bool = True) -> State:
        """The message about some nodes (default: all), specs and use, and the watermark."""
        self.generation += 1
        rows = sorted(self.nodes) if changed is None else sorted(set(changed))
        known = len(self._resources)
        for row in rows:
            named = [name for name, _ in (self.nodes[row] or NodeSpec("")).allocatable]
            for name in [*named, *self.used[row]]:
                if name not in self._resources:
                    self._resources.append(name)
        specs = specs_table(self._strings, {r: self.nodes[r] for r in rows}, self._resources)
        specs.__dict__["incarnation"] = np.array([self.incarnations[r] for r in rows], np.uint32)
        use = [self.used[r].get(name, 0) for r in rows for name in self._resources]
        sent, self._strings_sent = self._strings_sent, len(self._strings)
        return State(
            term=1,
            generation=self.generation,
            watermark=self.watermark,
            specs=specs,
            use=NodeUse(
                node=np.array(rows, np.uint32),
                generation=np.full(len(rows), self.generation, np.uint64),
                used=np.array(use, np.int64),
            ),
            is_last=is_last,
            resources=tuple(self._resources[known:]),
            strings=tuple(self._strings[sent:]),
        )

    def delta(self) -> State:
        """A message that has nothing but the watermark."""
        self.generation += 1
        return State(1, self.generation, self.watermark, NodeSpecs.empty(), NodeUse.empty())


class Sender:
    """The dispatcher's end: numbers classes and pins as its stream does."""

    def __init__(self) -> None:
        self._classes: list[bytes] = []

    def assign(self, units: Iterable[U], term: int = 1) -> Assign:
        """Units as one message, classes defined at first use."""
        rows = [(unit, row) for unit in units for row in unit.rows]
        pins = sorted({row.pin for _, row in rows if row.pin})
        known = len(self._classes)
        klass = [self._number(row.klass) for _, row in rows]
        table = Assignments.of(
            handle=[unit.number for unit, _ in rows],
            uid_hi=0,
            uid_lo=[unit.number for unit, _ in rows],
            revision=1,
            attempt=[100 + unit.number for unit, _ in rows],
            group=[row.group for _, row in rows],
            klass=klass,
            first=[row.first for _, row in rows],
            count=[row.count for _, row in rows],
            min=[row.least for _, row in rows],
            priority=0,
            pin=[pins.index(row.pin) if row.pin else NO_PIN for _, row in rows],
        )
        new = range(known, len(self._classes))
        return Assign(term, table, tuple(ClassDef(i, self._classes[i]) for i in new), tuple(pins))

    def _number(self, spec: ClassSpec) -> int:
        encoded = spec.encoded()
        if encoded not in self._classes:
            self._classes.append(encoded)
        return self._classes.index(encoded)


class Bench:
    """A core between a dispatcher and a binder."""

    def __init__(
        self,
        nodes: Mapping[int, NodeSpec] | Iterable[NodeSpec] = (),
        config: SchedulerConfig | None = None,
        partition: int = 0,
        partitions: int = 1,
        registry: Mapping[str, Any] | None = None,
    ) -> None:
        self.core = SchedulerCore(
            "scheduler-0", partition, partitions, config or SchedulerConfig(), registry
        )
        self.stream = Stream()
        self.sender = Sender()
        chosen = nodes if isinstance(nodes, Mapping) else dict(enumerate(nodes))
        for index, node in chosen.items():
            self.stream.put(index, node)
        self.handle(UP_BINDER)
        self.handle(UP_DISPATCHER)
        self.effects = self.follow(self.stream.state())

    def handle(self, event: Any) -> list[Effect]:
        return self.core.handle(7, event)

    def follow(self, state: State) -> list[Effect]:
        return self.handle(Received(BINDER, state))

    def assign(self, *units: U, term: int = 1) -> list[Effect]:
        return self.handle(Received(DISPATCHER, self.sender.assign(units, term)))

    def assign_all(self, *units: U) -> list[Effect]:
        """Assign, and Tick until nothing is left."""
        effects = self.assign(*units)
        while effects and isinstance(effects[-1], WakeAt):
            effects = [*effects[:-1], *self.handle(Tick())]
        return effects

    def name(self, index: int) -> str:
        node = self.stream.nodes[index]
        return node.name if node else f"gone {index}"


def queued_rows(core: SchedulerCore) -> int:
    """Assignment rows not yet placed."""
    return sum(len(entry.rest) for entry in core._queue)


def plans(effects: Iterable[Effect]) -> list[Plan]:
    """Plans among effects."""
    return [e.body for e in effects if isinstance(e, Send) and isinstance(e.body, Plan)]


def placed(effects: Iterable[Effect]) -> list[tuple[int, int, int, int]]:
    """(unit, group, ordinal, node) of every plan row, in order."""
    rows = [row for plan in plans(effects) for row in plan.rows.rows()]
    return [(r["handle"], r["group"], r["ordinal"], r["node"]) for r in rows]


def answers(effects: Iterable[Effect]) -> list[Unplaced]:
    """Unplaced messages among effects."""
    return [e.body for e in effects if isinstance(e, Send) and isinstance(e.body, Unplaced)]


def abilities(effects: Iterable[Effect]) -> list[bool]:
    """What the core said of its ability."""
    return [e.body.is_ready for e in effects if isinstance(e, Send) and isinstance(e.body, Ability)]


def refused(effects: Iterable[Effect]) -> dict[int, Reason]:
    """Reason per unit that got nothing."""
    rows = [row for answer in answers(effects) for row in answer.rows.rows()]
    return {row["handle"]: Reason(row["reason"]) for row in rows}


@dataclass(frozen=True)
class Why:
    """One answer, names in place of numbers."""

    reason: Reason
    argument: str | int
    wakes: Wake
    nodes: dict[tuple[Reason, str], int]


def why(effects: Iterable[Effect]) -> dict[int, Why]:
    """The whole answer per unit that got nothing."""
    said = {}
    for answer in answers(effects):
        shortfalls = answer.shortfalls.rows()
        for i, row in enumerate(answer.rows.rows()):
            reason = Reason(row["reason"])
            said[row["handle"]] = Why(
                reason,
                answer.resources[row["argument"]] if reason in NAMED else row["argument"],
                Wake(row["wakes"]),
                {
                    (Reason(s["reason"]), answer.resources[s["resource"]]): s["nodes"]
                    for s in shortfalls
                    if s["answer"] == i
                },
            )
    return said
