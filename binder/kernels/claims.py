"""Kernels that change the ledger: a journal applied row by row, and tombstones swept.

The only code that writes claims, units and room. Lists of a unit are searched from where the last
search of the same unit ended, so a gang's rows in order of commit cost one step each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from binder.kernels.layout import (
    I64,
    NONE,
    Changes,
    Claims,
    Classes,
    Nodes,
    Pool,
    Rows,
    Units,
)
from cell.jit import bare_njit

HELD, COMMITTING, BOUND, TERMINATING, FREE = 0, 1, 2, 3, 4
V_ACCEPTED, V_BOUND, V_FAILED, V_ALREADY, V_STALE = 0, 1, 2, 3, 4
V_CANCELLED, V_REJECTED, V_RELEASED, V_AMENDED = 5, 6, 7, 8
"""`cell.unit.Verdict` and `cell.messages.ClaimState`, as numba reads them; a test compares them."""
WHOLE = (1 << 32) - 1

Number = int | np.integer[Any]


@bare_njit
def find_claim(units: Units, claims: Claims, unit: int, group: int, ordinal: int, at: int) -> int:
    """The claim of a replica, searched from `at` (NONE: the head) around to it again, or NONE."""
    start = at
    while at != NONE:
        if claims.ordinal[at] == ordinal and claims.group[at] == group:
            return at
        at = claims.next[at]
    at = units.head[unit]
    while at != start:
        if claims.ordinal[at] == ordinal and claims.group[at] == group:
            return at
        at = claims.next[at]
    return NONE


@bare_njit
def charge(
    nodes: Nodes, classes: Classes, klass: Number, node: Number, sign: int, leaving: int
) -> None:
    """Take the class's demand from the node's room; sign -1 gives it back.

    `leaving` is by how many the replicas grow that are being stopped.
    """
    if classes.is_read[klass]:
        at = nodes.moved[0]
        nodes.moved[0] = at + 1
        if at < len(nodes.moves):
            nodes.moves[at, 0], nodes.moves[at, 1] = klass, node
            nodes.moves[at, 2], nodes.moves[at, 3] = sign, leaving
    for j in range(classes.taken[klass]):
        if classes.resource[klass, j] != NONE:
            nodes.free[node, classes.resource[klass, j]] -= sign * classes.amount[klass, j]


@bare_njit
def _report(changes: Changes, at: int, units: Units, claims: Claims, claim: int) -> int:
    unit = claims.unit[claim]
    changes.uid_hi[at] = units.uid_hi[unit]
    changes.uid_lo[at] = units.uid_lo[unit]
    changes.revision[at] = claims.revision[claim]
    changes.group[at] = claims.group[claim]
    changes.ordinal[at] = claims.ordinal[claim]
    changes.node[at] = claims.node[claim]
    changes.state[at] = claims.state[claim]
    return at + 1


@bare_njit
def append(units: Units, claims: Claims, pool: Pool, unit: int) -> int:
    """A new claim at the end of the unit's list."""
    pool.top[1] -= 1
    claim = pool.claims[pool.top[1]]
    claims.unit[claim] = unit
    claims.next[claim] = NONE
    if units.head[unit] == NONE:
        units.head[unit] = claim
    else:
        claims.next[units.tail[unit]] = claim
    units.tail[unit] = claim
    return int(claim)


@bare_njit
def _is_loose(state: int) -> bool:
    return state in (FREE, COMMITTING)


