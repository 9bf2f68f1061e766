"""Requests to the dispatcher: which are in flight, for which unit, and how they are batched.

One request per unit at a time, so that a cancel never overtakes the submit it is meant for. A
session's end forgets all: their fate is unknown until the dispatcher shows its units again.
"""

from __future__ import annotations

from enum import StrEnum

from cell.classes import ClassSpec
from cell.messages import Amend, AmendItem, Cancel, Submit
from cell.release import Call, ReleaseColumn
from cell.unit import NO_PIN, GroupBatch, UnitBatch, uid_of
from sharding.spec import groups_of
from sharding.table import Rollingset, Row


class Kind(StrEnum):
    """The kinds of request."""

    CANCEL = "cancel"
    AMEND = "amend"
    SUBMIT = "submit"


Item = tuple[str, int]
"""(key, revision asked for; 0 for a cancel)."""


class Calls:
    """Requests queued since the last `cut`, and those in flight."""

    def __init__(self, items_max: int) -> None:
        self._items_max = items_max
        self._next = 1
        self._in_flight: dict[int, tuple[Kind, list[Item]]] = {}
        self._busy: dict[str, None] = {}
        self._cancels: list[str] = []
        self._amends: list[tuple[Rollingset, Row]] = []
        self._submits: list[tuple[Rollingset, Row]] = []

    def is_busy(self, key: str) -> bool:
        """Whether a request for the unit has no answer yet."""
        return key in self._busy

    def cancel(self, key: str) -> None:
        """Queue the end of a unit."""
        self._busy[key] = None
        self._cancels.append(key)

    def ask(self, rollingset: Rollingset, row: Row) -> None:
        """Queue what makes the unit what the row should be."""
        self._busy[row.key] = None
        (self._amends if row.settled else self._submits).append((rollingset, row))

    def cut(self) -> list[Call]:
        """The queued requests as calls, cancels first: they free room."""
        calls = []
        step = self._items_max
        for i in range(0, len(self._cancels), step):
            keys = self._cancels[i : i + step]
            calls.append(self._call(Kind.CANCEL, [(k, 0) for k in keys], Cancel(tuple(keys))))
        for i in range(0, len(self._amends), step):
            rows = self._amends[i : i + step]
            items = [(row.key, row.revision) for _, row in rows]
            calls.append(self._call(Kind.AMEND, items, _amend(rows)))
        for i in range(0, len(self._submits), step):
            rows = self._submits[i : i + step]
            items = [(row.key, row.revision) for _, row in rows]
            calls.append(self._call(Kind.SUBMIT, items, _submit(rows)))
        self._cancels, self._amends, self._submits = [], [], []
        return calls

    def take(self, number: int) -> tuple[Kind, list[Item]]:
        """The items that an answer is about; none if the call is not in flight any more."""
        kind, items = self._in_flight.pop(number, (Kind.CANCEL, []))
        for key, _ in items:
            self._busy.pop(key, None)
        return kind, items

    def forget_all(self) -> None:
        """The session has ended."""
        self._in_flight, self._busy = {}, {}

    def _call(self, kind: Kind, items: list[Item], body: Submit | Amend | Cancel) -> Call:
        call = Call(self._next, body)
        self._in_flight[self._next] = (kind, items)
        self._next += 1
        return call


def columns_of(rollingset: Rollingset, row: Row) -> tuple[ReleaseColumn, ...]:
    """The columns of the version that the row should be on."""
    return rollingset.versions[row.version]


def _amend(rows: list[tuple[Rollingset, Row]]) -> Amend:
    return Amend(
        tuple(
            AmendItem(row.key, row.revision, groups_of(columns_of(s, row)), s.spec.place)
            for s, row in rows
        )
    )


def _submit(rows: list[tuple[Rollingset, Row]]) -> Submit:
    classes: dict[ClassSpec, int] = {}
    groups = []
    uids = []
    for rollingset, row in rows:
        uids.append(uid_of(row.key))
        for group in groups_of(columns_of(rollingset, row)):
            klass = classes.setdefault(group.klass, len(classes))
            groups.append((klass, group.count, group.min, group.role))
    return Submit(
        units=UnitBatch.of(
            uid_hi=[hi for hi, _ in uids],
            uid_lo=[lo for _, lo in uids],
            priority=[s.spec.priority for s, _ in rows],
            groups=[len(columns_of(s, row)) for s, row in rows],
        ),
        groups=GroupBatch.of(
            klass=[g[0] for g in groups],
            count=[g[1] for g in groups],
            min=[g[2] for g in groups],
            pin=NO_PIN,
        ),
        keys=tuple(row.key for _, row in rows),
        classes=tuple(classes),
        roles=tuple(g[3] for g in groups),
    )
