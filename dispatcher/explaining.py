"""Lines that say why units wait, on their way to a binder whose home has to be told.

Called by `unplaced` for units that are parked; what lasts for milliseconds is told to nobody. What
must hold: within a session a unit's line is told when it is another one than was told last; a
session begins with those of all parked units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.messages import EXPLAIN_ROWS_MAX, Explain, WhyRows
from dispatcher.codes import IS_QUEUED, State
from dispatcher.columns import I64s
from dispatcher.table import Table


class Lines:
    """See the module. `is_wanted` by the home; without that nothing is gathered."""

    def __init__(self, table: Table, *, is_wanted: bool) -> None:
        self._table = table
        self._is_wanted = is_wanted
        self._fresh: list[I64s] = []
        self._told: NDArray[Any] = np.empty(0, object)
        """Per handle the line told in this session, of the unit of that age."""
        self._told_age = np.empty(0, np.uint64)

    def put(self, handles: I64s, line: str) -> None:
        """These units wait for this."""
        self._table.whys[handles] = line
        if self._is_wanted:
            self._fresh.append(handles)

    def begin_session(self) -> None:
        """The binder knows nothing."""
        self._told = np.empty(0, object)
        if self._is_wanted:
            known = self._table.known()
            self._fresh = [known[self._table.units.state[known] == State.PARKED]]

    def cut(self) -> list[Explain]:
        """What is to be told now, also of units that something woke in the same call."""
        if not self._fresh:
            return []
        handles, self._fresh = np.unique(np.concatenate(self._fresh)), []
        handles = self._take_news(handles[IS_QUEUED[self._table.units.state[handles]]])
        parts = range(0, len(handles), EXPLAIN_ROWS_MAX)
        return [self._message(handles[at : at + EXPLAIN_ROWS_MAX]) for at in parts]

    def _take_news(self, handles: I64s) -> I64s:
        """Those whose lines are not what was told of them; they count as told."""
        units, whys = self._table.units, self._table.whys
        if len(self._told) < units.capacity:
            told, ages = self._told, self._told_age
            self._told = np.full(units.capacity, "", object)
            self._told[: len(told)] = told
            self._told_age = np.zeros(units.capacity, np.uint64)
            self._told_age[: len(told)] = ages[: len(told)]
        is_news = (self._told[handles] != whys[handles]).astype(np.bool_)
        is_news |= self._told_age[handles] != units.age[handles]
        news: I64s = handles[is_news]
        self._told[news] = whys[news]
        self._told_age[news] = units.age[news]
        return news

    def _message(self, handles: I64s) -> Explain:
        units = self._table.units
        lines: dict[str, int] = {}
        index = [lines.setdefault(why, len(lines)) for why in self._table.whys[handles].tolist()]
        rows = WhyRows(
            uid_hi=units.uid_hi[handles],
            uid_lo=units.uid_lo[handles],
            line=np.array(index, np.uint32),
        )
        return Explain(rows, tuple(lines))