@bare_njit
def _hold(
    rows: Rows,
    row: int,
    state: int,
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    pool: Pool,
    unit: int,
    generation: int,
) -> int:
    """A BOUND or ACCEPTED row: the claim it makes or confirms."""
    claim = NONE
    if units.loose[unit] > 0:
        claim = find_claim(units, claims, unit, rows.group[row], rows.ordinal[row], NONE)
    if claim == NONE:
        claim = append(units, claims, pool, unit)
    else:
        units.loose[unit] -= _is_loose(claims.state[claim])
        if claims.state[claim] != FREE:
            going = int(claims.state[claim] == TERMINATING)
            charge(nodes, classes, claims.klass[claim], claims.node[claim], -1, -going)
            nodes.generation[claims.node[claim]] = generation
            units.live[unit] -= 1
    node, klass = np.int32(rows.node[row]), np.int32(rows.klass[row])
    claims.revision[claim] = rows.revision[row]
    claims.attempt[claim] = rows.attempt[row]
    claims.group[claim] = rows.group[row]
    claims.ordinal[claim] = rows.ordinal[row]
    claims.klass[claim] = klass
    claims.node[claim] = node
    claims.state[claim] = state
    units.live[unit] += 1
    units.loose[unit] += _is_loose(state)
    units.handle[unit] = rows.handle[row]
    units.revision[unit] = max(units.revision[unit], rows.revision[row])
    charge(nodes, classes, klass, node, 1, 0)
    nodes.generation[node] = generation
    return int(claim)


@bare_njit
def _end(
    units: Units, claims: Claims, nodes: Nodes, classes: Classes, claim: int, generation: int
) -> None:
    """Give a live claim's room back; it stays in the list as ended."""
    unit, node = claims.unit[claim], claims.node[claim]
    going = int(claims.state[claim] == TERMINATING)
    charge(nodes, classes, claims.klass[claim], node, -1, -going)
    nodes.generation[node] = generation
    units.live[unit] -= 1
    units.loose[unit] += not _is_loose(claims.state[claim])
    claims.state[claim] = FREE


@bare_njit
def _drop(units: Units, claims: Claims, pool: Pool, claim: int, before: int) -> None:
    """Take an ended claim out of its unit's list, where it stands behind `before` (NONE: first)."""
    unit, after = claims.unit[claim], claims.next[claim]
    units.loose[unit] -= 1
    if before == NONE:
        units.head[unit] = after
    else:
        claims.next[before] = after
    if after == NONE:
        units.tail[unit] = before
    claims.unit[claim] = NONE
    pool.claims[pool.top[1]] = claim
    pool.top[1] += 1


@bare_njit
def _sweep_unit(
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    pool: Pool,
    unit: int,
    below: Number,
    generation: int,
    changes: Changes,
    at: int,
) -> int:
    """Take claims of revisions below `below` out of the list, live ones reported as FREE.

    TERMINATING ones stay: their room is held until they are gone.
    """
    claim, before = units.head[unit], NONE
    while claim != NONE:
        after = claims.next[claim]
        if claims.revision[claim] < below and claims.state[claim] != TERMINATING:
            if claims.state[claim] != FREE:
                _end(units, claims, nodes, classes, claim, generation)
                at = _report(changes, at, units, claims, claim)
            _drop(units, claims, pool, claim, before)
        else:
            before = claim
        claim = after
    return at


@bare_njit
def _is_touched(rows: Rows, row: int, claims: Claims, claim: int) -> bool:
    """Whether the row may change the claim: it holds room, is not newer, and is not going."""
    if claims.state[claim] == FREE or claims.revision[claim] > rows.revision[row]:
        return False
    return bool(claims.state[claim] != TERMINATING or rows.verdict[row] == V_FAILED)


@bare_njit
def _swap(
    rows: Rows,
    row: int,
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    claim: int,
    generation: int,
) -> None:
    """An AMENDED row: the claim's class and revision in place."""
    klass, node, unit = np.int32(rows.klass[row]), claims.node[claim], claims.unit[claim]
    charge(nodes, classes, claims.klass[claim], node, -1, 0)
    charge(nodes, classes, klass, node, 1, 0)
    nodes.generation[node] = generation
    claims.klass[claim] = klass
    claims.revision[claim] = rows.revision[row]
    units.revision[unit] = max(units.revision[unit], rows.revision[row])
    units.handle[unit] = rows.handle[row]


