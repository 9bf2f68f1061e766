"""What each scheduler must think: the binder's stream, less its own plans above the watermark.

The auditor follows the same messages with dictionaries and compares free room node by node after
each of them: an assumption is dropped by the watermark, or with its whole stream, by nothing else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cell.classes import decode
from cell.effects import PeerDown, PeerUp, Received, Send
from cell.messages import NodeFlag, Plan, State
from tests.simulation import room
from tests.simulation.node import Node
from tests.simulation.world import Broken


@dataclass
class NodeRow:
    """One node as the binder's stream tells it."""

    name: str = ""
    is_removed: bool = False
    offers: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    used_generation: int = 0


@dataclass
class Stream:
    """One session with the binder; `planned` are (number, node, demand) above the watermark."""

    strings: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    nodes: dict[int, NodeRow] = field(default_factory=dict)
    classes: dict[int, room.Amounts] = field(default_factory=dict)
    planned: list[tuple[int, int, room.Amounts]] = field(default_factory=list)

    def follow(self, state: State) -> None:
        """Apply one message."""
        self.strings += state.strings
        self.resources += state.resources
        width = len(self.resources)
        specs, use = state.specs, state.use
        offers = specs.allocatable.reshape(len(specs), width).tolist()
        for i, node in enumerate(specs.node.tolist()):
            row = self.nodes.setdefault(node, NodeRow())
            row.name = self.strings[int(specs.name[i])]
            row.is_removed = bool(int(specs.flags[i]) & NodeFlag.REMOVED)
            row.offers = dict(zip(self.resources, offers[i], strict=True))
        used = use.used.reshape(len(use), width).tolist()
        for i, node in enumerate(use.node.tolist()):
            row = self.nodes.setdefault(node, NodeRow())
            if int(use.generation[i]) >= row.used_generation:
                row.used = dict(zip(self.resources, used[i], strict=True))
                row.used_generation = int(use.generation[i])
        self.planned = [entry for entry in self.planned if entry[0] >= state.watermark]

    def plan(self, body: Plan) -> None:
        """Assume what the scheduler has planned."""
        for entry in body.classes:
            self.classes[entry.index] = room.demand_of(decode(entry.encoded))
        rows = zip(body.rows.node.tolist(), body.rows.klass.tolist(), strict=True)
        for i, (node, klass) in enumerate(rows):
            self.planned.append((body.first + i, node, self.classes[klass]))

    def free(self) -> dict[int, room.Amounts]:
        """Room per node that is there, as it must be seen now."""
        assumed: dict[int, Counter[str]] = {}
        for _, node, demand in self.planned:
            assumed.setdefault(node, Counter()).update(demand)
        return {
            node: {
                name: row.offers.get(name, 0)
                - row.used.get(name, 0)
                - assumed.get(node, Counter())[name]
                for name in self.resources
            }
            for node, row in self.nodes.items()
            if row.name and not row.is_removed
        }


class TablesBook:
    """The streams of all schedulers."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}

    def took(self, node: Node, event: Any, effects: list[Any]) -> None:
        """A scheduler has taken an event."""
        match event:
            case PeerUp(hello=hello) if hello.role == "binder":
                self._streams[node.name] = Stream()
            case PeerDown(peer="binder"):
                self._streams.pop(node.name, None)
            case Received(body=State() as state):
                self._streams[node.name].follow(state)
        stream = self._streams.get(node.name)
        if stream is None:
            return
        plans = [e.body for e in effects if isinstance(e, Send) and isinstance(e.body, Plan)]
        for body in plans:
            stream.plan(body)
        if plans or isinstance(event, Received):
            self._compare(node, stream)

    def started(self, node: Node) -> None:
        """A scheduler has started: it knows nothing."""
        self._streams.pop(node.name, None)

    def name_of(self, node: Node, index: int) -> str:
        """The name of a node in a scheduler's stream."""
        return self._streams[node.name].nodes[index].name

    def free(self, node: Node) -> dict[str, room.Amounts] | None:
        """Room per node name as the scheduler sees it, None while it has no stream."""
        stream = self._streams.get(node.name)
        if stream is None or not node.core.is_ready:
            return None
        return {
            stream.nodes[index].name: self._seen(node, index, amounts)
            for index, amounts in stream.free().items()
        }

    def _compare(self, node: Node, stream: Stream) -> None:
        for index, want in stream.free().items():
            seen = self._seen(node, index, want)
            if seen != want:
                name = stream.nodes[index].name
                text = f"{node.name} sees {seen} free on {name}, must see {want}"
                raise Broken("assumptions end by the watermark only", text)

    def _seen(self, node: Node, index: int, names: room.Amounts) -> room.Amounts:
        tables = node.core.tables
        free, numbers = tables.columns.free, tables.resources.numbers
        return {name: int(free[numbers[name], index]) for name in names}
