"""Answers of schedulers that found no room: park with the reasons, or try again at once.

An answer to an attempt that is void changes nothing. The reasons of nodes become one line for
people, made once per like answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.messages import Unplaced
from cell.reasons import Reason, Wake, text
from dispatcher.codes import Phase, State
from dispatcher.columns import I64s
from dispatcher.explaining import Lines
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.table import Table
from dispatcher.waiting.parked import SCHEDULER, Stamp
from dispatcher.waiting.sets import Waiting

_NEWEST: Stamp = (1 << 62, 0)


class Refusals:
    """See the module."""

    def __init__(
        self, table: Table, waiting: Waiting, lifecycle: Lifecycle, news: News, lines: Lines
    ) -> None:
        self._table = table
        self._waiting = waiting
        self._lifecycle = lifecycle
        self._news = news
        self._lines = lines

    def take(self, now_us: int, body: Unplaced) -> None:
        """Apply a scheduler's answers."""
        rows, units = body.rows, self._table.units
        handles = self._table.resolve(rows.handle, rows.uid_hi, rows.uid_lo)
        safe = np.maximum(handles, 0)
        is_mine = (handles >= 0) & (units.attempt[safe] == rows.attempt) & (rows.attempt > 0)
        is_mine &= units.state[safe] == State.FLIGHT
        items = np.flatnonzero(is_mine)
        items = items[_first_of_each(handles[items])]
        handles = handles[items]
        self._lifecycle.land(handles)
        is_unready = rows.reason[items] == Reason.SCHEDULER_UNREADY
        again = handles[is_unready]
        self._news.later(now_us, again)
        self._waiting.activate(again)
        self._park(now_us, body, handles[~is_unready], items[~is_unready])

    def park_unknown(self, now_us: int, handles: I64s, profile: str) -> None:
        """No scheduler runs what these units need: one that comes wakes them."""
        self._note(now_us, handles, Reason.UNKNOWN_PROFILE, 0, SCHEDULER, _NEWEST)
        self._lines.put(handles, text(Reason.UNKNOWN_PROFILE, profile))

    def _park(self, now_us: int, body: Unplaced, handles: I64s, items: I64s) -> None:
        rows = body.rows
        keys = _likeness(body, items)
        likes: dict[tuple[int, int, int, bytes], list[int]] = {}
        for place, (item, shortfalls) in enumerate(zip(items.tolist(), keys, strict=True)):
            like = (
                int(rows.reason[item]),
                int(rows.argument[item]),
                int(rows.wakes[item]),
                shortfalls,
            )
            likes.setdefault(like, []).append(place)
        for (reason, argument, wakes, shortfalls), places in likes.items():
            parked = handles[places]
            line = self._line(body, int(parked[0]), reason, argument, shortfalls)
            if reason == Reason.INSUFFICIENT_RESOURCE:
                argument = self._news.resource(_resource(body, argument))
            elif reason == Reason.UNKNOWN_PROFILE:
                wakes |= SCHEDULER
            mask = wakes or int(Wake.ALL)
            self._note(now_us, parked, reason, argument, mask, (body.term, body.generation))
            self._lines.put(parked, line)

    def _note(
        self, now_us: int, handles: I64s, reason: int, argument: int, mask: int, seen: Stamp
    ) -> None:
        self._table.units.reason[handles] = reason
        self._waiting.park(now_us, handles, mask, seen)
        self._news.units(handles, Phase.WAITING, reason, argument)

    def _line(
        self, body: Unplaced, handle: int, reason: int, argument: int, shortfalls: bytes
    ) -> str:
        """The line that says why: the unit's own reason, then what kept nodes away."""
        said: str | int = argument
        if reason == Reason.INSUFFICIENT_RESOURCE:
            said = _resource(body, argument)
        elif reason == Reason.UNKNOWN_PROFILE:
            said = self._table.classes.profiles[int(self._table.units.klass[handle])]
        line = text(reason, said)
        if not shortfalls:
            return line
        parts = [
            f"{nodes} {text(code, _resource(body, resource))}"
            for code, resource, nodes in np.frombuffer(shortfalls, np.int64).reshape(-1, 3).tolist()
        ]
        head = line if reason == Reason.GANG_MINIMUM else "no node fits"
        return f"{head}: {', '.join(parts)}"


def _likeness(body: Unplaced, items: I64s) -> list[bytes]:
    """Per answer its shortfalls as bytes of (reason, resource, nodes), most nodes first."""
    short = body.shortfalls
    if not len(short):
        return [b""] * len(items)
    order = np.lexsort((-short.nodes.astype(np.int64), short.answer))
    table: NDArray[Any] = np.stack(
        (short.reason[order], short.resource[order], short.nodes[order]), axis=1
    ).astype(np.int64)
    answers = short.answer[order].astype(np.int64)
    starts = np.searchsorted(answers, items, side="left").tolist()
    ends = np.searchsorted(answers, items, side="right").tolist()
    return [table[start:end].tobytes() for start, end in zip(starts, ends, strict=True)]


def _resource(body: Unplaced, index: int) -> str:
    return body.resources[index] if 0 <= index < len(body.resources) else ""


def _first_of_each(handles: I64s) -> I64s:
    """Positions of the first row of each unit."""
    _, first = np.unique(handles, return_index=True)
    return np.sort(first)
