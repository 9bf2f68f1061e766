"""The sets in which units wait, and the one way in and out of each.

What must hold: a unit is in at most one set, the one its state names; its ticket names its entry
there and nothing else does, so leaving is one write.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dispatcher.codes import State
from dispatcher.columns import I64s, mix
from dispatcher.config import DispatcherConfig
from dispatcher.table import Table
from dispatcher.waiting.active import Active
from dispatcher.waiting.backoff import Backoff
from dispatcher.waiting.parked import Parked, Stamp


class Waiting:
    """Active, backoff and parked units."""

    def __init__(self, table: Table, config: DispatcherConfig) -> None:
        units = table.units
        self._table = table
        self._echo_us = config.wake_echo_ms * 1_000
        self.active = Active(units)
        self.backoff = Backoff(units, config.backoff_ms_min, config.backoff_ms_max)
        self.parked = Parked(units, config)
        self._tickets = 0
        self._echo_mask = 0
        self._echo_at_us = 0

    def activate(self, handles: I64s) -> None:
        """To be tried next, each at its old age."""
        if len(handles):
            self._enter(handles, State.ACTIVE)
            self.active.put(handles)

    def back_off(self, now_us: int, handles: I64s) -> None:
        """To be tried after a wait that grows with each conflict."""
        if len(handles):
            self._enter(handles, State.BACKOFF)
            self.backoff.put(now_us, handles)

    def park(self, now_us: int, handles: I64s, mask: int, seen: Stamp) -> None:
        """To be tried when something named by the mask has happened; `seen` is the stamp of the
        state that was looked at.

        1. Room is freed; the binder tells us at once, schedulers some milliseconds later, or much
        later one that stands still. 2. We wake a unit. 3. Its scheduler, not knowing of the room
        yet, refuses it again. So the wake is repeated until schedulers have heard of it.
        """
        if not len(handles):
            return
        self._enter(handles, State.PARKED)
        units = self._table.units
        units.conflicts[handles] = 0
        shapes = mix(units.content[handles], units.priority[handles])
        is_rest = units.bound_us[handles] != 0
        shapes[is_rest] = mix(shapes[is_rest], units.uid_lo[handles[is_rest]])
        self.parked.back(now_us, handles, is_refused=True)
        self.parked.put(now_us, handles, shapes.tolist(), mask)
        unheard = self.parked.after(seen) & mask
        if unheard:
            self._echo_mask |= unheard
            self._echo_at_us = self._echo_at_us or now_us + self._echo_us

    def leave(self, handles: I64s, state: int) -> None:
        """Out of whatever set they are in."""
        self._table.units.ticket[handles] = 0
        self._table.units.state[handles] = state

    def settle(self, now_us: int, handles: I64s) -> None:
        """Tries of parked shapes ended otherwise than by a refusal."""
        self._table.units.conflicts[handles] = 0
        self.parked.back(now_us, handles, is_refused=False)

    def wake(self, now_us: int, mask: int, stamp: Stamp | None = None) -> None:
        """Something happened in the cluster, at a stamp; or only in the schedulers' minds, which no
        stamp tells: then it is told once more a little later."""
        self.parked.wake(mask, stamp)
        if stamp is None:
            self._echo_mask |= mask
            self._echo_at_us = self._echo_at_us or now_us + self._echo_us

    def advance(self, now_us: int) -> I64s:
        """Let time pass: whoever is due or woken is active. Returns those whose wait in backoff is
        over but for whom a command, not a try, is due."""
        if 0 < self._echo_at_us <= now_us:
            self.parked.wake(self._echo_mask)
            self._echo_mask = self._echo_at_us = 0
        due = self.backoff.due(now_us)
        is_commanded = self._table.units.op[due] != 0
        self.activate(due[~is_commanded])
        self.parked.retry(now_us)
        self.activate(self.parked.take_woken())
        again: I64s = due[is_commanded]
        return again

    def next_at_us(self, now_us: int) -> int:
        """When `advance` is wanted next; 0 for never."""
        times = (self.backoff.next_at_us(), self.parked.next_at_us(), self._echo_at_us)
        soon = now_us + 1 if self.parked.is_look_due else 0
        return min((at_us for at_us in (*times, soon) if at_us), default=0)

    def _enter(self, handles: I64s, state: int) -> None:
        units = self._table.units
        count = len(handles)
        tickets: NDArray[Any] = np.arange(self._tickets + 1, self._tickets + count + 1)
        units.ticket[handles] = tickets
        units.state[handles] = state
        self._tickets += count
