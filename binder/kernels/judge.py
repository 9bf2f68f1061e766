"""Kernels that judge: plans, amendments and frees against the ledger as it is, which they leave as
it was.

What a row takes is charged while the rest of the batch is judged, and given back at the end; the
journal that follows from the verdicts is applied by `claims.apply_rows`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from binder.kernels.claims import (
    FREE,
    V_ALREADY,
    V_BOUND,
    V_CANCELLED,
    V_REJECTED,
    V_RELEASED,
    V_STALE,
    Number,
    charge,
    find_claim,
)
from binder.kernels.layout import (
    I32,
    I64,
    NONE,
    SKIP,
    STATIC,
    U8,
    U16,
    U32,
    U64,
    Bits,
    Claims,
    Classes,
    Nodes,
    Units,
)
from cell.fit.room import has_room
from cell.jit import njit

R_INSUFFICIENT, R_GANG_MINIMUM, R_CONFLICT, R_NODE_GONE = 2, 9, 10, 11
R_STALE_ATTEMPT, R_STALE_REVISION, R_CANCELLED, R_ALREADY_BOUND = 12, 13, 14, 15
R_MALFORMED_PLAN = 23
"""`cell.reasons.Reason`, as numba reads it; a test compares them."""


class PlanColumns(NamedTuple):
    """Columns of a plan, its classes as our numbers. Arrays [row]."""

    op: U8
    uid_hi: U64
    uid_lo: U64
    handle: U32
    revision: U32
    attempt: U64
    group: U8
    ordinal: U32
    klass: I32
    min: U32
    node: U32
    incarnation: U32


class Static(NamedTuple):
    """Static answers: matrix[slot[klass], node]."""

    slot: I32
    matrix: Bits


class Verdicts(NamedTuple):
    """Arrays [row], SKIP where a row says nothing; one on the whole unit is at its first row."""

    verdict: U8
    reason: U16
    whole: Bits
    node: I64
    """The node bound, or the one that refused; NO_NODE for none."""
    attempt: U64
    """The winning one."""
    argument: I64


NO_NODE = (1 << 32) - 1


@njit
def _is_well_formed(plan: PlanColumns, lo: int, hi: int, node_count: int) -> bool:
    for i in range(lo, hi):
        if plan.op[i] != 0 or plan.klass[i] < 0 or plan.node[i] >= node_count:
            return False
        if plan.revision[i] != plan.revision[lo] or plan.attempt[i] != plan.attempt[lo]:
            return False
        if plan.handle[i] != plan.handle[lo]:
            return False
    return hi - lo == 1 or _are_replicas_distinct(plan, lo, hi)


@njit
def _are_replicas_distinct(plan: PlanColumns, lo: int, hi: int) -> bool:
    keys = np.empty(hi - lo, np.int64)
    is_ascending = True
    for i in range(lo, hi):
        keys[i - lo] = np.int64(plan.group[i]) << 32 | np.int64(plan.ordinal[i])
        if i > lo and keys[i - lo] <= keys[i - lo - 1]:
            is_ascending = False
    if is_ascending:
        return True
    keys.sort()
    return not np.any(keys[1:] == keys[:-1])


@njit
def _refuse(out: Verdicts, lo: int, hi: int, verdict: int, reason: int, node: Number) -> None:
    for i in range(lo, hi):
        out.verdict[i] = SKIP
    out.verdict[lo] = verdict
    out.reason[lo] = reason
    out.whole[lo] = True
    out.node[lo] = node


@njit
def _judge_node(plan: PlanColumns, i: int, nodes: Nodes, classes: Classes, static: Static) -> int:
    """0 when the replica may be on its node, else the reason."""
    node, klass = plan.node[i], plan.klass[i]
    if not nodes.present[node] or nodes.incarnation[node] != plan.incarnation[i]:
        return R_NODE_GONE
    if not static.matrix[static.slot[klass], node]:
        return STATIC
    entries = classes.entries[klass]
    if not has_room(nodes.free[node], 0, classes.resource[klass], classes.amount[klass], entries):
        return R_CONFLICT
    return 0


@njit
def _known(
    plan: PlanColumns, i: int, unit: int, at: int, units: Units, claims: Claims, out: Verdicts
) -> int:
    """The replica's claim, or NONE; `out` says what it means, SKIP when it is in nobody's way."""
    claim = find_claim(units, claims, unit, plan.group[i], plan.ordinal[i], at)
    out.verdict[i] = SKIP
    if claim == NONE:
        return NONE
    if claims.state[claim] == FREE:
        if claims.revision[claim] >= plan.revision[i]:
            out.verdict[i] = V_STALE
    elif claims.revision[claim] == plan.revision[i]:
        out.verdict[i] = V_ALREADY
    else:
        out.verdict[i] = V_REJECTED
    return claim


@njit
def _judge_row(
    plan: PlanColumns,
    i: int,
    at: int,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    static: Static,
    out: Verdicts,
) -> int:
    """Take the row's room, or say ALREADY; 0, or the reason why not, and SKIP."""
    why = 0
    if out.verdict[i] == V_ALREADY:
        out.node[i] = claims.node[at]
        out.attempt[i] = claims.attempt[at]
        out.reason[i] = R_ALREADY_BOUND
        return 0
    if out.verdict[i] == V_REJECTED:
        why = R_ALREADY_BOUND
    else:
        why = _judge_node(plan, i, nodes, classes, static)
    if why != 0:
        out.verdict[i] = SKIP
        return why
    charge(nodes, classes, plan.klass[i], plan.node[i], 1)
    out.verdict[i] = V_BOUND
    out.node[i] = plan.node[i]
    return 0


