"""Clients of the public APIs: a request is repeated, as it was, until its answer arrives.

Requests and answers are lost and delayed; a process that is down or has a full disk answers
nothing. Items that are refused for now (retry later) are asked for again with the whole batch,
until the world has healed: what is full then may stay so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cell.messages import Acks
from cell.reasons import Refusal, Status
from tests.simulation.node import Node
from tests.simulation.world import MS, World

PASSING = frozenset((Status.RESOURCE_EXHAUSTED, Status.UNAVAILABLE))


class Courier:
    """Carries requests to one process. `lost_ratio` is the share of hops that fail."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node
        self.name = node.name
        self.lost_ratio = 0.0
        self.open_count = 0

    def ask(self, body: Any, answered: Callable[[Any], None]) -> None:
        """Ask until an answer comes; `answered` is called exactly once with it."""
        self.open_count += 1
        _Errand(self._world, self._node, self, body, answered).go()


class _Errand:
    """One request on its way."""

    def __init__(
        self,
        world: World,
        node: Node,
        courier: Courier,
        body: Any,
        answered: Callable[[Any], None],
    ) -> None:
        self._world = world
        self._node = node
        self._courier = courier
        self._body = body
        self._answered = answered
        self._is_over = False
        self._tries = 0

    def go(self) -> None:
        """Try once, and again after a while without an answer."""
        if self._is_over:
            return
        world = self._world
        self._tries += 1
        if self._is_carried("request lost"):
            world.after(world.between(50, 900), self._arrive)
        patience_us = world.between(200 * MS, 500 * MS) * min(self._tries, 4)
        world.after(patience_us, self.go)

    def _arrive(self) -> None:
        self._node.ask(self._body, self._back)

    def _is_carried(self, fault: str) -> bool:
        if self._world.chance(self._courier.lost_ratio):
            self._world.fault(fault, self._node.name)
            return False
        return True

    def _back(self, answer: Any) -> None:
        if self._is_carried("answer lost"):
            self._world.after(self._world.between(50, 900), lambda: self._arrived(answer))

    def _arrived(self, answer: Any) -> None:
        if self._is_over:
            return
        refusals = [refusal for _, refusal in answer.refused] if isinstance(answer, Acks) else []
        if isinstance(answer, Refusal):
            refusals = [answer]
        if any(refusal.status in PASSING for refusal in refusals) and not self._world.is_healed:
            return
        self._is_over = True
        self._courier.open_count -= 1
        self._answered(answer)
