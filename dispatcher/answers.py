"""What schedulers answer of units that they did not place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.messages import Unplaced
from cell.reasons import Reason, text
from cell.uid_index import ABSENT
from cell.unit import Phase
from dispatcher.columns import I64s
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.table import State, Table
from dispatcher.waiting.parked import EVERYTHING, SCHEDULER
from dispatcher.waiting.sets import Waiting


class Answers:
    """Parks what found no room, tries again what nobody could try."""

    def __init__(self, table: Table, waiting: Waiting, lifecycle: Lifecycle, news: News) -> None:
        self._table = table
        self._waiting = waiting
        self._lifecycle = lifecycle
        self._news = news

    def unplaced(self, now_us: int, answer: Unplaced) -> None:
        """Units that found no room park; those of a scheduler that cannot place try again."""
        rows = answer.rows
        handles = self._table.resolve(rows.handle, rows.uid_hi, rows.uid_lo)
        is_present = self._is_present(handles, rows.attempt)
        is_unready = is_present & (rows.reason == Reason.SCHEDULER_UNREADY)
        self.again(now_us, handles[is_unready])
        refused = np.flatnonzero(is_present & ~is_unready)
        lines = _lines(answer, refused)
        alike: dict[tuple[int, int, str], list[int]] = {}
        for i, line in zip(refused.tolist(), lines, strict=True):
            kind = int(rows.wakes[i]), int(rows.reason[i]), line
            alike.setdefault(kind, []).append(int(handles[i]))
        for (wakes, reason, line), members in alike.items():
            mask = SCHEDULER if reason == Reason.UNKNOWN_PROFILE else wakes or EVERYTHING
            self.park(now_us, np.array(members, np.int64), mask, reason, line)

    def again(self, now_us: int, handles: I64s) -> None:
        """Attempts that came to nothing: the units are active at their old age."""
        if len(handles):
            self._lifecycle.land(handles)
            self._waiting.settle(now_us, handles)
            self._lifecycle.review(now_us, handles)

    def park(self, now_us: int, handles: I64s, mask: int, reason: int, line: str) -> None:
        """Units wait for an event of the mask, with a line that says why."""
        if not len(handles):
            return
        self._lifecycle.land(handles)
        units = self._table.units
        is_news = units.reason[handles] != reason
        units.reason[handles] = reason
        self._table.whys[handles] = line
        self._waiting.park(now_us, handles, mask)
        self._news.units(handles[is_news], Phase.WAITING, reason)

    def _is_present(self, handles: I64s, attempt: NDArray[Any]) -> NDArray[np.bool_]:
        """Which answers are for the attempt under way."""
        is_known = handles != ABSENT
        if not self._table.end:
            return is_known
        found, units = np.maximum(handles, 0), self._table.units
        is_flight = units.state[found] == State.FLIGHT
        return is_known & is_flight & (units.attempt[found] == attempt)


def _lines(answer: Unplaced, refused: NDArray[Any]) -> list[str]:
    """One line per refused unit: the reason, and how many nodes refused for what."""
    rows, short, names = answer.rows, answer.shortfalls, answer.resources
    parts: dict[int, list[str]] = {}
    for i, reason, resource, nodes in zip(
        short.answer.tolist(),
        short.reason.tolist(),
        short.resource.tolist(),
        short.nodes.tolist(),
        strict=True,
    ):
        name = names[resource] if resource < len(names) else ""
        parts.setdefault(i, []).append(f"{nodes} {text(reason, name)}")
    made = []
    for i in refused.tolist():
        reason, argument = int(rows.reason[i]), int(rows.argument[i])
        is_named = reason != Reason.GANG_MINIMUM and argument < len(names)
        head = text(reason, names[argument] if is_named else argument)
        tail = ", ".join(parts.get(i, ()))
        made.append(f"{head}; of the nodes {tail}" if tail else head)
    return made
