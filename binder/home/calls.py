"""Calls to the API server: numbered, a bounded number in flight, again after a pause.

What must hold: every call that was made is answered once, with UNKNOWN at the worst; a call of a
purpose that is waiting or in flight is not made twice.
"""

from __future__ import annotations

from collections import deque

import msgspec

from cell.effects import Effect
from cell.home import Evict, GangRecord, Post, Read, ReadRecord, Relist, Replica, Write

Uid = tuple[int, int]


class Purpose(msgspec.Struct, frozen=True, order=True):
    """What a call is for: its kind, and the object or the gang it is about."""

    kind: str
    replica: Replica = Replica(0, 0)
    object: int = 0

    @property
    def uid(self) -> Uid:
        """The unit it is about."""
        return self.replica.uid_hi, self.replica.uid_lo


class Wish(msgspec.Struct, frozen=True):
    """A call to be made; the other fields as its kind needs them."""

    purpose: Purpose
    node: str = ""
    version: int = 0
    record: GangRecord | None = None
    is_held: bool = False

    def call(self, number: int) -> Effect:
        """The call itself."""
        about = self.purpose
        match about.kind:
            case "post":
                return Post(number, about.replica, about.object, self.node)
            case "read":
                return Read(number, about.replica)
            case "evict":
                return Evict(number, about.replica, about.object)
            case "write":
                held = self.is_held
                return Write(number, *about.uid, self.version, self.record, is_held=held)
            case "read record":
                return ReadRecord(number, *about.uid)
        return Relist(number)


READS = ("read", "read record", "relist")
"""Kinds that change nothing: made without a lease, too."""


class Calls:
    """All calls waiting, in flight, or to be made again later."""

    def __init__(self, first: int, in_flight_max: int, retry_us: int) -> None:
        self._next = first
        self._in_flight_max = in_flight_max
        self._retry_us = retry_us
        self._waiting: deque[Wish] = deque()
        self._later: deque[tuple[int, Wish]] = deque()
        self._in_flight: dict[int, Purpose] = {}
        self._known: set[Purpose] = set()

    @property
    def wake_at_us(self) -> int:
        """When the next one is due again; 0 when none is."""
        return self._later[0][0] if self._later else 0

    def is_open(self, purpose: Purpose) -> bool:
        """Whether such a call is waiting or in flight."""
        return purpose in self._known

    def ask(self, wish: Wish) -> None:
        """Make a call as soon as there is room for it."""
        if wish.purpose not in self._known:
            self._known.add(wish.purpose)
            self._waiting.append(wish)

    def ask_later(self, now_us: int, wish: Wish) -> None:
        """Make a call after the pause."""
        if wish.purpose not in self._known:
            self._known.add(wish.purpose)
            self._later.append((now_us + self._retry_us, wish))

    def answered(self, number: int) -> Purpose | None:
        """What the answered call was for; None for one that was forgotten."""
        purpose = self._in_flight.pop(number, None)
        if purpose is not None:
            self._known.discard(purpose)
        return purpose

    def take(self, now_us: int) -> list[Effect]:
        """The calls to be made now."""
        while self._later and self._later[0][0] <= now_us:
            self._waiting.append(self._later.popleft()[1])
        effects: list[Effect] = []
        while self._waiting and len(self._in_flight) < self._in_flight_max:
            wish = self._waiting.popleft()
            self._in_flight[self._next] = wish.purpose
            effects.append(wish.call(self._next))
            self._next += 1
        return effects

    def forget(self, purpose: Purpose) -> None:
        """Whatever answers such calls, if anything, means nothing any more."""
        self._known.discard(purpose)
        self._waiting = deque(w for w in self._waiting if w.purpose != purpose)
        self._later = deque((at, w) for at, w in self._later if w.purpose != purpose)
        self._in_flight = {n: p for n, p in self._in_flight.items() if p != purpose}

    def keep_reads(self) -> list[Purpose]:
        """Forget what would write and was not made yet; returns the posts among it."""
        wishes = [*self._waiting, *(wish for _, wish in self._later)]
        dropped = [wish.purpose for wish in wishes if wish.purpose.kind not in READS]
        self._known.difference_update(dropped)
        self._waiting = deque(w for w in self._waiting if w.purpose.kind in READS)
        self._later = deque((at, w) for at, w in self._later if w.purpose.kind in READS)
        return [purpose for purpose in dropped if purpose.kind == "post"]
