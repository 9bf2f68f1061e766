"""Re-check of a plan against the ledger, in order of arrival: a gang whole or nothing.

Called by the core for each Plan; changes nothing. The result is the journal of the batch, in which
BOUND says that the room is there to be taken. What is wrong with a plan is a verdict, never an
exception: a scheduler is another process.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from binder.classes import Masks
from binder.kernels.judge import know, take_room
from binder.kernels.layout import NONE, SKIP, read_only
from binder.ledger import Ledger
from binder.records import Journal
from cell.fit.static import rules_of, verdicts
from cell.messages import NO_NODE
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT, PlanOp, PlanRows, Verdict

_STATIC = 65535
"""Reason that the static rules have still to name."""

Rows = NDArray[np.int64]
Bits = NDArray[np.bool_]


class Judged(msgspec.Struct, frozen=True):
    """The journal of a plan, and whether a replica lost its room or its node."""

    journal: Journal
    is_lost: bool
    minimum: NDArray[np.uint32]
    """[journal row]: the minimum of the row's group."""
    attempt: NDArray[np.uint64]
    """[journal row]: the plan's own attempt; in the journal, ALREADY names the one that won."""


class Gates(msgspec.Struct):
    """What refuses units and rows before any room is looked at, and claims that are there already.

    Arrays `verdict` (SKIP: none) and `reason` are per unit, `why` and `known` per row.
    """

    verdict: NDArray[np.uint8]
    reason: NDArray[np.uint16]
    why: NDArray[np.uint16]
    known: Rows

    def refuse(self, units: Bits, verdict: Verdict, reason: Reason) -> None:
        """Refuse units that nothing refused so far."""
        units = units & (self.verdict == SKIP)
        self.verdict[units] = verdict
        self.reason[units] = reason


def evaluate(
    ledger: Ledger, masks: Masks, term: int, rows: PlanRows, klass: NDArray[np.int32]
) -> Judged:
    """Judge the rows of one Plan under dispatcher term `term`; `klass` are our class numbers."""
    starts, is_broken = units_of(rows.uid_hi, rows.uid_lo)
    first = starts[:-1]
    slots = ledger.find(rows.uid_hi[first], rows.uid_lo[first])
    gates = Gates(
        verdict=np.full(len(first), SKIP, np.uint8),
        reason=np.zeros(len(first), np.uint16),
        why=np.zeros(len(rows), np.uint16),
        known=np.full(len(rows), NONE, np.int64),
    )
    is_named = (rows.op == PlanOp.BIND) & (klass >= 0) & (rows.node < ledger.nodes.count)
    is_malformed = is_broken | _is_malformed(rows, starts, is_named)
    gates.refuse(is_malformed, Verdict.REJECTED, Reason.MALFORMED_PLAN)
    is_void = _is_void(ledger, term, rows.attempt[first])
    gates.refuse(is_void, Verdict.STALE, Reason.STALE_ATTEMPT)
    if np.any(slots != NONE):
        _gate_known(ledger, rows, starts, slots, gates)
    klass, node = np.where(is_named, klass, 0), np.where(is_named, rows.node, 0)
    if is_named.any():
        _gate_nodes(ledger, masks, rows, klass, node, gates)
    verdict, culprit = np.empty(len(rows), np.uint8), np.empty(len(first), np.int64)
    columns = ledger.classes.columns
    _look_around(ledger, klass)
    take_room(
        starts,
        gates.verdict,
        gates.known,
        gates.why,
        klass,
        node,
        read_only(rows.group),
        read_only(rows.min),
        ledger.nodes.columns.free,
        columns.entries,
        columns.resource,
        columns.amount,
        ledger.neighbours.columns,
        columns.is_read,
        columns.has_checks,
        verdict,
        culprit,
    )
    journal = _journal(ledger, rows, klass, node, verdict, gates.known)
    refused = np.flatnonzero(gates.verdict != SKIP)
    if len(refused):
        journal = _with_refusals(ledger, journal, starts, refused, culprit, gates)
    kept = np.flatnonzero(verdict != SKIP)
    is_lost = len(kept) < len(rows) or bool((verdict == Verdict.REJECTED).any())
    if len(kept) == len(rows):
        return Judged(journal, is_lost, rows.min, rows.attempt)
    return Judged(journal.take(kept), is_lost, rows.min[kept], rows.attempt[kept])


def _look_around(ledger: Ledger, klass: NDArray[np.int32]) -> None:
    """Make what rules between replicas say right for the plan's classes."""
    neighbours = ledger.neighbours
    if neighbours.is_needed:
        named = np.flatnonzero(np.bincount(klass)).tolist()
        ledger.follow_moves()
        neighbours.prepare(named)
        has_checks = [neighbours.has_checks(each) for each in named]
        ledger.classes.columns.has_checks[named] = has_checks


def units_of(uid_hi: NDArray[np.uint64], uid_lo: NDArray[np.uint64]) -> tuple[Rows, Bits]:
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