@njit
def _judge_unit(
    plan: PlanColumns,
    lo: int,
    hi: int,
    unit: int,
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    static: Static,
    have: I64,
    out: Verdicts,
) -> None:
    """Bind what fits, if that is all the minima; else give it back and refuse the unit."""
    for i in range(lo, hi):
        have[plan.group[i]] = 0
    failed, reason, at, held = NONE, 0, NONE, 0
    for i in range(lo, hi):
        out.verdict[i] = SKIP
        if unit != NONE and units.head[unit] != NONE:
            at = _known(plan, i, unit, at, units, claims, out)
        if out.verdict[i] == V_STALE:
            _give_back(plan, lo, i, nodes, classes, out)
            _refuse(out, lo, hi, V_STALE, R_STALE_ATTEMPT, NO_NODE)
            return
        why = _judge_row(plan, i, at, claims, nodes, classes, static, out)
        if why == 0:
            have[plan.group[i]] += 1
            held += 1
        elif failed == NONE:
            failed, reason = i, why
    short, argument = held == 0, np.int64(0)
    for i in range(lo, hi):
        if have[plan.group[i]] < np.int64(plan.min[i]):
            short, argument = True, have[plan.group[i]]
    if not short:
        return
    _give_back(plan, lo, hi, nodes, classes, out)
    if failed == NONE:
        _refuse(out, lo, hi, V_REJECTED, R_GANG_MINIMUM, NO_NODE)
        out.argument[lo] = argument
    else:
        _refuse(out, lo, hi, V_REJECTED, reason, plan.node[failed])
        out.argument[lo] = plan.klass[failed]


@njit
def _give_back(
    plan: PlanColumns, lo: int, hi: int, nodes: Nodes, classes: Classes, out: Verdicts
) -> None:
    for i in range(lo, hi):
        if out.verdict[i] == V_BOUND:
            charge(nodes, classes, plan.klass[i], plan.node[i], -1)


@njit
def judge_plan(
    plan: PlanColumns,
    starts: I64,
    slots: I64,
    is_broken: Bits,
    floor: np.uint64,
    node_count: int,
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    static: Static,
    out: Verdicts,
) -> None:
    """Verdicts on a plan's units in order; the room that is free afterwards is what was before.

    starts[u] = first row of unit u, and the row count at the end; slots[u] = its unit in the ledger
    or NONE; is_broken[u]: its rows are not consecutive. Attempts below `floor` are void.
    """
    have = np.zeros(256, np.int64)
    for u in range(len(slots)):
        lo, hi, unit = starts[u], starts[u + 1], slots[u]
        if is_broken[u] or not _is_well_formed(plan, lo, hi, node_count):
            _refuse(out, lo, hi, V_REJECTED, R_MALFORMED_PLAN, NO_NODE)
        elif plan.attempt[lo] < floor:
            _refuse(out, lo, hi, V_STALE, R_STALE_ATTEMPT, NO_NODE)
        elif unit != NONE and units.cancelled[unit]:
            _refuse(out, lo, hi, V_CANCELLED, R_CANCELLED, NO_NODE)
        elif unit != NONE and plan.revision[lo] < units.revision[unit]:
            _refuse(out, lo, hi, V_STALE, R_STALE_REVISION, NO_NODE)
        else:
            _judge_unit(plan, lo, hi, unit, units, claims, nodes, classes, static, have, out)
    _give_back(plan, 0, len(plan.op), nodes, classes, out)


