"""Who gets a unit: schedulers with credit, like classes to the same one, then the least loaded.

The law: of the first units in order (a window of one message per ready scheduler), a scheduler
with credit takes those whose class is at home with it; when the window has none of them, it takes
others' rather than stand idle. A class's home is the least loaded ready scheduler that runs its
profile, found when the class is first seen or its home is gone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.link import Hello
from cell.messages import ASSIGN_CREDITS, ASSIGN_ROWS_MAX
from dispatcher.columns import I64s
from dispatcher.flights import Flight
from dispatcher.table import Table

NO_HOME = -1
Load = tuple[bool, int, int]


class Scheduler:
    """A scheduler with a session. `is_sent` marks the classes that the session has had."""

    def __init__(self, name: str, number: int, hello: Hello) -> None:
        self.name = name
        self.number = number
        self.profiles = frozenset(hello.profiles)
        self.is_ready = False
        self.credits = ASSIGN_CREDITS
        self.load = 0
        """Rows under way with it."""
        self.is_sent: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def fit_classes(self, count: int) -> None:
        """Have a mark for each class number below `count`."""
        if len(self.is_sent) < count:
            grown = np.zeros(max(64, 2 * count), np.bool_)
            grown[: len(self.is_sent)] = self.is_sent
            self.is_sent = grown


class Router:
    """Schedulers and the homes of classes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.schedulers: dict[str, Scheduler] = {}
        self._home: NDArray[np.int32] = np.full(64, NO_HOME, np.int32)
        self._numbers = 0

    def add(self, name: str, hello: Hello) -> None:
        """A session with a scheduler has begun; it takes nothing before it says it is ready."""
        self.schedulers[name] = Scheduler(name, self._numbers, hello)
        self._numbers += 1

    def drop(self, name: str) -> None:
        """Its session has ended."""
        self.schedulers.pop(name, None)

    def give_back(self, flights: list[Flight]) -> None:
        """Flights are over."""
        for flight in flights:
            scheduler = self.schedulers.get(flight.scheduler)
            if scheduler is not None:
                scheduler.credits = min(scheduler.credits + 1, ASSIGN_CREDITS)
                scheduler.load = max(0, scheduler.load - flight.rows)

    def forget_classes(self, numbers: list[int]) -> None:
        """These numbers may stand for other classes from now on."""
        for scheduler in self.schedulers.values():
            scheduler.fit_classes(max(numbers, default=-1) + 1)
            scheduler.is_sent[numbers] = False
        self._fit_homes(max(numbers, default=-1) + 1)
        self._home[numbers] = NO_HOME

    @property
    def is_any_ready(self) -> bool:
        """Whether somebody can take units now."""
        return any(s.is_ready for s in self.schedulers.values())

    def free(self) -> list[Scheduler]:
        """Ready schedulers with credit, in the order of their numbers."""
        return [s for s in self.schedulers.values() if s.is_ready and s.credits > 0]

    def window(self) -> int:
        """Units to choose from at a time."""
        return ASSIGN_ROWS_MAX * sum(s.is_ready for s in self.schedulers.values())

    def routes(self, schedulers: list[Scheduler]) -> set[int]:
        """Routes that one of them can take."""
        profiles = self._table.routes.profiles
        return {
            number
            for number, needs in enumerate(profiles)
            if any(needs <= s.profiles for s in schedulers)
        }

    def profiles(self) -> frozenset[str]:
        """Profiles that somebody runs."""
        return frozenset().union(*(s.profiles for s in self.schedulers.values()))

    def is_routable(self, route: int) -> bool:
        """Whether some scheduler with a session runs all profiles of a route."""
        needs = self._table.routes.profiles[route]
        return any(needs <= s.profiles for s in self.schedulers.values())

    def share(self, window: I64s, free: list[Scheduler]) -> list[tuple[Scheduler, I64s]]:
        """Which free scheduler takes which units of the window, each at most one message."""
        ready = [s for s in self.schedulers.values() if s.is_ready]
        if len(ready) == 1:
            return [(ready[0], self._cut(window))]
        home = self._homes(window, ready)
        is_left = np.ones(len(window), np.bool_)
        shares = []
        for scheduler in sorted(free, key=lambda s: (s.load, s.number)):
            chosen = np.flatnonzero(is_left & (home == scheduler.number))
            if not len(chosen):
                others = self._mark([s for s in free if s is not scheduler])
                chosen = np.flatnonzero(is_left & ~others[home] & self._can(scheduler, window))
            if not len(chosen):
                continue
            taken = self._cut(window[chosen])
            is_left[chosen[: len(taken)]] = False
            shares.append((scheduler, taken))
            if len(taken) == len(window):
                break
        return shares

    def _cut(self, handles: I64s) -> I64s:
        """As many as fit one message, at least one."""
        rows = self._table.units.rows[handles]
        if len(rows) <= ASSIGN_ROWS_MAX and rows.sum() <= ASSIGN_ROWS_MAX:
            return handles
        count = int(np.searchsorted(np.cumsum(rows), ASSIGN_ROWS_MAX, side="right"))
        return handles[: max(count, 1)]

    def _homes(self, window: I64s, ready: list[Scheduler]) -> NDArray[Any]:
        """The scheduler number at home per unit; homes are given to classes that have none."""
        units = self._table.units
        klass = units.klass[window]
        self._fit_homes(len(self._table.classes.entries))
        homeless = ~self._mark(ready)[self._home[klass]]
        if homeless.any():
            self._give_homes(window[homeless], ready)
        home = self._home[klass]
        # A unit of several classes may need more than the home of its first class runs.
        for scheduler in ready:
            can = self._can(scheduler, window)
            if not can.all():
                home[(home == scheduler.number) & ~can] = NO_HOME
        return home

    def _give_homes(self, window: I64s, ready: list[Scheduler]) -> None:
        units = self._table.units
        klass, route = units.klass[window], units.route[window]
        loads = {s.number: s.load for s in ready}
        for number in dict.fromkeys(klass.tolist()):
            same = klass == number
            needs = self._table.routes.profiles[int(route[same][0])]
            able = [s for s in ready if needs <= s.profiles]
            if able:
                best = min(able, key=lambda s: (s.credits == 0, loads[s.number], s.number))
                self._home[number] = best.number
                loads[best.number] += int(np.count_nonzero(same))

    def _mark(self, schedulers: list[Scheduler]) -> NDArray[np.bool_]:
        """Per scheduler number whether it is one of these; NO_HOME is none."""
        marks = np.zeros(self._numbers + 1, np.bool_)
        marks[[s.number for s in schedulers]] = True
        return marks

    def _can(self, scheduler: Scheduler, window: I64s) -> NDArray[np.bool_]:
        """Which units of the window the scheduler has all profiles for."""
        runs = np.array([p <= scheduler.profiles for p in self._table.routes.profiles], np.bool_)
        return np.asarray(runs[self._table.units.route[window]])

    def _fit_homes(self, count: int) -> None:
        if len(self._home) < count:
            grown = np.full(2 * count, NO_HOME, np.int32)
            grown[: len(self._home)] = self._home
            self._home = grown
