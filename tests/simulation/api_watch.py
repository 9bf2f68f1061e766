"""The watch of the simulated API server: it lags, is in order behind its list, and may end."""

from __future__ import annotations

from typing import Any

from cell.home import Relisted, Watched
from tests.simulation import wire
from tests.simulation.node import Node
from tests.simulation.world import MS, World


class ApiWatch:
    """One watch at a time, of all kinds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lag_us = 20 * MS
        self.list_us = 10 * MS
        """What a list takes at most: on a large cluster longer than links to come up."""
        self._watcher: tuple[Node, int] | None = None
        self._number = 0
        self._queue: list[Watched] = []
        self._is_flushing = False
        self._list_arrives_us = 0

    def begin(self, node: Node, life: int, listed: Relisted) -> None:
        """Deliver a list; what is shown from now on follows it."""
        self._number += 1
        self._watcher = (node, life)
        self._queue = []
        delay_us = self._world.between(200, self.list_us)
        self._list_arrives_us = self._world.now_us + delay_us
        self._deliver(self._number, wire.pack(listed), delay_us)

    def cut(self) -> tuple[Node, int] | None:
        """It has a gap from now on; who has watched, and in which life."""
        watcher, self._watcher, self._queue = self._watcher, None, []
        return watcher

    def show(self, delta: Watched) -> None:
        """Something has changed."""
        if self._watcher is None:
            return
        self._queue.append(delta)
        if not self._is_flushing:
            self._is_flushing = True
            self._world.after(self._world.between(MS, self.lag_us), self._flush)

    def _flush(self) -> None:
        """Several changes travel in one message, behind the list; the order of objects is kept."""
        if self._world.now_us < self._list_arrives_us:
            self._world.at(self._list_arrives_us, self._flush)
            return
        self._is_flushing = False
        queued, self._queue = self._queue, []
        if self._watcher is not None:
            for run in _runs(queued):
                self._deliver(self._number, wire.pack(_merged(run)), 0)

    def _deliver(self, number: int, packed: wire.Packed, delay_us: int) -> None:
        def arrive() -> None:
            if self._watcher is not None and number == self._number:
                node, life = self._watcher
                give(node, life, wire.unpack(packed))

        self._world.after(delay_us, arrive)


def give(node: Node, life: int, event: Any) -> None:
    """Give an event to a process, if it is still the one that it is for."""
    if node.life == life:
        node.give(event)


def _merged(run: list[Watched]) -> Watched:
    return Watched(
        tuple(view for delta in run for view in delta.objects),
        tuple(node for delta in run for node in delta.nodes),
        tuple(name for delta in run for name in delta.removed),
        tuple(unit for delta in run for unit in delta.units),
        tuple(gang for delta in run for gang in delta.gangs),
    )


def _runs(deltas: list[Watched]) -> list[list[Watched]]:
    """Neighbours of one kind: within a message nodes count first, then gangs, then units."""
    runs: list[list[Watched]] = []
    kind = ""
    for delta in deltas:
        before, kind = kind, _kind_of(delta)
        # A node that is removed and comes back is two messages: one has no order within.
        if kind and kind == before:
            runs[-1].append(delta)
        else:
            runs.append([delta])
    return runs


def _kind_of(delta: Watched) -> str:
    for kind in ("objects", "units", "gangs"):
        if getattr(delta, kind):
            return kind
    return ""
