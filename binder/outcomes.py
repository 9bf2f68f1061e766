"""The outcome log (ADR 1) and the tombstones that hang on it (ADR 3).

Outcomes are numbered in order of commit and kept until the dispatcher has acked them. A tombstone
belongs to an outcome: when that is acked it is stamped with the ordinal that is next, and when the
floor has passed the stamp no older plan can be on its way any more.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from binder.records import Journal

Numbers = NDArray[np.int64]


class OutcomeLog:
    """Outcomes not yet acked, as the journals they were committed in. `next` numbers the next."""

    def __init__(self) -> None:
        self.next = 0
        self._kept: deque[tuple[int, Journal]] = deque()

    def append(self, journal: Journal) -> int:
        """Keep a commit's outcomes; returns the first one's number."""
        first = self.next
        if len(journal):
            self._kept.append((first, journal))
            self.next += len(journal)
        return first

    def skip_to(self, number: int) -> None:
        """Numbers below were used in a former life."""
        self.next = max(self.next, number)

    def ack(self, number: int) -> None:
        """Forget outcomes below `number`, in whole commits."""
        while self._kept and self._kept[0][0] + len(self._kept[0][1]) <= number:
            self._kept.popleft()

    def kept(self, start: int = 0) -> list[tuple[int, Journal]]:
        """(first number, outcomes) of each commit, without those below `start`."""
        parts = []
        for first, journal in self._kept:
            skip = max(0, start - first)
            if skip < len(journal):
                parts.append((first + skip, journal.take(slice(skip, None)) if skip else journal))
        return parts


class Graves:
    """Units with a tombstone: waiting for the ack of their outcome, then for the floor."""

    def __init__(self) -> None:
        self._unacked: deque[tuple[Numbers, Numbers]] = deque()
        self._stamped: deque[tuple[tuple[int, int], Numbers, Numbers]] = deque()

    def dig(self, units: Numbers, numbers: Numbers) -> None:
        """Add tombstones in order of their outcomes."""
        if len(units):
            self._unacked.append((units, numbers))

    def ack(self, number: int, stamp: tuple[int, int]) -> None:
        """Outcomes below `number` are acked, and (term, next) is `stamp` now."""
        while self._unacked and self._unacked[0][1][0] < number:
            units, numbers = self._unacked.popleft()
            acked = int(np.searchsorted(numbers, number))
            self._stamped.append((stamp, units[:acked], numbers[:acked]))
            if acked < len(numbers):
                self._unacked.appendleft((units[acked:], numbers[acked:]))

    def stamp(self, stamp: tuple[int, int], units: Numbers, numbers: Numbers) -> None:
        """Take over stamped tombstones of a snapshot, in order of stamps."""
        self._stamped.append((stamp, units, numbers))

    def passed(self, floor: tuple[int, int]) -> list[tuple[Numbers, Numbers]]:
        """Take the tombstones whose stamp the floor (term, ordinal) has passed: units, outcomes."""
        parts = []
        while self._stamped and self._stamped[0][0] <= floor:
            parts.append(self._stamped.popleft()[1:])
        return parts

    def stamps(self) -> list[tuple[tuple[int, int], Numbers, Numbers]]:
        """Stamped tombstones, for a snapshot."""
        return list(self._stamped)
