"""Kernels that judge: plans, amendments and frees against the ledger as it is, which they leave as
it was.

What a row takes is charged while the rest of the batch is judged, and given back at the end; the
journal that follows from the verdicts is applied by `claims.apply_rows`. Hot loops take plain
arrays: each access through a tuple counts references.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from binder.kernels.claims import (
    FREE,
    V_ALREADY,
    V_BOUND,
    V_REJECTED,
    V_RELEASED,
    V_STALE,
    charge,
    find_claim,
)
from binder.kernels.layout import (
    I32,
    I64,
    NONE,
    SKIP,
    U8,
    U16,
    U32,
    Bits,
    Claims,
    Classes,
    Nodes,
    Units,
)
from cell.fit.counting import Counts, judge_node, move
from cell.fit.room import has_room
from cell.jit import njit

R_CONFLICT, R_STALE_ATTEMPT, R_STALE_REVISION, R_ALREADY_BOUND = 10, 12, 13, 15
"""`cell.reasons.Reason`, as numba reads it; a test compares them."""


@njit
def know(
    starts: I64,
    slots: I64,
    group: U8,
    ordinal: U32,
    revision: U32,
    units: Units,
    claims: Claims,
    gate: U8,
    known: I64,
    why: U16,
) -> None:
    """What the ledger knows of a plan's replicas, in units that it knows: known[row] = claim.

    A replica with a claim of an older revision cannot be placed: why[row] says so. An ended one
    makes the whole attempt stale: gate[unit] says so.
    """
    for u in range(len(slots)):
        unit, at = slots[u], NONE
        if unit == NONE or gate[u] != SKIP or units.head[unit] == NONE:
            continue
        for i in range(starts[u], starts[u + 1]):
            claim = find_claim(units, claims, unit, group[i], ordinal[i], at)
            if claim == NONE:
                continue
            at = claim
            if claims.state[claim] == FREE:
                if claims.revision[claim] >= revision[i]:
                    gate[u] = V_STALE
            elif claims.revision[claim] == revision[i]:
                known[i] = claim
            else:
                why[i] = R_ALREADY_BOUND


@njit
def charge_row(
    free: I64, resource: I32, amount: I64, entries: int, klass: int, node: int, sign: int
) -> None:
    """Take the class's demand from the node's room; sign -1 gives it back."""
    for j in range(entries):
        free[node, resource[klass, j]] -= sign * amount[klass, j]


@njit
def take_room(
    starts: I64,
    gate: U8,
    known: I64,
    why: U16,
    klass: I32,
    node: U32,
    group: U8,
    minimum: U32,
    free: I64,
    entries: I32,
    resource: I32,
    amount: I64,
    counts: Counts,
    is_read: Bits,
    has_checks: Bits,
    verdict: U8,
    culprit: I64,
) -> None:
    """Walk a plan's units in order: each takes room for all its minima, or nothing.

    gate[u] refuses a unit beforehand, why[row] a row; both gain what is found here. verdict[row] =
    BOUND, ALREADY or SKIP, and gate[u] at the first row of a refused unit. culprit[u] = the row
    that refused first, or NONE. The room, and who is where, is afterwards what it was.
    """
    have = np.zeros(256, np.int64)
    for u in range(len(gate)):
        lo, hi, held, failed = starts[u], starts[u + 1], 0, NONE
        for i in range(lo, hi):
            verdict[i] = SKIP
            have[group[i]] = 0
        culprit[u] = NONE
        if gate[u] != SKIP:
            verdict[lo] = gate[u]
            continue
        for i in range(lo, hi):
            k, n = klass[i], node[i]
            if known[i] != NONE:
                verdict[i] = V_ALREADY
            elif why[i] == 0 and not _is_fitting(
                free, k, n, entries, resource, amount, counts, has_checks
            ):
                why[i] = R_CONFLICT
            if why[i] != 0:
                failed = i if failed == NONE else failed
                continue
            held += 1
            have[group[i]] += 1
            if verdict[i] == SKIP:
                verdict[i] = V_BOUND
                charge_row(free, resource, amount, entries[k], k, n, 1)
                if is_read[k]:
                    move(counts, int(k), int(n), 1, 0)
        short = held == 0
        for i in range(lo, hi):
            short |= have[group[i]] < np.int64(minimum[i])
        if short:
            give_back(
                lo, hi, verdict, klass, node, free, entries, resource, amount, counts, is_read
            )
            verdict[lo:hi] = SKIP
            verdict[lo] = gate[u] = V_REJECTED
            culprit[u] = failed
    give_back(
        0, len(verdict), verdict, klass, node, free, entries, resource, amount, counts, is_read
    )


@njit
def _is_fitting(
    free: I64,
    klass: int,
    node: int,
    entries: I32,
    resource: I32,
    amount: I64,
    counts: Counts,
    has_checks: Bits,
) -> bool:
    """Whether the node has room for the class, and the rules between replicas let it in."""
    if not has_room(free[node], 0, resource[klass], amount[klass], entries[klass]):
        return False
    return not has_checks[klass] or judge_node(counts, int(klass), int(node)) == 0


@njit
def give_back(
    lo: int,
    hi: int,
    verdict: U8,
    klass: I32,
    node: U32,
    free: I64,
    entries: I32,
    resource: I32,
    amount: I64,
    counts: Counts,
    is_read: Bits,
) -> None:
    """Undo the charges of rows that are BOUND."""
    for i in range(lo, hi):
        if verdict[i] == V_BOUND:
            charge_row(free, resource, amount, entries[klass[i]], klass[i], node[i], -1)
            if is_read[klass[i]]:
                move(counts, int(klass[i]), int(node[i]), -1, 0)


@njit
def judge_free(
    slots: I64,
    group: U8,
    ordinal: U32,
    revision: U32,
    units: Units,
    claims: Claims,
    verdict: U8,
    known: I64,
) -> None:
    """RELEASED for each replica to free, STALE where its claim is of a newer revision.

    known[i] = its claim, or NONE: a verdict is given all the same, the command may be repeated.
    """
    for i in range(len(slots)):
        verdict[i] = V_RELEASED
        known[i] = NONE
        if slots[i] == NONE:
            continue
        claim = find_claim(units, claims, slots[i], group[i], ordinal[i], NONE)
        if claim == NONE:
            continue
        known[i] = claim
        if claims.state[claim] != FREE and claims.revision[claim] > revision[i]:
            verdict[i] = V_STALE


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

    A class that says something else of others is not swapped in: they were placed by the old one.

    rows[i] = command row with group[i] and klass[i]. What the swaps take stays charged until
    `undo_swaps`; all of the unit are done before room is looked at, for one replica may take on its
    node what another gives up there. When they do not fit they are given back at once.
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
                if _is_unknown(classes, new) or classes.said[old] != classes.said[new]:
                    undo_swaps(swaps, begin, at, claims, nodes, classes)
                    return begin, R_CONFLICT, claim
                charge(nodes, classes, old, node, -1, 0)
                charge(nodes, classes, new, node, 1, 0)
            swaps.row[at], swaps.claim[at], swaps.klass[at] = rows[i], claim, new
            at += 1
            break
        claim = claims.next[claim]
    for s in range(begin, at):
        claim = swaps.claim[s]
        old, new, node = claims.klass[claim], swaps.klass[s], claims.node[claim]
        if not _is_grown_within(nodes, classes, old, new, node):
            undo_swaps(swaps, begin, at, claims, nodes, classes)
            return begin, R_CONFLICT, claim
    return at, 0, NONE


@njit
def _is_unknown(classes: Classes, klass: int) -> bool:
    """Whether the class asks for a resource that no node has."""
    for j in range(classes.entries[klass]):
        if classes.resource[klass, j] < 0 and classes.amount[klass, j] > 0:
            return True
    return False


@njit
def _is_grown_within(nodes: Nodes, classes: Classes, old: int, new: int, node: int) -> bool:
    """Whether a node on which all swaps are done has room for what grew: no more is asked, for what
    others took of it before is not this unit's."""
    for j in range(classes.entries[new]):
        resource, amount = classes.resource[new, j], classes.amount[new, j]
        before = np.int64(0)
        for k in range(classes.entries[old]):
            if classes.resource[old, k] == resource:
                before = classes.amount[old, k]
        if amount > before and nodes.free[node, resource] < 0:
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
        charge(nodes, classes, swaps.klass[s], node, -1, 0)
        charge(nodes, classes, claims.klass[claim], node, 1, 0)
