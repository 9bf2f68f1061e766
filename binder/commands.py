"""Commands of the dispatcher as journals: cancel, release, amend, free, confirm.

Judged run by run of equal ops, each applied before the next is judged, so that a command sees what
those before it did. Each may be repeated until its settlement has arrived, so each is idempotent:
the verdict is given again and the ledger stays as it is.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from binder.evaluate import units_of
from binder.kernels.judge import Swaps, judge_amend, judge_free, undo_swaps
from binder.kernels.layout import NONE, read_only
from binder.ledger import Ledger
from binder.records import Journal
from cell.messages import NO_NODE
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT, CommandOp, Commands, Verdict

Rows = NDArray[np.int64]


def runs_of(rows: Commands) -> list[Commands]:
    """The commands cut into runs of equal ops, in order."""
    cuts = np.flatnonzero(rows.op[1:] != rows.op[:-1]) + 1
    bounds = [0, *cuts.tolist(), len(rows)]
    return [rows.take(slice(a, b)) for a, b in pairwise(bounds)]


def judge(ledger: Ledger, rows: Commands, klass: NDArray[np.int32]) -> Journal:
    """The journal of one run; `klass` are our class numbers. Changes nothing."""
    slots = ledger.find(rows.uid_hi, rows.uid_lo)
    match int(rows.op[0]):
        case CommandOp.CANCEL:
            return _whole(rows, Verdict.CANCELLED, Reason.CANCELLED)
        case CommandOp.RELEASE:
            return _release(ledger, rows, slots)
        case CommandOp.AMEND:
            return _amend(ledger, rows, klass)
        case CommandOp.FREE:
            return _free(ledger, rows, slots)
        case CommandOp.CONFIRM:
            return confirm(ledger, rows)
        case _:
            return _whole(rows, Verdict.REJECTED, Reason.MALFORMED_PLAN)


def _whole(rows: Commands, verdict: Verdict, reason: Reason) -> Journal:
    return Journal.of(
        handle=rows.handle,
        uid_hi=rows.uid_hi,
        uid_lo=rows.uid_lo,
        revision=rows.revision,
        attempt=0,
        verdict=verdict,
        reason=reason,
        group=0,
        ordinal=WHOLE_UNIT,
        node=NO_NODE,
        argument=0,
        klass=0,
    )


def _release(ledger: Ledger, rows: Commands, slots: Rows) -> Journal:
    """RELEASED, or CANCELLED where the uid is cancelled already."""
    journal = _whole(rows, Verdict.RELEASED, Reason.RELEASED)
    is_cancelled = (slots != NONE) & (ledger.units.cancelled[slots] != 0)
    journal.verdict[is_cancelled] = Verdict.CANCELLED
    journal.reason[is_cancelled] = Reason.CANCELLED
    return journal


def _free(ledger: Ledger, rows: Commands, slots: Rows) -> Journal:
    """RELEASED with the replica and the command's reason; STALE when its claim is newer."""
    verdict, known = np.empty(len(rows), np.uint8), np.empty(len(rows), np.int64)
    judge_free(
        slots,
        read_only(rows.group),
        read_only(rows.ordinal),
        read_only(rows.revision),
        ledger.units,
        ledger.claims,
        verdict,
        known,
    )
    is_stale, is_known = verdict == Verdict.STALE, known != NONE
    return Journal(
        handle=rows.handle,
        uid_hi=rows.uid_hi,
        uid_lo=rows.uid_lo,
        revision=rows.revision,
        attempt=np.where(is_known, ledger.claims.attempt[known], np.uint64(0)),
        verdict=verdict,
        reason=np.where(is_stale, np.uint16(Reason.STALE_REVISION), rows.reason),
        group=rows.group,
        ordinal=rows.ordinal,
        node=np.where(is_known, ledger.claims.node[known], NO_NODE).astype(np.uint32),
        argument=np.zeros(len(rows), np.int64),
        klass=np.zeros(len(rows), np.uint32),
    )


