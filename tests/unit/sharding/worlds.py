"""A closed loop around the planner: rows that get ready, fail, hang and heal, as in the cases.

A tick is: operations, readiness, plan, apply. A row created or converted at tick t is ready at tick
t + delay at the earliest, and never while its version is broken or the row is stuck or down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from sharding.rolling import Action, Goal, Op, RowState, plan


class Slot(msgspec.Struct):
    """What the world knows of one row; `ready_at` is the tick at which its version has started."""

    version: int
    ready_at: int = 0
    is_ready: bool = True
    is_proved: bool = True
    is_down: bool = False
    is_failed: bool = False
    is_stuck: bool = False


class RowWorld:
    """Rows under a planner. `goal` may be replaced between ticks."""

    def __init__(self, rows: int, version: int, goal: Goal, delay: int = 1) -> None:
        self.goal = goal
        self.delay = delay
        self.tick = 0
        self.slots = {ordinal: Slot(version) for ordinal in range(rows)}
        self.broken: set[int] = set()
        self.stuck_next: set[int] = set()

    def states(self) -> list[RowState]:
        """What a planner sees."""
        return [
            RowState(ordinal, slot.version, slot.is_ready, slot.is_proved)
            for ordinal, slot in sorted(self.slots.items())
        ]

    def observe(self) -> list[RowState]:
        """Begin a tick: let time pass, settle who is ready."""
        self.tick += 1
        for slot in self.slots.values():
            is_held_back = slot.is_failed or slot.is_down or slot.is_stuck
            is_started = slot.ready_at <= self.tick and slot.version not in self.broken
            slot.is_ready = is_started and not is_held_back
            slot.is_proved |= slot.is_ready
            slot.is_down = False
        return self.states()

    def plan(self) -> list[Action]:
        """The planner's answer to the present states."""
        return plan(self.states(), self.goal)

    def apply(self, actions: Sequence[Action]) -> None:
        """Take the actions, all at once."""
        for action in actions:
            old = self.slots.pop(action.ordinal, None)
            assert (old is None) == (action.op is Op.CREATE), action
            if action.op is Op.DELETE:
                continue
            self.slots[action.ordinal] = Slot(
                action.version,
                self.tick + self.delay,
                is_ready=False,
                is_proved=False,
                is_failed=old is not None and old.is_failed,
                is_stuck=action.ordinal in self.stuck_next,
            )

    def counts(self) -> dict[int, list[int]]:
        """[ready, total] per version."""
        total = Counter(slot.version for slot in self.slots.values())
        ready = Counter(slot.version for slot in self.slots.values() if slot.is_ready)
        return {version: [ready[version], total[version]] for version in sorted(total)}
