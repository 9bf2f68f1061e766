"""Faults: every seed enables a random subset of kinds, which strike at random times until healed.

A kind is a function that strikes once; ratios of luck (frames, requests) are set once for the whole
history. What struck is counted by kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tests.simulation.controller_line import ControllerLine
from tests.simulation.network import Luck, Port, Wire
from tests.simulation.node import Node
from tests.simulation.requests import Courier
from tests.simulation.world import MS, SECOND, World

ENABLED_RATIO = 0.4
CLOCK_US_MAX = 30 * SECOND


class Target(Protocol):
    """What can be struck."""

    world: World
    nodes: dict[str, Node]
    wires: list[Wire]
    line: ControllerLine
    luck: Luck
    couriers: list[Courier]


class Faults:
    """The faults of one history: those here and the home's `own`. `heal` ends them all."""

    def __init__(self, target: Target, own: dict[str, Callable[[], None]]) -> None:
        self._target = target
        self._world = target.world
        luck = target.world.random
        kinds: dict[str, Callable[[], None]] = {
            "partition": self._partition,
            "isolation": self._isolate,
            "session reset": self._reset,
            "crash": self._crash,
            "crash of all": self._crash_all,
            "pause": self._pause,
            "slow disk": self._slow_disk,
            "full disk": self._full_disk,
            "compaction": self._compact,
            "clock jump": self._jump,
            **own,
        }
        enabled = {name for name in kinds if luck.random() < ENABLED_RATIO}
        enabled.add(luck.choice(list(kinds)))
        self._kinds = {
            name: (kind, world_period(luck.random()))
            for name, kind in kinds.items()
            if name in enabled
        }
        for name in ("lost", "doubled", "delayed", "reordered"):
            if luck.random() < ENABLED_RATIO:
                setattr(target.luck, name, luck.choice((0.002, 0.01, 0.03)))
        if luck.random() < ENABLED_RATIO:
            for courier in target.couriers:
                courier.lost_ratio = luck.choice((0.05, 0.2))

    def begin(self) -> None:
        """Let each kind strike again and again."""
        for kind, period_us in self._kinds.values():
            self._again(kind, period_us)

    def heal(self) -> None:
        """End all that goes on, and start what is down."""
        target = self._target
        self._world.is_healed = True
        target.luck.calm()
        for courier in target.couriers:
            courier.lost_ratio = 0.0
        for wire in target.wires:
            wire.cut_until_us = 0
        target.line.cut_until_us = 0
        for node in target.nodes.values():
            node.disarm()
            if node.store is not None:
                node.store.full_until_us = node.store.slow_until_us = 0
            if not node.is_running:
                node.start()

    def _again(self, kind: Callable[[], None], period_us: int) -> None:
        wait_us = self._world.between(period_us // 4, period_us * 2)

        def strike() -> None:
            if not self._world.is_healed:
                kind()
                self._again(kind, period_us)

        self._world.after(wait_us, strike)

    def _any_node(self) -> Node:
        return self._world.random.choice(list(self._target.nodes.values()))

    def _any_log(self) -> Node:
        return self._world.random.choice([n for n in self._target.nodes.values() if n.store])

    # Kinds

    def _partition(self) -> None:
        until_us = self._world.now_us + self._world.between(50 * MS, 1_500 * MS)
        if self._world.chance(0.2):
            self._target.line.cut_until_us = until_us
            self._world.fault("partition", "sharding")
            return
        wire = self._world.random.choice(self._target.wires)
        wire.cut_until_us = until_us
        self._world.fault("partition", wire.name)

    def _isolate(self) -> None:
        node = self._any_node()
        until_us = self._world.now_us + self._world.between(100 * MS, 1_500 * MS)
        for wire in self._target.wires:
            if any(port.owner is node for port in wire.ports):
                wire.cut_until_us = until_us
        self._world.fault("isolation", node.name)

    def _reset(self) -> None:
        self._world.fault("session reset")
        if self._world.chance(0.25):
            self._target.line.break_session()
        else:
            self._world.random.choice(self._target.wires).break_session()

    def _crash(self) -> None:
        node = self._any_node()
        node.ambush(self._world.between(1, 60), lambda: self._kill(node))

    def _kill(self, node: Node) -> None:
        if not node.is_running or self._world.is_healed:
            return
        self._world.fault("crash", node.name)
        node.crash()
        if self._world.chance(0.5):
            for port in self._ports_towards(node):
                port.break_session()
        self._world.after(self._world.between(5 * MS, 900 * MS), lambda: self._restart(node))

    def _ports_towards(self, node: Node) -> list[Port]:
        """The other ends: a process that dies is noticed at once, a machine is not."""
        ends = [wire.ports for wire in self._target.wires]
        return [b if a.owner is node else a for a, b in ends if node in (a.owner, b.owner)]

    def _restart(self, node: Node) -> None:
        if not node.is_running:
            node.start()

    def _crash_all(self) -> None:
        self._world.fault("crash of all")
        for node in self._target.nodes.values():
            if node.is_running:
                node.crash()
                delay_us = self._world.between(5 * MS, 600 * MS)
                self._world.after(delay_us, lambda node=node: self._restart(node))  # type: ignore[misc]

    def _pause(self) -> None:
        node = self._any_node()
        pause_us = self._world.between(20 * MS, 1_200 * MS)

        def strike() -> None:
            if not self._world.is_healed:
                self._world.fault("pause", node.name)
                node.pause(pause_us)

        node.ambush(self._world.between(1, 40), strike)

    def _slow_disk(self) -> None:
        node = self._any_log()
        assert node.store is not None
        node.store.slow_until_us = self._world.now_us + self._world.between(100 * MS, 900 * MS)
        self._world.fault("slow disk", node.name)

    def _full_disk(self) -> None:
        node = self._any_log()
        assert node.store is not None
        node.store.full_until_us = self._world.now_us + self._world.between(100 * MS, 1_200 * MS)
        self._world.fault("full disk", node.name)

    def _compact(self) -> None:
        node = self._any_log()
        if node.is_running and not node.is_paused:
            self._world.fault("compaction", node.name)
            node.compact()

    def _jump(self) -> None:
        """Clocks are read once per life and steady then: a jump shows at the next start."""
        node = self._any_node()
        self._world.fault("clock jump", node.name)
        node.next_offset_us = self._world.between(-CLOCK_US_MAX, CLOCK_US_MAX)
        node.ambush(self._world.between(1, 60), lambda: self._kill(node))


def world_period(luck: float) -> int:
    """How often an enabled kind strikes: some rarely, some all the time."""
    return int((150 + 1_850 * luck) * MS)
