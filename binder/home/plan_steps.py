"""Plans in the API-server home: what of a judged plan is begun, and what the home knows better.

A unit's rows are accepted, and posted; or written first (a gang, a unit without objects); or
refused, because an object is not there to be bound.
"""

from __future__ import annotations

from itertools import groupby

from binder.evaluate import Judged
from binder.home.arrivals import Arrivals
from binder.home.book import Row, object_name, uid_of_row, whole_row
from binder.home.desk import Desk
from binder.home.gang_steps import GangSteps
from binder.home.recorded_steps import RecordedSteps
from cell.home import ObjectState, ObjectView
from cell.messages import ClaimState
from cell.reasons import Reason
from cell.unit import Verdict


class PlanSteps:
    """See the module."""

    def __init__(
        self, desk: Desk, gangs: GangSteps, recorded: RecordedSteps, arrivals: Arrivals
    ) -> None:
        self._desk = desk
        self._gangs = gangs
        self._recorded = recorded
        self._arrivals = arrivals

    def take(self, judged: Judged) -> None:
        """Begin what was judged to fit, unit by unit."""
        asked = zip(judged.minimum.tolist(), judged.attempt.tolist(), strict=True)
        rows = [
            {**row, "min": least, "asked": attempt}
            for row, (least, attempt) in zip(judged.journal.rows(), asked, strict=True)
        ]
        for _, run in groupby(rows, key=uid_of_row):
            self._plan_unit(list(run))

    def _plan_unit(self, rows: list[Row]) -> None:
        """Accept a unit's rows, begin a gang, or refuse it for what the home knows better."""
        least = {row["group"]: row.pop("min") for row in rows}
        attempt, *_ = [row.pop("asked") for row in rows]
        bound = [row for row in rows if row["verdict"] == Verdict.BOUND]
        already = [row for row in rows if row["verdict"] == Verdict.ALREADY]
        if not bound and not already:
            for row in rows:
                self._desk.book.add(row)
            return
        kept = [row for row in bound if self._pending(row) is not None]
        refusal = self._why_not(rows[0], kept, already, least)
        if refusal is not None:
            # 1. A replica is going, and the dispatcher never heard that it was there. 2. It is
            # planned anew, and found there. 3. The refusal has to name the attempt that waits.
            lead = {**rows[0], "attempt": attempt}
            self._desk.book.add(whole_row(lead, Verdict.REJECTED, refusal))
            return
        for row in already:
            self._desk.book.add(row)
        held = {g: sum(row["group"] == g for row in already) for g in least}
        minima = tuple((g, least[g] - held[g]) for g in sorted(least) if least[g] > held[g])
        accepted = [{**row, "verdict": Verdict.ACCEPTED} for row in kept]
        recorded = self._desk.recorded.get(uid_of_row(rows[0]))
        if recorded is not None:
            self._recorded.place(recorded, accepted)
            return
        if sum(count for _, count in minima) > 1:
            self._gangs.begin(accepted, minima, self._arrivals.key(uid_of_row(rows[0])))
            return
        for row in accepted:
            self._desk.book.add(row)
            self._desk.post(object_name(row), self._desk.object_of(row), row["node"])

    def _pending(self, row: Row) -> ObjectView | None:
        """The object that the row would bind, if it is there to be bound."""
        view = self._desk.objects.get(object_name(row))
        is_free = view is not None and view.state is ObjectState.PENDING
        return view if is_free and view and view.revision == row["revision"] else None

    def _why_not(
        self, lead: Row, kept: list[Row], already: list[Row], least: dict[int, int]
    ) -> Reason | None:
        if not self._desk.is_leading or not self._desk.is_listed:
            return Reason.HOME_REFUSED
        for row in already:
            if self._desk.state(self._desk.book.claim(object_name(row))) != ClaimState.BOUND:
                return Reason.ALREADY_BOUND
        if uid_of_row(lead) in self._desk.gangs and kept:
            return Reason.CONFLICT
        have = {g: sum(row["group"] == g for row in (*kept, *already)) for g in least}
        if not (kept or already) or any(have[g] < count for g, count in least.items()):
            return Reason.HOME_GONE
        return None
