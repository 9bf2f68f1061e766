"""Units of a home that is an authority of its own: they come, change and go as the binder tells.

Nothing of it is recorded here: a session brings them all again. What must hold: a unit that was not
told of in a whole list is ended; what came twice changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.classes import decode
from cell.messages import Amend, AmendItem, Arrive
from cell.unit import NO_PIN, GroupSpec, Place
from dispatcher.amendments import Amendments
from dispatcher.codes import State
from dispatcher.columns import I64s, offsets
from dispatcher.records import GroupRows
from dispatcher.requests import Batch, add, texts
from dispatcher.settling import Settling
from dispatcher.table import Table
from dispatcher.waiting.sets import Waiting


class Arrivals:
    """See the module."""

    def __init__(
        self, table: Table, waiting: Waiting, amendments: Amendments, settling: Settling
    ) -> None:
        self._table = table
        self._waiting = waiting
        self._amendments = amendments
        self._settling = settling
        self._listed: set[int] | None = None
        """Handles told of since the list under way began."""

    def take(self, now_us: int, body: Arrive) -> I64s:
        """Apply one message; returns the handles of new units."""
        if not _fits(body):
            # Another process's mistake: nothing of ours depends on it.
            return np.empty(0, np.int64)
        if body.is_first:
            self._listed = set()
        found = self._table.find(body.units.uid_hi, body.units.uid_lo)
        is_new = found < 0
        fresh = np.empty(0, np.int64)
        if is_new.any():
            fresh = found[is_new] = self._add(now_us, body, np.flatnonzero(is_new))
        self._amend(now_us, body, found)
        if self._listed is not None:
            self._listed.update(found.tolist())
        gone = self._table.find(body.gone.uid_hi, body.gone.uid_lo)
        self._amendments.end(now_us, np.unique(gone[gone >= 0]))
        if body.next:
            self._settling.take_claims(now_us, body.next, body.claims)
        if body.is_last:
            self._end_unlisted(now_us)
        return fresh

    def end_session(self) -> None:
        """A list under way will not be ended."""
        self._listed = None

    def _add(self, now_us: int, body: Arrive, items: I64s) -> I64s:
        table, groups = self._table, body.groups
        klass = [table.classes.of(decode(encoded)) for encoded in body.classes]
        numbers = np.array(klass, np.int32)
        pins = np.append(table.names.numbers(body.pins), np.int32(NO_PIN))
        batch = Batch(
            keys=texts(body.keys),
            uid_hi=body.units.uid_hi,
            uid_lo=body.units.uid_lo,
            priority=body.units.priority,
            counts=body.units.groups.astype(np.int64),
            groups=GroupRows(
                klass=numbers[groups.klass],
                count=groups.count.astype(np.int32),
                min=groups.min.astype(np.int32),
                pin=pins[groups.pin],
                role=np.full(len(groups), -1, np.int32),
            ),
        )
        handles, _ = add(table, now_us, batch.take(items))
        table.units.revision[handles] = body.units.revision[items]
        table.units.is_observed[handles] = body.units.is_observed[items]
        self._waiting.activate(handles)
        return handles

    def _amend(self, now_us: int, body: Arrive, handles: I64s) -> None:
        """Units with newer revisions; those between were never seen here."""
        present = self._table.units.revision[handles]
        for i in np.flatnonzero(body.units.revision > present).tolist():
            groups = _groups(body, i)
            for revision in range(int(present[i]) + 1, int(body.units.revision[i]) + 1):
                item = AmendItem(body.keys[i], revision, groups, Place.ANYWHERE)
                self._amendments.amend(now_us, Amend((item,)))

    def _end_unlisted(self, now_us: int) -> None:
        if self._listed is None:
            return
        known = self._table.known()
        known = known[self._table.units.state[known] != State.FINISHED]
        is_listed = np.isin(known, np.fromiter(self._listed, np.int64, len(self._listed)))
        self._amendments.end(now_us, known[~is_listed])
        self._listed = None


def _fits(body: Arrive) -> bool:
    """Whether the columns fit together."""
    groups = body.groups
    fits = len(body.keys) == len(body.units)
    fits = fits and int(body.units.groups.sum(dtype=np.int64)) == len(groups)
    fits = fits and _is_inside(groups.klass, len(body.classes))
    fits = fits and bool((groups.pin >= NO_PIN).all())
    return fits and _is_inside(groups.pin, len(body.pins))


def _is_inside(column: NDArray[Any], count: int) -> bool:
    return bool((column < count).all())


def _groups(body: Arrive, item: int) -> tuple[GroupSpec, ...]:
    first = int(offsets(body.units.groups.astype(np.int64))[item])
    groups, made = body.groups, []
    for row in range(first, first + int(body.units.groups[item])):
        pin = int(groups.pin[row])
        made.append(
            GroupSpec(
                klass=decode(body.classes[int(groups.klass[row])]),
                count=int(groups.count[row]),
                min=int(groups.min[row]),
                pin=body.pins[pin] if pin != NO_PIN else "",
            )
        )
    return tuple(made)
