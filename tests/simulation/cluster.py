"""The cluster's operator: registers nodes, changes, cordons and removes them, and adds them again.

A request goes to the binder's Cluster API and is repeated until it is answered; one per node at a
time. At the end of a history every node that was taken away for a while may stay away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from cell.messages import CordonNodes, RegisterNodes, RemoveNodes
from cell.node import NodeSpec
from tests.simulation.load import Mix, a_node
from tests.simulation.world import MS, World

ROUND_US = 700 * MS


class Desk(Protocol):
    """Takes an operator's requests, and answers each in the end."""

    def ask(self, body: Any, answered: Callable[[Any], None]) -> None: ...


class Cluster:
    """The operator. `nodes` are the specs as it last asked for them."""

    def __init__(self, world: World, mix: Mix, desk: Desk) -> None:
        self._world = world
        self._desk = desk
        self._is_lively = world.chance(0.7)
        self.nodes = {f"n{i}": a_node(world, f"n{i}") for i in range(mix.nodes)}
        self._away: dict[str, NodeSpec] = {}
        self._busy: set[str] = set()
        self.is_over = False

    @property
    def cpu(self) -> int:
        """What the cluster has."""
        return sum(dict(node.allocatable)["cpu"] for node in self.nodes.values())

    def begin(self) -> None:
        """Register all nodes, in one or several requests, then act at random times."""
        nodes = list(self.nodes.values())
        cut = self._world.between(1, len(nodes))
        for part in (nodes[:cut], nodes[cut:]):
            if part:
                self._ask(RegisterNodes(tuple(part)), [node.name for node in part])
        self._world.after(ROUND_US, self._act)

    def cordon_for_a_while(self, name: str) -> bool:
        """Cordon a node now and take that back later; False when it is not there, or busy."""
        if name not in self.nodes or name in self._busy:
            return False
        self._cordon(name)
        self._lift_later(name)
        return True

    def _lift_later(self, name: str) -> None:
        self._world.after(self._world.between(100 * MS, 1_000 * MS), lambda: self._lift(name))

    def _lift(self, name: str) -> None:
        if name in self._busy:
            self._lift_later(name)
        elif name in self.nodes and self.nodes[name].unschedulable:
            self._cordon(name)

    def _act(self) -> None:
        if self.is_over:
            return
        self._world.after(self._world.between(ROUND_US // 3, ROUND_US * 2), self._act)
        if not self._is_lively:
            return
        luck = self._world.random
        idle = [name for name in self.nodes if name not in self._busy]
        back = [name for name in self._away if name not in self._busy]
        if back and luck.random() < 0.5:
            name = luck.choice(back)
            self.nodes[name] = self._away.pop(name)
            self._ask(RegisterNodes((self.nodes[name],)), [name])
        elif idle:
            name = luck.choice(idle)
            luck.choice((self._update, self._cordon, self._cordon, self._remove))(name)

    def _update(self, name: str) -> None:
        node = self.nodes[name]
        fresh = a_node(self._world, name)
        if self._world.chance(0.5):
            node = msgspec.structs.replace(node, allocatable=fresh.allocatable)
        else:
            node = msgspec.structs.replace(node, labels=fresh.labels, taints=fresh.taints)
        self.nodes[name] = node
        self._ask(RegisterNodes((node,)), [name])

    def _cordon(self, name: str) -> None:
        node = self.nodes[name]
        self.nodes[name] = msgspec.structs.replace(node, unschedulable=not node.unschedulable)
        self._ask(CordonNodes((name,), not node.unschedulable), [name])

    def _remove(self, name: str) -> None:
        if len(self.nodes) > 2:
            self._away[name] = self.nodes.pop(name)
            self._ask(RemoveNodes((name,)), [name])

    def _ask(self, body: Any, names: list[str]) -> None:
        self._busy.update(names)
        self._desk.ask(body, lambda answer: self._busy.difference_update(names))
