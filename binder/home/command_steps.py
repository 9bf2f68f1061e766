"""Commands in the API-server home: what they end is evicted, and settled when that is done.

1. A gang's Post is under way, its binder dies. 2. Its unit is amended; the next binder is asked to
release the old revision before it has listed, and knows of no object. 3. The Post lands. So
commands wait for the first list, as plans do.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from binder import commands
from binder.home.book import Row, object_name, uid_of_row, whole_row
from binder.home.desk import Desk
from binder.home.endings import ends
from binder.records import Journal
from cell.home import ObjectState, ObjectView
from cell.reasons import Reason
from cell.unit import CommandOp, Commands, Verdict


class CommandSteps:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._early: list[tuple[Commands, NDArray[np.int32]]] = []
        """Commands from before the first list, with class numbers; repeated ones change nothing."""

    def take(self, run: Commands, klass: NDArray[np.int32]) -> None:
        """Do one run of commands, now or when there is a list."""
        if self._desk.is_listed:
            self._obey(run, klass)
        else:
            self._early.append((run, klass))

    def clear(self) -> None:
        """Another leads: nothing is done any more."""
        self._early.clear()

    def obey_early(self) -> None:
        """The first list is there."""
        early, self._early = self._early, []
        for run, klass in early:
            self._obey(run, klass)

    def _obey(self, run: Commands, klass: NDArray[np.int32]) -> None:
        """One run of commands, against the ledger with all that is gathered so far."""
        self._desk.book.sync()
        journal = commands.judge(self._desk.ledger, run, klass)
        match int(run.op[0]):
            case CommandOp.AMEND:
                self._amend(journal)
            case CommandOp.CONFIRM:
                self._say_lost(journal)
            case _:
                for row in journal.rows():
                    self._end_for(row)

    def _end_for(self, row: Row) -> None:
        """Evict what a cancel, release or free ends; it is settled when that is done."""
        is_end = row["verdict"] in (Verdict.CANCELLED, Verdict.RELEASED)
        if not is_end:
            self._desk.book.add(row)
            return
        waits = {(view.replica, view.object) for view in self._ended_by(row)}
        for replica, object_uid in sorted(waits):
            self._desk.evict(replica, object_uid, Reason(row["reason"]), is_told=True)
        if not waits:
            self._desk.book.add(row)
            return
        self._desk.book.add(row, is_told=False)
        self._desk.endings.owe(row, waits)

    def _ended_by(self, row: Row) -> list[ObjectView]:
        """The objects that a command means, those already ended left out."""
        views = self._desk.objects.of_unit(uid_of_row(row))
        has_ended = (ObjectState.DONE, ObjectState.FAILED)
        return [v for v in views if ends(row, v) and v.state not in has_ended]

    def _amend(self, journal: Journal) -> None:
        """Objects cannot be changed in place: only what is so already is settled as amended."""
        for uid, run in groupby(journal.rows(), key=uid_of_row):
            rows = list(run)
            claims = self._desk.book.claims(uid)
            is_so = all(
                int(self._desk.ledger.claims.revision[c]) >= rows[0]["revision"] for c in claims
            )
            if rows[0]["verdict"] not in (Verdict.AMENDED, Verdict.REJECTED) or is_so:
                for row in rows:
                    self._desk.book.add(row)
            else:
                self._desk.book.add(whole_row(rows[0], Verdict.REJECTED, Reason.HOME_REFUSED))

    def _say_lost(self, journal: Journal) -> None:
        """Claims that are not there: their objects say what became of them."""
        for row in journal.rows():
            view = self._desk.objects.get(object_name(row))
            state = view.state if view and view.revision == row["revision"] else None
            if state is ObjectState.DONE:
                ended = {"verdict": Verdict.RELEASED, "reason": Reason.REPORTED_DONE}
            elif state is ObjectState.FAILED:
                ended = {"verdict": Verdict.FAILED, "reason": Reason.REPORTED_FAILED}
            elif state is ObjectState.PENDING:
                ended = {"verdict": Verdict.FAILED, "reason": Reason.CONFLICT}
            else:
                ended = {"verdict": Verdict.FAILED, "reason": Reason.HOME_GONE}
            self._desk.book.add({**row, **ended})