def confirm(ledger: Ledger, rows: Commands) -> Journal:
    """FAILED for each replica without a claim; nothing about the others.

    A claim of an older revision is there, too: what is under way for its unit (an amendment, a
    release) is settled by itself, and a FAILED row would free the room of an object that has it.
    """
    lost = [
        i
        for i, row in enumerate(rows.rows())
        if ledger.claim_of((row["uid_hi"], row["uid_lo"]), row["group"], row["ordinal"]) == NONE
    ]
    journal = _whole(rows.take(lost), Verdict.FAILED, Reason.HOME_GONE)
    journal.group, journal.ordinal = rows.group[lost], rows.ordinal[lost]
    return journal


def _amend(ledger: Ledger, rows: Commands, klass: NDArray[np.int32]) -> Journal:
    """Unit by unit, each all or nothing; what one takes is not there for the next."""
    starts, is_broken = units_of(rows.uid_hi, rows.uid_lo)
    slots = ledger.find(rows.uid_hi[starts[:-1]], rows.uid_lo[starts[:-1]])
    swaps = _swaps(int(ledger.units.live[slots[slots != NONE]].sum()))
    parts, at = [], 0
    for run, unit in enumerate(slots.tolist()):
        of_unit = np.arange(starts[run], starts[run + 1])
        part, at = _amend_unit(
            ledger, rows, klass, of_unit, unit, swaps, at, is_broken=bool(is_broken[run])
        )
        parts.append(part)
    undo_swaps(swaps, 0, at, ledger.claims, ledger.nodes.columns, ledger.classes.columns)
    return Journal.concat(parts)


def _amend_unit(
    ledger: Ledger,
    rows: Commands,
    klass: NDArray[np.int32],
    of_unit: Rows,
    unit: int,
    swaps: Swaps,
    at: int,
    *,
    is_broken: bool,
) -> tuple[Journal, int]:
    """The rows of one unit's amendment, and the swaps so far."""
    lead = rows.take(of_unit[:1])
    revision = int(lead.revision[0])
    if is_broken or np.any(klass[of_unit] < 0) or np.any(rows.revision[of_unit] != revision):
        return _whole(lead, Verdict.REJECTED, Reason.MALFORMED_PLAN), at
    if unit != NONE and ledger.units.cancelled[unit]:
        return _whole(lead, Verdict.CANCELLED, Reason.CANCELLED), at
    if unit != NONE and ledger.units.revision[unit] > revision:
        return _whole(lead, Verdict.STALE, Reason.STALE_REVISION), at
    if unit == NONE or ledger.units.live[unit] == 0:
        return _whole(lead, Verdict.RELEASED, Reason.RELEASED), at
    end, reason, claim = judge_amend(
        of_unit,
        rows.group[of_unit],
        klass[of_unit],
        revision,
        unit,
        ledger.units,
        ledger.claims,
        ledger.nodes.columns,
        ledger.classes.columns,
        swaps,
        at,
    )
    if reason == Reason.STALE_REVISION:
        return _whole(lead, Verdict.STALE, Reason.STALE_REVISION), at
    if reason:
        journal = _whole(lead, Verdict.REJECTED, Reason(reason))
        journal.node[0] = ledger.claims.node[claim]
        return journal, at
    if end == at:
        return _whole(lead, Verdict.REJECTED, Reason.MALFORMED_PLAN), at
    return _amended(ledger, rows, swaps, at, end), end


def _amended(ledger: Ledger, rows: Commands, swaps: Swaps, lo: int, hi: int) -> Journal:
    row, claim, claims = swaps.row[lo:hi], swaps.claim[lo:hi], ledger.claims
    return Journal.of(
        handle=rows.handle[row],
        uid_hi=rows.uid_hi[row],
        uid_lo=rows.uid_lo[row],
        revision=rows.revision[row],
        attempt=claims.attempt[claim],
        verdict=Verdict.AMENDED,
        reason=Reason.NONE,
        group=claims.group[claim],
        ordinal=claims.ordinal[claim],
        node=claims.node[claim],
        argument=0,
        klass=swaps.klass[lo:hi],
    )


def _swaps(size: int) -> Swaps:
    return Swaps(np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int32))
