"""Dispatch: the first units in order leave with the schedulers that have credit."""

from __future__ import annotations

import numpy as np

from cell.effects import Effect, Send
from dispatcher import assigning
from dispatcher.columns import I64s
from dispatcher.flights import Flight, Flights
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.routing import Router, Scheduler
from dispatcher.table import Table
from dispatcher.unplaced import Refusals
from dispatcher.waiting.sets import Waiting

_ALL = 1 << 62


class Dispatch:
    """See the module."""

    def __init__(
        self,
        term: int,
        table: Table,
        waiting: Waiting,
        flights: Flights,
        router: Router,
        lifecycle: Lifecycle,
        refusals: Refusals,
        news: News,
    ) -> None:
        self._term = term
        self._table = table
        self._waiting = waiting
        self._flights = flights
        self._router = router
        self._lifecycle = lifecycle
        self._refusals = refusals
        self._news = news

    def fill(self, now_us: int) -> list[Effect]:
        """Use up the credits as far as there are units."""
        if self._router.schedulers:
            self._park_unroutable(now_us)
        sends: list[Effect] = []
        while free := self._router.free():
            routes = self._router.routes(free)
            limit = self._router.window()
            window = self._waiting.active.first(limit, routes)
            shares = self._router.share(window, free) if len(window) else []
            if not shares:
                break
            sends += [self._assign(now_us, scheduler, handles) for scheduler, handles in shares]
            if len(window) < limit and len(window) == sum(len(taken) for _, taken in shares):
                break
        return sends

    def lose(self, now_us: int, flights: list[Flight]) -> None:
        """Nobody will answer these flights: their units are tried anew, each at its age."""
        for flight in flights:
            members = self._flights.members(flight)
            self._lifecycle.land(members)
            self._news.later(now_us, members)
            self._lifecycle.review(now_us, members)

    def _assign(self, now_us: int, scheduler: Scheduler, handles: I64s) -> Effect:
        units = self._table.units
        count = int(units.rows[handles].sum())
        attempts = self._flights.begin(now_us, scheduler.name, handles, count)
        units.wake_seen[handles] = self._waiting.parked.wakes
        scheduler.credits -= 1
        scheduler.load += count
        rows = assigning.rows_of(self._table, handles, attempts)
        self._news.later(now_us, handles)
        scheduler.fit_classes(len(self._table.classes.entries))
        return Send(
            scheduler.name, assigning.message(self._term, rows, self._table, scheduler.is_sent)
        )

    def _park_unroutable(self, now_us: int) -> None:
        for route in self._waiting.active.routes():
            if self._router.is_routable(route):
                continue
            handles = self._waiting.active.first(_ALL, (route,))
            if not len(handles):
                continue
            missing = self._table.routes.profiles[route] - self._router.profiles()
            name = min(missing or self._table.routes.profiles[route])
            self._refusals.park_unknown(now_us, np.sort(handles), name)