@njit
def judge_free(
    slots: I64,
    group: U8,
    ordinal: U32,
    revision: U32,
    units: Units,
    claims: Claims,
    out: Verdicts,
) -> None:
    """RELEASED for each replica to free, STALE where its claim is of a newer revision.

    A verdict is given even where there is no claim: the command may be repeated.
    """
    for i in range(len(slots)):
        out.verdict[i] = V_RELEASED
        if slots[i] == NONE:
            continue
        claim = find_claim(units, claims, slots[i], group[i], ordinal[i], NONE)
        if claim == NONE:
            continue
        out.node[i] = claims.node[claim]
        out.attempt[i] = claims.attempt[claim]
        if claims.state[claim] != FREE and claims.revision[claim] > revision[i]:
            out.verdict[i] = V_STALE
            out.reason[i] = R_STALE_REVISION


class Swaps(NamedTuple):
    """One row per claim that an amendment touches. Arrays [swap]."""

    row: I64
    """The command's row whose handle and revision it takes."""
    claim: I64
    klass: I32


@njit
def judge_amend(
    rows: I64,
    group: U8,
    klass: I32,
    revision: int,
    unit: int,
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    swaps: Swaps,
    at: int,
) -> tuple[int, int, int]:
    """Judge one unit's amendment: (swaps so far, 0 or reason, refusing claim).

    rows[i] = command row with group[i] and klass[i]. What the swaps take stays charged until
    `undo_swaps`; when one does not fit, those of this unit are given back at once.
    """
    begin, claim = at, units.head[unit]
    while claim != NONE:
        for i in range(len(rows)):
            if claims.state[claim] == FREE or claims.group[claim] != group[i]:
                continue
            if claims.revision[claim] > revision:
                undo_swaps(swaps, begin, at, claims, nodes, classes)
                return begin, R_STALE_REVISION, claim
            old, new = claims.klass[claim], klass[i]
            if claims.revision[claim] == revision:
                new = old
            if new != old:
                node = claims.node[claim]
                charge(nodes, classes, old, node, -1)
                if not _grows_within(nodes, classes, old, new, node):
                    charge(nodes, classes, old, node, 1)
                    undo_swaps(swaps, begin, at, claims, nodes, classes)
                    return begin, R_CONFLICT, claim
                charge(nodes, classes, new, node, 1)
            swaps.row[at], swaps.claim[at], swaps.klass[at] = rows[i], claim, new
            at += 1
            break
        claim = claims.next[claim]
    return at, 0, NONE


@njit
def _grows_within(nodes: Nodes, classes: Classes, old: int, new: int, node: int) -> bool:
    """Whether the new class fits where the old one was given back: only what grows is asked."""
    for j in range(classes.entries[new]):
        resource, amount = classes.resource[new, j], classes.amount[new, j]
        before = np.int64(0)
        for k in range(classes.entries[old]):
            if classes.resource[old, k] == resource:
                before = classes.amount[old, k]
        if amount > before and (resource < 0 or nodes.free[node, resource] < amount):
            return False
    return True


@njit
def undo_swaps(
    swaps: Swaps, lo: int, hi: int, claims: Claims, nodes: Nodes, classes: Classes
) -> None:
    """Give back what swaps lo to hi took."""
    for s in range(lo, hi):
        claim = swaps.claim[s]
        node = claims.node[claim]
        charge(nodes, classes, swaps.klass[s], node, -1)
        charge(nodes, classes, claims.klass[claim], node, 1)
