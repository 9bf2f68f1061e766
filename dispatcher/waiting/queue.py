"""A queue in order of age: sorted runs of (handle, ticket), merged when read.

Ages are unique, so the order is total. An entry whose ticket is no longer its unit's is dead and is
dropped when it is met: to leave a queue costs nothing. Runs grow at the tail, as fresh units come
in order; units that return make runs of their own, merged so that their sizes stay apart.
"""

from __future__ import annotations

import numpy as np

from dispatcher.columns import I64s
from dispatcher.table import Units

_LOOK_MIN = 64


class _Run:
    """Entries in order of age within [head, tail)."""

    __slots__ = ("handles", "head", "tail", "tickets")

    def __init__(self, handles: I64s, tickets: I64s) -> None:
        self.handles = handles.copy()
        self.tickets = tickets.copy()
        self.head = 0
        self.tail = len(handles)

    def __len__(self) -> int:
        return self.tail - self.head

    def append(self, handles: I64s, tickets: I64s) -> None:
        end = self.tail + len(handles)
        if end > len(self.handles):
            kept = slice(self.head, self.tail)
            size = max(64, 2 * (len(self) + len(handles)))
            for name in ("handles", "tickets"):
                grown = np.empty(size, np.int64)
                grown[: len(self)] = getattr(self, name)[kept]
                setattr(self, name, grown)
            self.tail, self.head = len(self), 0
            end = self.tail + len(handles)
        self.handles[self.tail : end] = handles
        self.tickets[self.tail : end] = tickets
        self.tail = end

    def first(self, units: Units, count: int) -> I64s:
        """The first `count` live handles; dead entries before them are dropped."""
        live: list[I64s] = []
        tickets: list[I64s] = []
        found, at = 0, self.head
        while at < self.tail and found < count:
            end = min(self.tail, at + max(count - found, _LOOK_MIN))
            handles, stamps = self.handles[at:end], self.tickets[at:end]
            is_live = units.ticket[handles] == stamps
            live.append(handles[is_live])
            tickets.append(stamps[is_live])
            found += len(live[-1])
            at = end
        if not live:
            return np.empty(0, np.int64)
        handles = np.concatenate(live)
        self.head = at - found
        self.handles[self.head : at] = handles
        self.tickets[self.head : at] = np.concatenate(tickets)
        return handles[:count]


class AgeQueue:
    """Units of one priority that wait for the same thing."""

    __slots__ = ("_age_last", "_runs")

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._age_last = -1
        """Age of the newest entry of the first run, at whose tail fresh units are appended."""

    def put(self, units: Units, handles: I64s) -> None:
        """Add units whose tickets are set."""
        ages = units.age[handles]
        if len(handles) > 1 and not (ages[1:] > ages[:-1]).all():
            order = np.argsort(ages)
            handles, ages = handles[order], ages[order]
        tickets = units.ticket[handles]
        if not self._runs:
            self._runs.append(_Run(handles, tickets))
            self._age_last = int(ages[-1])
        elif int(ages[0]) > self._age_last:
            self._runs[0].append(handles, tickets)
            self._age_last = int(ages[-1])
        else:
            self._runs.append(_Run(handles, tickets))
            self._merge_small(units)

    def first(self, units: Units, count: int) -> I64s:
        """The oldest `count` units in order of age; they stay in the queue."""
        heads = [run.first(units, count) for run in self._runs]
        self._drop_empty()
        if not heads:
            return np.empty(0, np.int64)
        if len(heads) == 1:
            return heads[0]
        handles = np.concatenate(heads)
        return handles[np.argsort(units.age[handles])[:count]]

    def is_empty(self, units: Units) -> bool:
        """Whether no live unit is left."""
        return not len(self.first(units, 1))

    def _merge_small(self, units: Units) -> None:
        """Returned units: merge the last runs while the one before is less than twice as long."""
        runs = self._runs
        while len(runs) > 2 and len(runs[-2]) < 2 * len(runs[-1]):
            both = [runs.pop().first(units, 1 << 62) for _ in range(2)]
            handles = np.concatenate(both)
            handles = handles[np.argsort(units.age[handles])]
            runs.append(_Run(handles, units.ticket[handles]))

    def _drop_empty(self) -> None:
        if any(not len(run) for run in self._runs):
            first = self._runs[0]
            kept = [run for run in self._runs if len(run)]
            if not kept or kept[0] is not first:
                self._age_last = -1 if not kept else 1 << 62
            self._runs = kept
