"""Replicas on their way out: evictions under way, and commands that are settled when they are done.

An eviction is done when the API server has taken it, or the object is gone; its room is held until
the object is gone. A command is settled once, when the last eviction it waits for is done.
"""

from __future__ import annotations

import msgspec

from binder.home.book import Row, object_name, uid_of_row
from cell.home import ObjectView, Replica
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT, Verdict

Name = tuple[Replica, int]
"""Name and uid of an object."""


class Ending(msgspec.Struct, frozen=True):
    """Why an object is evicted; `is_told` when a command's settlement says so already."""

    object: int
    reason: Reason
    is_told: bool


class Owed(msgspec.Struct):
    """A settlement that waits for evictions."""

    row: Row
    waits: set[Name]


class Endings:
    """See the module."""

    def __init__(self) -> None:
        self._endings: dict[Replica, Ending] = {}
        self._owed: list[Owed] = []

    def begin(self, replica: Replica, ending: Ending) -> None:
        """An eviction is asked for; a told one is not made untold."""
        before = self._endings.get(replica)
        if before is None or before.object != ending.object or not before.is_told:
            self._endings[replica] = ending

    def owe(self, row: Row, waits: set[Name]) -> None:
        """Settle with `row` when these evictions are done."""
        self._owed.append(Owed(row, waits))

    def end(self, replica: Replica, object_uid: int) -> Ending | None:
        """The object is gone: why it was evicted, if it was."""
        ending = self._endings.get(replica)
        if ending is None or ending.object != object_uid:
            return None
        return self._endings.pop(replica)

    def is_ended(self, view: ObjectView) -> bool:
        """Whether a command that is still to be settled ends the object, however new it is."""
        return any(ends(owed.row, view) for owed in self._owed)

    def done(self, replica: Replica, object_uid: int) -> list[Row]:
        """An eviction is done: the settlements that are due now."""
        for owed in self._owed:
            owed.waits.discard((replica, object_uid))
        due = [owed.row for owed in self._owed if not owed.waits]
        self._owed = [owed for owed in self._owed if owed.waits]
        return due

    def clear(self) -> None:
        """Nothing is owed any more: another leads."""
        self._endings.clear()
        self._owed.clear()


def ends(row: Row, view: ObjectView) -> bool:
    """Whether a command means an object: a cancel all of its unit, a release older revisions, a
    free one replica."""
    if uid_of_row(row) != (view.replica.uid_hi, view.replica.uid_lo):
        return False
    if row["verdict"] == Verdict.CANCELLED:
        return True
    if row["ordinal"] == WHOLE_UNIT:
        return view.revision < row["revision"]
    return view.replica == object_name(row) and view.revision <= row["revision"]
