"""Outcomes of the binder: one rule per verdict, applied to whole runs of rows.

Outcomes are numbered; those below `next` are taken already. What must hold: rows change phases only
of the present revision; a claim that nobody asked for any more is given back; the same rules replay
the log. Races told as steps stand at their rule.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.messages import Settle
from cell.reasons import Reason, text
from cell.unit import WHOLE_UNIT, Settlements, Verdict
from dispatcher.codes import PHASES, Op, Phase, State
from dispatcher.columns import I64s, sums
from dispatcher.commands import Asked
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.records import OutcomeRows
from dispatcher.table import Table
from dispatcher.waiting.sets import Waiting

_IS_VOLATILE = np.zeros(256, np.bool_)
_IS_VOLATILE[[Verdict.REJECTED, Verdict.STALE]] = True
"""They end an attempt, which no record knows of."""
_IS_ROOMLESS = _IS_VOLATILE.copy()
_IS_ROOMLESS[[Verdict.CANCELLED, Verdict.ALREADY]] = True
"""Settlements of plans whose room was only assumed."""
_FREE_REASON = np.full(PHASES, Reason.CANCELLED, np.uint16)
_FREE_REASON[Phase.DONE] = Reason.REPORTED_DONE
_FREE_REASON[Phase.FAILED] = Reason.REPORTED_FAILED


class Part(msgspec.Struct, frozen=True):
    """Outcomes of one verdict, all of known units. `is_present`: of the present revision."""

    verdict: int
    handles: NDArray[np.int64]
    rows: OutcomeRows
    attempt: NDArray[np.uint64]
    is_present: NDArray[np.bool_]


class Settling:
    """See the module."""

    def __init__(
        self, table: Table, waiting: Waiting, lifecycle: Lifecycle, asked: Asked, news: News
    ) -> None:
        self._table = table
        self._waiting = waiting
        self._lifecycle = lifecycle
        self._asked = asked
        self._news = news
        self._nodes: NDArray[np.int32] = np.empty(0, np.int32)
        """Numbers of the stream's node names."""
        self.next = 0
        """Number of the next outcome; all below are taken."""

    def begin_session(self) -> None:
        """Node names are told anew."""
        self._nodes = np.empty(0, np.int32)

    def take(self, now_us: int, settle: Settle) -> OutcomeRows | None:
        """Apply what is new; returns what must become durable, or None when nothing is new."""
        if settle.nodes:
            fresh = self._table.names.numbers(settle.nodes)
            self._nodes = np.concatenate((self._nodes[: settle.node_base], fresh))
        rows, known = settle.rows, max(0, self.next - settle.first)
        if known >= len(rows):
            return None
        if known:
            rows = rows.take(slice(known, None))
        self.next = settle.first + len(settle.rows)
        outcomes = self._outcomes(rows)
        handles = self._table.resolve(rows.handle, rows.uid_hi, rows.uid_lo)
        self._apply(now_us, handles, outcomes, rows.attempt)
        is_durable = ~_IS_VOLATILE[rows.verdict]
        return outcomes if is_durable.all() else outcomes.take(is_durable)

    def take_claims(self, now_us: int, following: int, rows: Settlements) -> None:
        """Apply what stands for all outcomes below `following`; nothing of them was known here."""
        self.next = following
        handles = self._table.find(rows.uid_hi, rows.uid_lo)
        self._apply(now_us, handles, self._outcomes(rows), rows.attempt)

    def _outcomes(self, rows: Settlements) -> OutcomeRows:
        return OutcomeRows(
            uid_hi=rows.uid_hi,
            uid_lo=rows.uid_lo,
            revision=rows.revision,
            verdict=rows.verdict,
            reason=rows.reason,
            group=rows.group,
            ordinal=rows.ordinal,
            node=self._node_numbers(rows.node),
        )

    def is_room_assumed_in(self, settle: Settle) -> bool:
        """Whether a plan came to nothing whose room a scheduler had assumed.

        1. A scheduler plans a unit, assuming its room. 2. It refuses another for lack of it, which
        parks. 3. The plan is refused, or void: the room is there again, and nobody freed it.
        """
        return bool(_IS_ROOMLESS[settle.rows.verdict].any())

    def replay(self, now_us: int, following: int, rows: OutcomeRows) -> None:
        """Apply what a record holds."""
        self.next = following
        handles = self._table.find(rows.uid_hi, rows.uid_lo)
        self._apply(now_us, handles, rows, np.zeros(len(rows), np.uint64))

    def mark_nodes(self, more: NDArray[Any]) -> NDArray[np.bool_]:
        """Which names are in use: those of the stream and `more`."""
        is_used = np.zeros(len(self._table.names.entries), np.bool_)
        for numbers in (self._nodes, more):
            is_used[numbers[numbers >= 0]] = True
        return is_used

    def _node_numbers(self, node: NDArray[Any]) -> NDArray[np.int32]:
        if not len(self._nodes):
            return np.full(len(node), -1, np.int32)
        inside = node < len(self._nodes)
        return np.where(inside, self._nodes[np.where(inside, node, 0)], np.int32(-1))

    def _apply(self, now_us: int, handles: I64s, rows: OutcomeRows, attempt: NDArray[Any]) -> None:
        """Rows in order, run by run of one verdict; then each unit goes where it belongs."""
        if not len(rows):
            return
        cuts = [0, *(np.flatnonzero(np.diff(rows.verdict)) + 1).tolist(), len(rows)]
        for start, end in pairwise(cuts):
            run = slice(start, end)
            part = rows if end - start == len(rows) else rows.take(run)
            self._run(now_us, handles[run], part, attempt[run])

    def _run(self, now_us: int, handles: I64s, rows: OutcomeRows, attempt: NDArray[Any]) -> None:
        units = self._table.units
        verdict = int(rows.verdict[0])
        state = units.state[np.maximum(handles, 0)]
        # FREE: an earlier run of the same message ended the unit, and it was forgotten at once.
        is_gone = (handles < 0) | (state == State.FINISHED) | (state == State.FREE)
        if is_gone.any():
            self._unknown(verdict, rows.take(is_gone))
            is_finished = state == State.FINISHED
            self._freed(verdict, handles[is_finished], rows.take(is_finished))
            kept = ~is_gone
            handles, rows, attempt = handles[kept], rows.take(kept), attempt[kept]
        if not len(handles):
            return
        is_present = rows.revision == units.revision[handles]
        part = Part(verdict, handles, rows, attempt, is_present)
        match verdict:
            case Verdict.ACCEPTED | Verdict.BOUND | Verdict.ALREADY:
                self._claimed(now_us, part)
            case Verdict.AMENDED:
                self._amended(now_us, part)
            case Verdict.FAILED:
                self._failed(now_us, part)
            case Verdict.REJECTED | Verdict.STALE:
                self._refused(now_us, part)
            case Verdict.CANCELLED:
                self._cancelled(now_us, part)
            case Verdict.RELEASED:
                self._released(now_us, part)

    def _unknown(self, verdict: int, rows: OutcomeRows) -> None:
        """Claims of units that are over are given back.

        1. A unit's replicas are done and its key is forgotten. 2. A plan of an old attempt, long on
        its way, is committed: the binder does not know that the unit is over.
        """
        uids = dict.fromkeys(zip(rows.uid_hi.tolist(), rows.uid_lo.tolist(), strict=True))
        for uid in uids:
            if verdict in (Verdict.ACCEPTED, Verdict.BOUND, Verdict.ALREADY, Verdict.AMENDED):
                self._asked.adopt(uid)
            elif verdict == Verdict.CANCELLED:
                self._asked.settle_orphan(uid)

    def _freed(self, verdict: int, handles: I64s, rows: OutcomeRows) -> None:
        """The room of replicas whose unit is over by now was given back."""
        if verdict in (Verdict.RELEASED, Verdict.FAILED):
            found, exists = self._table.replica_rows(handles, rows.group, rows.ordinal)
            self._table.replicas.freeing[found[exists]] = 0

    def _claimed(self, now_us: int, part: Part) -> None:
        table, units = self._table, self._table.units
        handles, rows = part.handles, part.rows
        op = units.op[handles]
        is_open = part.is_present & ((op == Op.NONE) | (op == Op.RELEASE))
        if not is_open.all():
            self._found_in_amend(part)
            self._fence_old(now_us, part)
            # While a cancel or release is under way, what it frees is not shown as bound: a release
            # frees older revisions only.
            handles, rows = handles[is_open], rows.take(is_open)
            if not len(handles):
                return
        found, exists = table.replica_rows(handles, rows.group, rows.ordinal)
        phase = table.replicas.phase[found]
        fresh = exists & (phase <= Phase.PLACING)
        ended = exists & (phase >= Phase.DONE)
        if ended.any():
            self._asked.free(found[ended], _FREE_REASON[phase[ended]])
        placed = found[fresh]
        is_accepted = part.verdict == Verdict.ACCEPTED
        table.replicas.phase[placed] = Phase.PLACING if is_accepted else Phase.BOUND
        table.replicas.node[placed] = rows.node[fresh]
        touched = _once(handles)
        first = touched[units.bound_us[touched] == 0]
        units.bound_us[first] = now_us
        self._news.replicas(placed)
        self._land_whole(now_us, touched)

    def _land_whole(self, now_us: int, touched: I64s) -> None:
        """Units whose minima are there have their answer. Of others more rows of the same commit
        are on their way: an API server confirms replicas one by one."""
        whole = touched[self._table.is_whole(touched)]
        self._lifecycle.land(whole)
        self._waiting.settle(now_us, whole)
        self._lifecycle.review(now_us, touched)

    def _fence_old(self, now_us: int, part: Part) -> None:
        """A claim of an older revision, found where nothing is under way: release it.

        1. A unit is given out, and its dispatcher dies. 2. It is amended while it waits. 3. The old
        plan is committed before the binder knows of the new revision.
        """
        table, units = self._table, self._table.units
        is_old = ~part.is_present & (units.op[part.handles] == Op.NONE)
        for handle in _once(part.handles[is_old]):
            one = np.array([handle], np.int64)
            if not table.is_claim(table.all_replicas(one)).any():
                self._asked.ask(one, Op.RELEASE)
                self._lifecycle.command(now_us, one)

    def _amended(self, now_us: int, part: Part) -> None:
        table, units = self._table, self._table.units
        is_answer = part.is_present & (units.op[part.handles] == Op.AMEND)
        if not is_answer.all():
            self._claimed(now_us, _only(part, ~is_answer))
        answered = _once(part.handles[is_answer])
        units.op[answered] = Op.NONE
        units.conflicts[answered] = 0
        self._waiting.leave(answered, State.LOOSE)
        listed, exists = table.replica_rows(part.handles, part.rows.group, part.rows.ordinal)
        listed = listed[is_answer & exists]
        table.replicas.node[listed] = part.rows.node[is_answer & exists]
        everyone = table.all_replicas(answered)
        placing = everyone[table.replicas.phase[everyone] == Phase.PLACING]
        lost = placing[~np.isin(placing, listed)]
        table.replicas.phase[lost] = Phase.WAITING
        table.replicas.node[lost] = -1
        # Each once: a command that was asked for twice is settled twice, maybe in one message.
        fresh = _once(listed[table.replicas.phase[listed] <= Phase.PLACING])
        table.replicas.phase[fresh] = Phase.BOUND
        self._news.replicas(fresh)
        self._news.replicas(lost)
        self._lifecycle.review(now_us, answered)

    def _failed(self, now_us: int, part: Part) -> None:
        table, units = self._table, self._table.units
        self._lost_in_amend(part)
        is_open = part.is_present & (units.op[part.handles] != Op.CANCEL)
        handles, rows = part.handles[is_open], part.rows.take(is_open)
        found, exists = table.replica_rows(handles, rows.group, rows.ordinal)
        owner, reasons, found = handles[exists], rows.reason[exists], found[exists]
        whole = np.flatnonzero(rows.ordinal == WHOLE_UNIT)
        for i in whole.tolist():
            more = table.all_replicas(handles[i : i + 1])
            found = np.concatenate((found, more))
            owner = np.concatenate((owner, np.full(len(more), handles[i])))
            reasons = np.concatenate((reasons, np.full(len(more), rows.reason[i], np.uint16)))
        table.replicas.freeing[found] = 0
        unbound = (reasons == Reason.CONFLICT) & (table.replicas.phase[found] == Phase.PLACING)
        self._never_bound(found[unbound])
        is_claim = table.is_claim(found)
        found, owner, reasons = found[is_claim], owner[is_claim], reasons[is_claim]
        table.replicas.phase[found] = Phase.FAILED
        units.is_failed[owner] = 1
        units.reason[owner] = reasons
        self._news.replicas(found, reasons)
        self._land_whole(now_us, _once(handles))

    def _found_in_amend(self, part: Part) -> None:
        """A claim that was made just before its amendment was asked for: it is amended with the
        others, or kept with them when that is refused.

        1. The rest of a unit is in flight. 2. The unit is amended in place. 3. The plan of the rest
        is committed, then the binder takes the command.
        """
        table, units = self._table, self._table.units
        is_old = ~part.is_present & (units.op[part.handles] == Op.AMEND)
        if not is_old.any():
            return
        rows = part.rows.take(is_old)
        found, exists = table.replica_rows(part.handles[is_old], rows.group, rows.ordinal)
        fresh = exists & (table.replicas.phase[found] == Phase.WAITING)
        table.replicas.phase[found[fresh]] = Phase.PLACING
        table.replicas.node[found[fresh]] = rows.node[fresh]
        self._news.replicas(found[fresh])

    def _never_bound(self, rows: I64s) -> None:
        """Replicas that were accepted by a binder which died before it bound them: placed anew."""
        self._table.replicas.phase[rows] = Phase.WAITING
        self._table.replicas.node[rows] = -1
        self._news.replicas(rows, Reason.CONFLICT)

    def _lost_in_amend(self, part: Part) -> None:
        """A claim that is gone before its amendment was settled: the new revision places it anew.

        1. A bound unit is amended in place. 2. A node of it is removed; the binder says so of the
        old revision. 3. The binder takes the command and amends what is left.
        """
        table, units = self._table, self._table.units
        is_old = ~part.is_present & (units.op[part.handles] == Op.AMEND)
        if not is_old.any():
            return
        rows = part.rows.take(is_old)
        found, exists = table.replica_rows(part.handles[is_old], rows.group, rows.ordinal)
        found = found[exists]
        lost = found[table.replicas.phase[found] == Phase.PLACING]
        table.replicas.phase[lost] = Phase.WAITING
        table.replicas.node[lost] = -1
        self._news.replicas(lost, Reason.NODE_GONE)

    def _refused(self, now_us: int, part: Part) -> None:
        table, units = self._table, self._table.units
        handles = part.handles
        in_flight = units.state[handles] == State.FLIGHT
        is_attempt = in_flight & (part.attempt == units.attempt[handles])
        is_amend = (part.verdict == Verdict.REJECTED) & part.is_present
        is_amend = is_amend & ~in_flight & (units.op[handles] == Op.AMEND)
        is_news = is_amend & (units.reason[handles] != part.rows.reason)
        for chosen in (is_attempt, is_amend):
            back = _once(handles[chosen])
            if not len(back):
                continue
            self._lifecycle.land(back)
            self._say_why(handles[chosen], part.rows.take(chosen))
            self._waiting.back_off(now_us, back)
        rows = table.all_replicas(_once(handles[is_news]))
        claims = rows[table.is_claim(rows)]
        self._news.replicas(claims, units.reason[table.replicas.unit[claims]])

    def _say_why(self, handles: I64s, rows: OutcomeRows) -> None:
        units = self._table.units
        units.reason[handles] = rows.reason
        units.wakes[handles] = 0
        for reason in np.unique(rows.reason).tolist():
            same = _once(handles[rows.reason == reason])
            self._table.whys[same] = text(reason).strip()
            waiting = same[units.op[same] == Op.NONE]
            self._news.units(waiting, Phase.WAITING, reason)

    def _cancelled(self, now_us: int, part: Part) -> None:
        table, units = self._table, self._table.units
        is_asked = units.op[part.handles] == Op.CANCEL
        ended = _once(part.handles[is_asked])
        rows = table.all_replicas(ended)
        table.replicas.freeing[rows] = 0
        rows = rows[table.replicas.phase[rows] < Phase.DONE]
        table.replicas.phase[rows] = Phase.CANCELLED
        units.op[ended] = Op.NONE
        self._news.replicas(rows, Reason.CANCELLED)
        self._lifecycle.review(now_us, ended)
        # The tombstone of a former unit of this key: gone once the floor has passed its attempts.
        is_former = ~is_asked & (units.state[part.handles] == State.FLIGHT)
        is_former &= part.attempt == units.attempt[part.handles]
        former = _once(part.handles[is_former])
        self._lifecycle.land(former)
        self._say_why(part.handles[is_former], part.rows.take(is_former))
        self._waiting.back_off(now_us, former)

    def _released(self, now_us: int, part: Part) -> None:
        table, units = self._table, self._table.units
        is_whole = part.rows.ordinal == WHOLE_UNIT
        op = units.op[part.handles]
        is_answer = is_whole & part.is_present & ((op == Op.RELEASE) | (op == Op.AMEND))
        answered = _once(part.handles[is_answer])
        if len(answered):
            self._begin_anew(answered[~self._is_bound_since(answered)])
            units.op[answered] = Op.NONE
            units.conflicts[answered] = 0
            table.whys[answered] = ""
            self._waiting.leave(answered, State.LOOSE)
        single = ~is_whole
        found, exists = table.replica_rows(
            part.handles[single], part.rows.group[single], part.rows.ordinal[single]
        )
        table.replicas.freeing[found[exists]] = 0
        self._done(_only(part, single), found, exists)
        touched = np.concatenate((answered, part.handles[single]))
        self._lifecycle.review(now_us, _once(touched))

    def _is_bound_since(self, handles: I64s) -> NDArray[np.bool_]:
        """Which units have claims of the revision whose release of the older ones is under way.

        1. A unit is amended, its release is under way. 2. Somebody else binds a pod of the new
        revision. 3. The release is settled: that claim is not among what it freed.
        """
        table, units = self._table, self._table.units
        rows = table.all_replicas(handles)
        is_bound = sums(table.is_claim(rows), units.replicas[handles]) > 0
        return np.asarray(is_bound & (units.op[handles] == Op.RELEASE))

    def _begin_anew(self, handles: I64s) -> None:
        """Nothing of these units has room: all that has not ended waits."""
        table, units = self._table, self._table.units
        units.bound_us[handles] = 0
        units.rows[handles] = units.groups[handles]
        rows = table.all_replicas(handles)
        rows = rows[table.replicas.phase[rows] < Phase.DONE]
        table.replicas.phase[rows] = Phase.WAITING
        table.replicas.node[rows] = -1
        self._news.units(handles, Phase.WAITING)

    def _done(self, part: Part, found: I64s, exists: NDArray[np.bool_]) -> None:
        """Replicas that have ended by themselves, as an API server shows it: nobody reports it."""
        table, units = self._table, self._table.units
        is_done = exists & part.is_present & (part.rows.reason == Reason.REPORTED_DONE)
        done = found[is_done & (units.op[part.handles] != Op.CANCEL)]
        done = done[table.is_claim(done)]
        table.replicas.phase[done] = Phase.DONE
        self._news.replicas(done, Reason.REPORTED_DONE)


def _only(part: Part, chosen: NDArray[np.bool_]) -> Part:
    """The chosen rows."""
    rows, attempt = part.rows.take(chosen), part.attempt[chosen]
    return Part(part.verdict, part.handles[chosen], rows, attempt, part.is_present[chosen])


def _once(handles: I64s) -> I64s:
    """Each handle once."""
    if len(handles) > 1:
        return np.unique(handles)
    return handles
