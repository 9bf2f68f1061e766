"""Where a unit belongs, decided from facts alone; the one place that moves units between sets.

What must hold: after `review` a unit is where the phases of its replicas, its operation and its
frees say. A unit in a flight stays there until somebody lands it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.reasons import Reason
from dispatcher.assigning import count_rows
from dispatcher.codes import IS_QUEUED, IS_SETTLED, Op, Phase, State
from dispatcher.columns import I64s, sums
from dispatcher.config import DispatcherConfig
from dispatcher.flights import Flights
from dispatcher.news import News
from dispatcher.routing import Router
from dispatcher.table import Table
from dispatcher.waiting.sets import Waiting


class Lifecycle:
    """See the module."""

    def __init__(
        self,
        table: Table,
        waiting: Waiting,
        flights: Flights,
        router: Router,
        news: News,
        config: DispatcherConfig,
    ) -> None:
        self._table = table
        self._waiting = waiting
        self._flights = flights
        self._router = router
        self._news = news
        self._finished_max = config.finished_max
        self.is_restoring = False
        """While records are replayed nothing is queued: all that waits is, at the end."""

    def land(self, handles: I64s) -> None:
        """Take units (each named once) out of their flights; those that were in one are LOOSE."""
        self._router.give_back(self._flights.end(handles))

    def command(self, now_us: int, handles: I64s) -> None:
        """Units wait for the binder to settle their operation."""
        self.land(handles)
        self._waiting.leave(handles, State.COMMANDED)
        self._waiting.settle(now_us, handles)

    def review(self, now_us: int, handles: I64s) -> None:
        """Put units (each named once) whose facts have changed where they belong."""
        units = self._table.units
        is_settled = IS_SETTLED[units.state[handles]]
        if is_settled.any():
            handles = handles[~is_settled]
        if not len(handles):
            return
        is_asked = units.op[handles] != Op.NONE
        if is_asked.any():
            stray = handles[is_asked]
            stray = stray[~np.isin(units.state[stray], (State.COMMANDED, State.BACKOFF))]
            self.command(now_us, stray)
            handles = handles[~is_asked]
        waits, is_over = self._counts(handles)
        failed = (units.is_failed[handles] != 0) & waits
        if failed.any():
            # Also what is in flight: facts follow from records alone, and these know no flight.
            self.land(handles[failed])
            self._fail_rest(now_us, handles[failed])
            waits, is_over = self._counts(handles)
        self._finish(now_us, handles[is_over])
        self._hold(now_us, handles[~waits & ~is_over])
        self._queue(handles[waits])

    def fail(self, now_us: int, handles: I64s, reason: Reason) -> None:
        """Units of which nothing has room have failed as a whole."""
        table = self._table
        table.units.is_failed[handles] = 1
        table.units.reason[handles] = reason
        table.replicas.phase[table.all_replicas(handles)] = Phase.FAILED
        table.units.state[handles] = State.LOOSE
        self._news.units(handles, Phase.FAILED, reason)
        self.review(now_us, handles)

    def queue_all(self) -> None:
        """Everything that waits is active, each at its age: the end of a restore."""
        self.is_restoring = False
        table = self._table
        known = table.known()
        unfinished = known[table.units.state[known] != State.FINISHED]
        table.units.is_tried[unfinished] = 1
        self._queue(unfinished[table.units.state[unfinished] == State.LOOSE])

    def _queue(self, handles: I64s) -> None:
        units = self._table.units
        if not len(handles):
            return
        for handle in handles[units.bound_us[handles] != 0].tolist():
            units.rows[handle] = count_rows(self._table, handle)
        handles = handles[~IS_QUEUED[units.state[handles]]]
        if self.is_restoring:
            units.state[handles] = State.LOOSE
        else:
            self._waiting.activate(handles)

    def _hold(self, now_us: int, handles: I64s) -> None:
        if len(handles):
            self.land(handles)
            self._waiting.leave(handles, State.HELD)
            self._waiting.settle(now_us, handles)
            self._table.whys[handles] = ""

    def _finish(self, now_us: int, handles: I64s) -> None:
        if not len(handles):
            return
        table = self._table
        handles = handles[np.argsort(table.units.age[handles])]
        self.land(handles)
        self._waiting.leave(handles, State.FINISHED)
        self._waiting.settle(now_us, handles)
        table.whys[handles] = ""
        table.finish(handles)
        table.forget_finished(self._finished_max)

    def _fail_rest(self, now_us: int, handles: I64s) -> None:
        """What still waits of a failed unit fails with it."""
        table = self._table
        rows = table.all_replicas(handles)
        rows = rows[table.replicas.phase[rows] == Phase.WAITING]
        table.replicas.phase[rows] = Phase.FAILED
        reasons = table.units.reason[table.replicas.unit[rows]]
        self._news.replicas(rows, reasons)

    def _counts(self, handles: I64s) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(whether a replica waits, whether nothing is left to do) per unit."""
        table = self._table
        rows = table.all_replicas(handles)
        phase: NDArray[Any] = table.replicas.phase[rows]
        is_open = (phase < Phase.DONE) | (table.replicas.freeing[rows] != 0)
        if len(rows) == len(handles):
            return phase == Phase.WAITING, ~is_open
        counts = table.units.replicas[handles]
        return sums(phase == Phase.WAITING, counts) > 0, sums(is_open, counts) == 0