@bare_njit
def apply_rows(
    rows: Rows,
    slots: I64,
    generation: int,
    first: int,
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    pool: Pool,
    changes: Changes,
) -> int:
    """Change the ledger by a journal; slots[row] = unit or NONE; returns the number of changes."""
    at, cursor, last = 0, NONE, -2
    for row in range(len(slots)):
        unit = slots[row]
        verdict = rows.verdict[row]
        if unit == NONE:
            continue
        if unit != last:
            cursor, last = NONE, unit
        if verdict in (V_BOUND, V_ACCEPTED):
            state = BOUND if verdict == V_BOUND else COMMITTING
            claim = _hold(rows, row, state, units, claims, nodes, classes, pool, unit, generation)
            at = _report(changes, at, units, claims, claim)
        elif verdict == V_CANCELLED or (verdict == V_RELEASED and rows.ordinal[row] == WHOLE):
            if units.cancelled[unit]:
                continue
            below = np.int64(rows.revision[row])
            if verdict == V_CANCELLED:
                below = np.int64(1) << 32
                units.cancelled[unit] = 1
            units.revision[unit] = max(units.revision[unit], rows.revision[row])
            at = _sweep_unit(
                units, claims, nodes, classes, pool, unit, below, generation, changes, at
            )
            units.grave[unit] = first + row
            cursor = NONE
        elif verdict in (V_FAILED, V_RELEASED, V_AMENDED):
            claim = find_claim(units, claims, unit, rows.group[row], rows.ordinal[row], cursor)
            if claim == NONE:
                continue
            cursor = claim
            if not _is_touched(rows, row, claims, claim):
                continue
            if verdict == V_AMENDED:
                _swap(rows, row, units, claims, nodes, classes, claim, generation)
            else:
                _end(units, claims, nodes, classes, claim, generation)
                units.grave[unit] = first + row
            at = _report(changes, at, units, claims, claim)
    return at


@bare_njit
def drop_claims(
    dropped: I64,
    generation: int,
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    pool: Pool,
    changes: Changes,
) -> None:
    """Undo holds: the claims leave their lists as if they had never been there."""
    for i in range(len(dropped)):
        claim = dropped[i]
        unit = claims.unit[claim]
        _end(units, claims, nodes, classes, claim, generation)
        _report(changes, i, units, claims, claim)
        at, before = units.head[unit], NONE
        while at != claim:
            before, at = at, claims.next[at]
        _drop(units, claims, pool, claim, before)


@bare_njit
def put_claims(
    rows: Rows,
    slots: I64,
    units: Units,
    claims: Claims,
    nodes: Nodes,
    classes: Classes,
    pool: Pool,
) -> None:
    """Take over stored claims, in order per unit; their state stands in the verdict's column."""
    for row in range(len(slots)):
        unit, state = slots[row], rows.verdict[row]
        claim = append(units, claims, pool, unit)
        claims.revision[claim] = rows.revision[row]
        claims.attempt[claim] = rows.attempt[row]
        claims.group[claim] = rows.group[row]
        claims.ordinal[claim] = rows.ordinal[row]
        claims.klass[claim] = np.int32(rows.klass[row])
        claims.node[claim] = np.int32(rows.node[row])
        claims.state[claim] = state
        units.loose[unit] += _is_loose(state)
        if state != FREE:
            units.live[unit] += 1
            going = int(state == TERMINATING)
            charge(nodes, classes, claims.klass[claim], claims.node[claim], 1, going)


@bare_njit
def bury(slots: I64, numbers: I64, units: Units, claims: Claims, pool: Pool, gone: I64) -> int:
    """Forget tombstones whose time has come: ended claims, and units without any; gone[i] = unit.

    A unit whose grave has a newer number is left alone. Returns how many units are gone; they are
    as new but for their uid.
    """
    count = 0
    for i in range(len(slots)):
        unit = slots[i]
        if units.grave[unit] != numbers[i]:
            continue
        units.grave[unit] = NONE
        claim, before = units.head[unit], NONE
        while claim != NONE:
            after = claims.next[claim]
            if claims.state[claim] == FREE:
                _drop(units, claims, pool, claim, before)
            else:
                before = claim
            claim = after
        if units.head[unit] == NONE:
            gone[count] = unit
            count += 1
            units.handle[unit] = 0
            units.revision[unit] = 0
            units.cancelled[unit] = 0
            pool.units[pool.top[0]] = unit
            pool.top[0] += 1
    return count
