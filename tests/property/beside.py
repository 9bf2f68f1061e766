"""A walk for `Neighbours`: nodes change, replicas come, go and are planned, classes are learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from cell.classes import ClassSpec
from cell.fit.counting import move
from cell.fit.neighbours import Neighbours, Rows
from cell.fit.static import StaticNodes
from cell.node import NodeSpec
from tests.unit.fit.tables import put_nodes

ZONES = st.sampled_from(["", "a", "b", "c"])
STEPS = st.sampled_from(
    ["node", "node", "node", "comes", "comes", "comes", "planned", "planned", "goes", "covered"]
)


class Walk:
    """Neighbours, and beside them what they were told. Some replicas are assumed: counted before
    they are residents."""

    def __init__(
        self,
        node_of: Callable[[int, str], NodeSpec],
        zones: list[str],
        classes: list[ClassSpec],
        *,
        is_scoring: bool = False,
    ) -> None:
        self.specs: list[NodeSpec | None] = []
        self.classes = classes
        self._statics = StaticNodes()
        self.neighbours = Neighbours(self._statics, is_scoring=is_scoring)
        self.neighbours.assumed = self._assumed
        self._node_of = node_of
        self._there = list[tuple[int, int, bool]]()
        self._planned = list[tuple[int, int]]()
        for node, zone in enumerate(zones):
            self._put_node(node, zone)

    @property
    def replicas(self) -> list[tuple[int, int, bool]]:
        """Node, class, and whether it is leaving."""
        return self._there + [(node, klass, False) for node, klass in self._planned]

    @property
    def labels(self) -> list[dict[str, str]]:
        """By node; a node that is gone has none."""
        return [dict(each.labels) if each else {} for each in self.specs]

    def learn(self, learnt: int) -> None:
        """The first classes."""
        for klass in range(learnt):
            self.neighbours.learn(klass, self.classes[klass])

    def step(self, data: st.DataObject, learnt: int) -> None:
        """Something happens."""
        node = data.draw(st.integers(0, len(self.specs) - 1))
        klass = data.draw(st.integers(0, learnt - 1))
        match data.draw(STEPS):
            case "node":
                at = data.draw(st.integers(0, len(self.specs)))
                self._put_node(at, data.draw(st.one_of(st.none(), ZONES)))
            case "comes":
                is_leaving = data.draw(st.booleans())
                self._there.append((node, klass, is_leaving))
                come(self.neighbours, node, klass, 1, int(is_leaving))
            case "goes" if self._there:
                node, klass, is_leaving = self._there.pop()
                come(self.neighbours, node, klass, -1, -int(is_leaving))
            case "planned":
                self.neighbours.prepare([klass])
                move(self.neighbours.columns, klass, node, 1, 0)
                self._planned.append((node, klass))
            case "covered" if self._planned:
                node, klass = self._planned[0]
                self.neighbours.move(*(np.array([each]) for each in (node, klass, -1)))
                self._planned.pop(0)

    def _put_node(self, node: int, zone: str | None) -> None:
        """The node as it is from now on, under a name of its own; None: it is gone."""
        spec = None if zone is None else self._node_of(self._statics.changes, zone)
        self.specs[node:] = [spec, *self.specs[node + 1 :]]
        put_nodes(self._statics, {node: spec})

    def _assumed(self) -> tuple[Rows, Rows]:
        pairs = np.array(self._planned, np.int64).reshape(-1, 2)
        return pairs[:, 0].copy(), pairs[:, 1].copy()


def come(neighbours: Neighbours, node: int, klass: int, count: int, leaving: int) -> None:
    """So many residents (negative: go)."""
    at, of, many, gone = (np.array([each], np.int64) for each in (node, klass, count, leaving))
    neighbours.add(at, of, many, gone, generation=1)
