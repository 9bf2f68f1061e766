"""Assignments under way: one flight per message, and the floor below which attempts are void.

The attempts of a flight are consecutive, so a unit's attempt names its flight. A flight is over
when none of its units is in it any more, whatever took them out; that gives the credit back.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dispatcher.codes import State
from dispatcher.columns import I64s
from dispatcher.table import Units


class Flight(msgspec.Struct):
    """One Assign message; `open_count` of its units are still with `scheduler`."""

    first: int
    handles: NDArray[np.int64]
    scheduler: str
    rows: int
    at_us: int
    open_count: int


class Flights:
    """All flights, in order of attempts."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._flights: list[Flight] = []
        self._firsts: list[int] = []
        self.next = 1
        """The next attempt to be given out."""

    @property
    def floor(self) -> int:
        """The smallest attempt that may still be under way."""
        return self._firsts[0] if self._firsts else self.next

    def begin(self, now_us: int, scheduler: str, handles: I64s, rows: int) -> NDArray[Any]:
        """Units leave with a scheduler; returns their attempts."""
        attempts = np.arange(self.next, self.next + len(handles), dtype=np.uint64)
        self._flights.append(Flight(self.next, handles, scheduler, rows, now_us, len(handles)))
        self._firsts.append(self.next)
        self.next += len(handles)
        units = self._units
        units.attempt[handles] = attempts
        units.state[handles] = State.FLIGHT
        units.ticket[handles] = 0
        units.is_tried[handles] = 1
        units.tries[handles] += 1
        return attempts

    def end(self, handles: I64s) -> list[Flight]:
        """Take units out of their flights, LOOSE; returns the flights that are over."""
        units = self._units
        attempts = units.attempt[handles]
        inside = attempts > 0
        if not inside.any():
            return []
        units.attempt[handles] = 0
        units.state[handles[inside]] = State.LOOSE
        for attempt, count in self._per_flight(attempts[inside]):
            self._flights[attempt].open_count -= count
        over = [flight for flight in self._flights if flight.open_count <= 0]
        if over:
            self._flights = [flight for flight in self._flights if flight.open_count > 0]
            self._firsts = [flight.first for flight in self._flights]
        return over

    def members(self, flight: Flight) -> I64s:
        """Units that are still in a flight."""
        end = flight.first + len(flight.handles)
        attempts = self._units.attempt[flight.handles]
        return flight.handles[(attempts >= flight.first) & (attempts < end)]

    def of(self, scheduler: str) -> list[Flight]:
        """Flights with a scheduler."""
        return [flight for flight in self._flights if flight.scheduler == scheduler]

    def older_than(self, at_us: int) -> list[Flight]:
        """Flights that began before a time."""
        return [flight for flight in self._flights if flight.at_us < at_us]

    def oldest_us(self) -> int:
        """When the oldest flight began; 0 when there is none."""
        return min((flight.at_us for flight in self._flights), default=0)

    def _per_flight(self, attempts: NDArray[Any]) -> list[tuple[int, int]]:
        """(flight, units) for attempts."""
        if len(attempts) == 1:
            return [(bisect_right(self._firsts, int(attempts[0])) - 1, 1)]
        found = np.searchsorted(np.array(self._firsts, np.uint64), attempts, side="right") - 1
        counts = np.bincount(found, minlength=len(self._firsts))
        return [(i, int(counts[i])) for i in np.flatnonzero(counts).tolist()]
