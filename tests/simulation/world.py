"""The world's clock: one thread, one seeded generator, one heap of what happens next.

Everything in a simulated history goes through `World`: who acts when, what luck decides, how many
events cores were given, which faults struck, and the story, which a failing seed prints. Equal
seeds give equal histories: ties in time end in the order of arrival, and nothing else is random.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

MS = 1_000
SECOND = 1_000_000
START_US = 1_700_000_000 * SECOND


class Broken(Exception):
    """A rule that did not hold: its name, what was seen, and the unit's key or uid."""

    def __init__(self, rule: str, seen: str, subject: Any = None) -> None:
        super().__init__(f"{rule}: {seen}")
        self.rule = rule
        self.seen = seen
        self.subject = subject


class World:
    """Time, luck, counts and the story."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now_us = START_US
        self.events_given = 0
        self.faults: Counter[str] = Counter()
        self.is_healed = False
        self.story: list[tuple[int, str, str, Any]] = []
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._tie = 0

    def at(self, when_us: int, action: Callable[[], None]) -> None:
        """Do `action` at a time, or now if that is past."""
        self._tie += 1
        heapq.heappush(self._heap, (max(when_us, self.now_us), self._tie, action))

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Do `action` after a delay."""
        self.at(self.now_us + delay_us, action)

    def run_until(self, until_us: int) -> None:
        """Let everything happen that is due up to and at a time."""
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            self.now_us, _, action = heapq.heappop(heap)
            action()
        self.now_us = until_us

    def note(self, who: str, what: str, body: Any = None) -> None:
        """Add a line to the story; text is made of `body` only when a failure prints it."""
        self.story.append((self.now_us, who, what, body))

    def fault(self, kind: str, where: str = "") -> None:
        """Count a fault that struck."""
        self.faults[kind] += 1
        self.note(where or "world", f"FAULT {kind}")

    def chance(self, ratio: float) -> bool:
        """Luck: true in `ratio` of all cases."""
        return ratio > 0 and self.random.random() < ratio

    def between(self, low: int, high: int) -> int:
        """Luck: a whole number in [low, high]."""
        return self.random.randint(low, high)
