"""Slots: where keys of the classes in use are kept. Given as classes come, taken from the longest
unused.

`placement` asks before each call of a kernel; what must hold is that a slot's gains are up to
date and that `seen` says up to which change its keys are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.classes import ClassTable
from scheduler.gains import REFUSED, Gains
from scheduler.kernels.layout import BLOCK, GIVE_NS, NO_SLOT, Slots, copy_corner
from scheduler.tables import NodeTables

NEVER = -(1 << 40)
"""`seen` of a slot whose keys were never computed."""


class ClassSlots:
    """Slots over one session's node tables. `columns` is what kernels work on."""

    def __init__(self, tables: NodeTables, classes: ClassTable, slots_max: int) -> None:
        self.slots_max = slots_max
        self._tables = tables
        self._classes = classes
        self._slot_of = np.full(64, NO_SLOT, np.int32)
        self._used_at = np.zeros(slots_max, np.int64)
        self._read_at = np.zeros(slots_max, np.int64)
        self._tops: list[tuple[int, ...]] = [()] * slots_max
        """What the slot's gains are normalised by."""
        self._filled = 0
        self.columns = _slots(1, tables.columns.base.shape[1])

    def of(self, klass: NDArray[np.int32]) -> NDArray[np.int32]:
        """Slot per row, of classes that are held; NO_SLOT for classes without a profile."""
        return self._slot_of[klass]

    def hold(self, present: NDArray[np.int64], call: int) -> int:
        """Let at most `slots_max` distinct classes have slots; returns what it cost."""
        self._follow()
        held = self._slot_of[present]
        is_fresh = held == NO_SLOT
        self._used_at[held[~is_fresh]] = call
        fresh = present[is_fresh].tolist()
        if fresh:
            for number in fresh:
                if self._classes.profiles[number] is not None:
                    self._give(number, call)
            held = self._slot_of[present]
        changes = self._tables.statics.changes
        is_stale = (held != NO_SLOT) & (self._read_at[held] != changes)
        for number in present[is_stale].tolist():
            slot = self._slot_of[number]
            self._follow_gains(slot, self._classes.gains(number))
            self._read_at[slot] = changes
        return len(fresh) * GIVE_NS

    def _follow_gains(self, slot: int, gains: Gains) -> None:
        """The slot's gains as nodes are; keys begin anew where more changed than the nodes."""
        read = gains.read()
        self.columns.gain[slot, : len(read)] = read
        is_wishing = gains.is_wishing or self._classes.columns.is_wishing[self.columns.klass[slot]]
        if self._tops[slot] != gains.tops or self.columns.is_wishing[slot] != is_wishing:
            self._tops[slot], self.columns.is_wishing[slot] = gains.tops, is_wishing
            self.columns.seen[slot] = NEVER

    def _follow(self) -> None:
        """Follow growth of the tables, and of what classes can demand."""
        if self.columns.keys.shape[1] != self._tables.columns.base.shape[1]:
            self.columns = _slots(len(self.columns.klass), self._tables.columns.base.shape[1])
            self._slot_of[:] = NO_SLOT
            self._filled = 0
        if len(self._slot_of) < len(self._classes.specs):
            grown = np.full(2 * len(self._classes.specs), NO_SLOT, np.int32)
            grown[: len(self._slot_of)] = self._slot_of
            self._slot_of = grown
        self._classes.resolve()

    def _give(self, klass: int, call: int) -> None:
        if self._filled == self.slots_max:
            slot = int(np.argmin(self._used_at))
            self._slot_of[self.columns.klass[slot]] = NO_SLOT
        else:
            slot = self._filled
            self._filled += 1
            if slot == len(self.columns.klass):
                grown = _slots(min(2 * slot, self.slots_max), self.columns.keys.shape[1])
                copy_corner(self.columns, grown)
                self.columns = grown
        self._slot_of[klass] = slot
        self.columns.klass[slot] = klass
        self.columns.seen[slot] = NEVER
        self.columns.gain[slot] = REFUSED
        self._read_at[slot] = -1
        self._tops[slot] = ()
        self._used_at[slot] = call


def _slots(size: int, nodes: int) -> Slots:
    return Slots(
        klass=np.zeros(size, np.int32),
        keys=np.full((size, nodes), -1, np.int32),
        tops=np.full((size, nodes // BLOCK), -1, np.int32),
        gain=np.full((size, nodes), REFUSED, np.int16),
        is_wishing=np.zeros(size, np.bool_),
        seen=np.full(size, NEVER, np.int64),
        refused_at=np.zeros(size, np.int64),
    )
