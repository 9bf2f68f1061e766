"""The auditor's list of nodes, from what the binder's Cluster API was asked and has answered.

After a crash of the binder it may be open whether a request took effect: then a node has several
candidates, and what happens on it must be right for one of them. `NodeView`s narrow them down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from cell.messages import Acks, CordonNodes, NodeView, RegisterNodes, RemoveNodes
from cell.node import NodeSpec
from tests.simulation import room
from tests.simulation.world import Broken

Candidates = tuple[NodeSpec | None, ...]
ABSENT: Candidates = (None,)


class NodeBook:
    """Candidates per name; None stands for a node that is not there."""

    def __init__(self) -> None:
        self._nodes: dict[str, Candidates] = {}

    def specs(self) -> list[NodeSpec]:
        """The nodes that are there; of several candidates the last."""
        last = [candidates[-1] for _, candidates in sorted(self._nodes.items())]
        return [node for node in last if node is not None]

    def allows(self, name: str, is_right: Callable[[NodeSpec], bool]) -> bool:
        """Whether something is right for a node as it may be."""
        candidates = self._nodes.get(name, ABSENT)
        return any(node is not None and is_right(node) for node in candidates)

    def answered(self, body: Any, answer: Any) -> None:
        """A request took effect, except for its refused items."""
        if isinstance(answer, Acks):
            self._apply(body, {item for item, _ in answer.refused}, is_sure=True)

    def restarted(self, unanswered: list[Any]) -> None:
        """The binder has restarted: requests without an answer may have taken effect, in order."""
        for body in unanswered:
            self._apply(body, set(), is_sure=False)

    def listed(self, views: Iterable[NodeView]) -> None:
        """A restarted binder shows its nodes: of the candidates these are left."""
        shown = {view.name: view for view in views if not view.is_removed}
        for name, candidates in self._nodes.items():
            left = tuple(node for node in candidates if _matches(node, shown.get(name)))
            if not left:
                raise Broken("acked nodes are known", f"{name} is shown as {shown.get(name)}")
            self._nodes[name] = left

    def _apply(self, body: Any, refused: set[int], *, is_sure: bool) -> None:
        changes: list[tuple[str, Candidates]] = []
        match body:
            case RegisterNodes(nodes=nodes):
                changes = [(node.name, (node,)) for node in nodes]
            case CordonNodes(names=names, is_cordoned=is_cordoned):
                changes = [(name, self._cordoned(name, is_cordoned)) for name in names]
            case RemoveNodes(names=names):
                changes = [(name, ABSENT) for name in names]
        for i, (name, after) in enumerate(changes):
            if i not in refused:
                before = () if is_sure else self._nodes.get(name, ABSENT)
                self._nodes[name] = tuple(dict.fromkeys((*before, *after)))

    def _cordoned(self, name: str, is_cordoned: bool) -> Candidates:
        return tuple(
            node and msgspec.structs.replace(node, unschedulable=is_cordoned)
            for node in self._nodes.get(name, ABSENT)
        )


def _matches(node: NodeSpec | None, view: NodeView | None) -> bool:
    if node is None or view is None:
        return node is None and view is None
    known = room.without_ports(room.allocatable_of(node))
    offers = {name: amount for name, amount in known.items() if amount}
    shown = {name: amount for name, amount in view.allocatable.items() if amount}
    return offers == shown and node.unschedulable == view.is_cordoned
