"""Re-check of a plan against the ledger, in order of arrival: a gang whole or nothing.

Called by the core for each Plan; changes nothing. The result is the journal of the batch, in which
BOUND says that the room is there to be taken. What is wrong with a plan is a verdict, never an
exception: a scheduler is another process.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from binder.classes import Masks
from binder.kernels.judge import PlanColumns, Static, Verdicts, judge_plan
from binder.kernels.layout import SKIP, STATIC, read_only
from binder.ledger import Ledger
from binder.records import Journal
from cell.fit.static import rules_of, verdicts
from cell.messages import NO_NODE
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT, PlanRows, Verdict

_VOID = (1 << 64) - 1
"""A floor that no attempt reaches."""


class Judged:
    """The journal of a plan and whether a unit lost anything for want of room or of a node."""

    def __init__(self, journal: Journal, *, is_lost: bool) -> None:
        self.journal = journal
        self.is_lost = is_lost


def evaluate(
    ledger: Ledger, masks: Masks, term: int, rows: PlanRows, klass: NDArray[np.int32]
) -> Judged:
    """Judge the rows of one Plan under dispatcher term `term`; `klass` are our class numbers."""
    starts, is_broken = units_of(rows.uid_hi, rows.uid_lo)
    first = starts[:-1]
    masks.prepare(np.unique(klass[klass >= 0]).tolist())
    out = _verdicts(len(rows), rows.attempt)
    judge_plan(
        _columns(rows, klass),
        starts,
        ledger.find(rows.uid_hi[first], rows.uid_lo[first]),
        is_broken,
        np.uint64(_floor(ledger, term)),
        ledger.nodes.count,
        ledger.units,
        ledger.claims,
        ledger.nodes.columns,
        ledger.classes.columns,
        Static(masks.slot_of, masks.matrix),
        out,
    )
    _explain(ledger, out)
    kept = np.flatnonzero(out.verdict != SKIP)
    is_lost = len(kept) < len(rows) or bool(np.any(out.verdict[kept] == Verdict.REJECTED))
    return Judged(_journal(rows, klass, out, kept), is_lost=is_lost)


def units_of(
    uid_hi: NDArray[np.uint64], uid_lo: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """First row per run of equal uids with the row count at the end, and whether its uid has
    another run."""
    is_first = np.ones(len(uid_lo) + 1, np.bool_)
    is_first[1:-1] = (uid_lo[1:] != uid_lo[:-1]) | (uid_hi[1:] != uid_hi[:-1])
    starts = np.flatnonzero(is_first)
    runs = uid_lo[starts[:-1]]
    is_broken = np.zeros(len(runs), np.bool_)
    ordered = np.sort(runs)
    if np.any(ordered[1:] == ordered[:-1]):
        seen: dict[tuple[int, int], int] = {}
        uids = zip(uid_hi[starts[:-1]].tolist(), runs.tolist(), strict=True)
        for run, uid in enumerate(uids):
            before = seen.setdefault(uid, run)
            is_broken[[before, run]] |= before != run
    return starts, is_broken


def _floor(ledger: Ledger, term: int) -> int:
    if term < ledger.marks.term:
        return _VOID
    return ledger.marks.floor if term == ledger.marks.term else 0


def _verdicts(size: int, attempt: NDArray[np.uint64]) -> Verdicts:
    return Verdicts(
        verdict=np.empty(size, np.uint8),
        reason=np.zeros(size, np.uint16),
        whole=np.zeros(size, np.bool_),
        node=np.full(size, NO_NODE, np.int64),
        attempt=attempt.copy(),
        argument=np.zeros(size, np.int64),
    )


def _columns(rows: PlanRows, klass: NDArray[np.int32]) -> PlanColumns:
    return PlanColumns(
        op=read_only(rows.op),
        uid_hi=read_only(rows.uid_hi),
        uid_lo=read_only(rows.uid_lo),
        handle=read_only(rows.handle),
        revision=read_only(rows.revision),
        attempt=read_only(rows.attempt),
        group=read_only(rows.group),
        ordinal=read_only(rows.ordinal),
        klass=read_only(klass),
        min=read_only(rows.min),
        node=read_only(rows.node),
        incarnation=read_only(rows.incarnation),
    )


def _explain(ledger: Ledger, out: Verdicts) -> None:
    """Name the static rule that refused; the class stands in the argument of refused rows."""
    for row in np.flatnonzero(out.reason == STATIC).tolist():
        spec = ledger.classes.specs[int(out.argument[row])]
        rules = rules_of(spec, ledger.nodes.statics.strings)
        judged = verdicts(ledger.nodes.statics, rules, out.node[row : row + 1])
        refusing = [reason for reason, held in judged if not held[0]]
        out.reason[row] = refusing[0] if refusing else Reason.NODE_GONE
    is_loss = (out.verdict == Verdict.REJECTED) & (out.reason != Reason.GANG_MINIMUM)
    out.argument[is_loss] = 0


def _journal(
    rows: PlanRows, klass: NDArray[np.int32], out: Verdicts, kept: NDArray[np.int64]
) -> Journal:
    ordinal, group = rows.ordinal, rows.group
    if out.whole.any():
        ordinal = np.where(out.whole, np.uint32(WHOLE_UNIT), ordinal)
        group = np.where(out.whole, np.uint8(0), group)
    journal = Journal(
        handle=rows.handle,
        uid_hi=rows.uid_hi,
        uid_lo=rows.uid_lo,
        revision=rows.revision,
        attempt=out.attempt,
        verdict=out.verdict,
        reason=out.reason,
        group=group,
        ordinal=ordinal,
        node=out.node.astype(np.uint32),
        argument=out.argument,
        klass=klass.astype(np.uint32),
    )
    return journal if len(kept) == len(rows) else journal.take(kept)