def _is_malformed(rows: PlanRows, starts: Rows, is_named: Bits) -> Bits:
    """Per unit: it names what is not there, its rows differ, or a replica is named twice."""
    first = starts[:-1]
    bad = ~is_named
    if len(first) < len(rows):
        is_inner = np.ones(len(rows), np.bool_)
        is_inner[first] = False
        inner = np.flatnonzero(is_inner)
        before = inner - 1
        key = rows.group.astype(np.uint64) << np.uint64(32) | rows.ordinal
        is_torn = rows.revision[inner] != rows.revision[before]
        is_torn |= rows.attempt[inner] != rows.attempt[before]
        is_torn |= rows.handle[inner] != rows.handle[before]
        bad[inner] |= is_torn
        for row in inner[key[inner] <= key[before]].tolist():
            unit = int(np.searchsorted(starts, row, side="right")) - 1
            keys = key[starts[unit] : starts[unit + 1]]
            bad[row] |= len(np.unique(keys)) < len(keys)
    found: Bits = np.logical_or.reduceat(bad, first) if len(first) else bad
    return found


def _is_void(ledger: Ledger, term: int, attempt: NDArray[np.uint64]) -> Bits:
    """Attempts below the dispatcher's (term, floor)."""
    marks = ledger.marks
    if term == marks.term:
        return attempt < np.uint64(marks.floor)
    return np.full(len(attempt), term < marks.term, np.bool_)


def _gate_known(ledger: Ledger, rows: PlanRows, starts: Rows, slots: Rows, gates: Gates) -> None:
    """Tombstones, fences, and claims that are there already."""
    units, is_known = ledger.units, slots != NONE
    is_cancelled = is_known & (units.cancelled[slots] != 0)
    gates.refuse(is_cancelled, Verdict.CANCELLED, Reason.CANCELLED)
    is_superseded = is_known & (rows.revision[starts[:-1]] < units.revision[slots])
    gates.refuse(is_superseded, Verdict.STALE, Reason.STALE_REVISION)
    was_open = gates.verdict == SKIP
    know(
        starts,
        slots,
        read_only(rows.group),
        read_only(rows.ordinal),
        read_only(rows.revision),
        units,
        ledger.claims,
        gates.verdict,
        gates.known,
        gates.why,
    )
    gates.reason[was_open & (gates.verdict == Verdict.STALE)] = Reason.STALE_ATTEMPT


def _gate_nodes(
    ledger: Ledger,
    masks: Masks,
    rows: PlanRows,
    klass: NDArray[np.int32],
    node: NDArray[np.uint32],
    gates: Gates,
) -> None:
    """Nodes that are gone, and those that a class may not be on."""
    columns = ledger.nodes.columns
    masks.prepare(np.flatnonzero(np.bincount(klass)).tolist())
    is_allowed = masks.matrix[masks.slot_of[klass], node]
    is_there = columns.present[node] & (columns.incarnation[node] == rows.incarnation)
    is_open = gates.why == 0
    gates.why[is_open & ~is_allowed] = _STATIC
    gates.why[is_open & ~is_there] = Reason.NODE_GONE


def _journal(
    ledger: Ledger,
    rows: PlanRows,
    klass: NDArray[np.int32],
    node: NDArray[np.uint32],
    verdict: NDArray[np.uint8],
    known: Rows,
) -> Journal:
    """A journal row per plan row, as if no unit were refused."""
    attempt, reason = rows.attempt, np.zeros(len(rows), np.uint16)
    already = np.flatnonzero(verdict == Verdict.ALREADY)
    if len(already):
        claim = known[already]
        node, attempt = node.copy(), attempt.copy()
        node[already] = ledger.claims.node[claim]
        attempt[already] = ledger.claims.attempt[claim]
        reason[already] = Reason.ALREADY_BOUND
    return Journal(
        handle=rows.handle,
        uid_hi=rows.uid_hi,
        uid_lo=rows.uid_lo,
        revision=rows.revision,
        attempt=attempt,
        verdict=verdict,
        reason=reason,
        group=rows.group,
        ordinal=rows.ordinal,
        node=node,
        argument=np.zeros(len(rows), np.int64),
        klass=klass.astype(np.uint32),
    )


def _with_refusals(
    ledger: Ledger, journal: Journal, starts: Rows, refused: Rows, culprit: Rows, gates: Gates
) -> Journal:
    """The journal with what refused units' first rows say for the whole of them."""
    lead, row = starts[refused], culprit[refused]
    is_gated = gates.reason[refused] != Reason.NONE
    is_short = ~is_gated & (row == NONE)
    reason = np.where(is_gated, gates.reason[refused], gates.why[row])
    reason[is_short] = Reason.GANG_MINIMUM
    for i in np.flatnonzero(~is_gated & ~is_short & (reason == _STATIC)).tolist():
        reason[i] = _static_reason(ledger, int(journal.klass[row[i]]), int(journal.node[row[i]]))
    journal = journal.take(slice(None))
    journal.group, journal.ordinal = journal.group.copy(), journal.ordinal.copy()
    node = journal.node.copy()
    node[lead] = np.where(is_gated | is_short, np.uint32(NO_NODE), journal.node[row])
    journal.node = node
    journal.group[lead], journal.ordinal[lead] = 0, WHOLE_UNIT
    journal.reason[lead] = reason
    journal.argument[lead] = np.where(is_short, starts[refused + 1] - lead, 0)
    return journal


def _static_reason(ledger: Ledger, klass: int, node: int) -> int:
    """The first static rule that keeps the class from the node."""
    rules = rules_of(ledger.classes.specs[klass], ledger.nodes.statics.strings)
    judged = verdicts(ledger.nodes.statics, rules, np.array([node]))
    return int(next((reason for reason, held in judged if not held[0]), Reason.NODE_GONE))
