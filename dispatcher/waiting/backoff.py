"""The backoff set: units that wait for a time, in buckets of a millisecond."""

from __future__ import annotations

import numpy as np
from sortedcontainers import SortedDict

from dispatcher.columns import I64s, mix
from dispatcher.table import Units

_BUCKET_US = 1_000
_DOUBLINGS_MAX = 30


class Backoff:
    """Units by the time when they may be tried again."""

    def __init__(self, units: Units, ms_min: int, ms_max: int) -> None:
        self._units = units
        self._ms_min = ms_min
        self._ms_max = ms_max
        self._buckets: SortedDict = SortedDict()

    def put(self, now_us: int, handles: I64s) -> None:
        """Add units whose tickets are set. The wait doubles with each conflict; of each wait the
        upper half is spread by uid and conflict, so that losers do not meet again."""
        units = self._units
        conflicts = units.conflicts[handles]
        units.conflicts[handles] = np.minimum(conflicts + 1, _DOUBLINGS_MAX)
        wait_us = np.minimum(self._ms_min << conflicts.astype(np.int64), self._ms_max) * 1_000
        spread = mix(units.uid_lo[handles], conflicts) >> np.uint64(34)
        wait_us -= (wait_us // 2 * spread.astype(np.int64)) >> 30
        due = (now_us + wait_us) // _BUCKET_US + 1
        order = np.argsort(due, kind="stable")
        handles, due = handles[order], due[order]
        cuts = np.flatnonzero(np.diff(due)) + 1
        firsts = due[np.concatenate(([0], cuts))].tolist()
        for key, part in zip(firsts, np.split(handles, cuts), strict=True):
            entry = (part, units.ticket[part])
            self._buckets.setdefault(key, []).append(entry)

    def due(self, now_us: int) -> I64s:
        """Units whose wait is over; they leave the set."""
        found: list[I64s] = []
        while self._buckets and self._buckets.peekitem(0)[0] * _BUCKET_US <= now_us:
            _, entries = self._buckets.popitem(0)
            for handles, tickets in entries:
                found.append(handles[self._units.ticket[handles] == tickets])
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def next_at_us(self) -> int:
        """When the next wait is over; 0 for never."""
        return self._buckets.peekitem(0)[0] * _BUCKET_US if self._buckets else 0
