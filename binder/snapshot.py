"""The ledger as records that stand for all records so far, and back.

A snapshot is a row of Parts of bounded size: nodes, classes that claims name, units, claims in
order per unit, outcomes not yet acked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np

from binder.kernels.claims import put_claims
from binder.kernels.layout import NONE
from binder.ledger import Ledger, rows_of
from binder.records import ClaimStore, NodeEntry, Part, UnitRows
from cell.columns import Table
from cell.messages import ClassDef

ROWS_MAX = 65_536
"""Units or claims of one Part."""
NODES_MAX = 4096
"""Nodes of one Part."""

Rows = TypeVar("Rows", bound=Table)


def parts_of(ledger: Ledger) -> list[Part]:
    """A snapshot; classes that no claim names are forgotten by the log from here on."""
    parts = [_part(ledger, is_first=True, marks=ledger.marks, classes=_classes(ledger))]
    parts += _nodes(ledger)
    parts += [_part(ledger, units=rows) for rows in _chunks(_units(ledger))]
    parts += [_part(ledger, claims=rows) for rows in _chunks(_claims(ledger))]
    parts += [
        Part(generation=ledger.generation, first=first, outcomes=journal)
        for first, journal in ledger.log.kept()
    ]
    return parts


def take_part(ledger: Ledger, part: Part) -> None:
    """Take over one Part, in the order of `parts_of`; the ledger is empty before the first."""
    ledger.generation = part.generation
    if part.is_first:
        ledger.marks = part.marks
    ledger.learn(part)
    for entry, generation in zip(part.nodes, part.node_generations, strict=True):
        ledger.nodes.columns.generation[entry.node] = generation
    if len(part.units):
        _take_units(ledger, part.units)
    if len(part.claims):
        _take_claims(ledger, part.claims)
    ledger.log.skip_to(part.first)
    if len(part.outcomes):
        ledger.log.append(part.outcomes)


def _part(ledger: Ledger, **fields: Any) -> Part:
    kept = ledger.log.kept()
    first = kept[0][0] if kept else ledger.log.next
    return Part(generation=ledger.generation, first=first, **fields)


def _classes(ledger: Ledger) -> tuple[ClassDef, ...]:
    named = np.unique(ledger.claims.klass[ledger.live_claims()])
    ledger.classes.is_defined[:] = False
    ledger.classes.is_defined[named] = True
    return ledger.classes.definitions(named.tolist())


def _nodes(ledger: Ledger) -> Iterator[Part]:
    nodes = ledger.nodes
    for start in range(0, nodes.count, NODES_MAX):
        numbers = range(start, min(start + NODES_MAX, nodes.count))
        yield _part(
            ledger,
            nodes=tuple(
                NodeEntry(
                    node,
                    int(nodes.columns.incarnation[node]),
                    nodes.specs[node],
                    not nodes.columns.present[node],
                )
                for node in numbers
            ),
            node_generations=tuple(nodes.columns.generation[list(numbers)].tolist()),
        )


def _units(ledger: Ledger) -> UnitRows:
    units = ledger.units
    known = np.flatnonzero((units.head != NONE) | (units.grave != NONE))
    known = known[np.argsort(units.grave[known], kind="stable")]
    stamp_term = np.zeros(len(units.head), np.uint64)
    stamp_next = np.zeros(len(units.head), np.uint64)
    for (term, number), slots, numbers in ledger.graves.stamps():
        current = slots[units.grave[slots] == numbers]
        stamp_term[current], stamp_next[current] = term, number
    return UnitRows(
        uid_hi=units.uid_hi[known],
        uid_lo=units.uid_lo[known],
        handle=units.handle[known],
        revision=units.revision[known],
        is_cancelled=units.cancelled[known],
        grave=units.grave[known],
        stamp_term=stamp_term[known],
        stamp_next=stamp_next[known],
    )


def _claims(ledger: Ledger) -> ClaimStore:
    """In order of the units' lists: rank by rank, the heads first."""
    units, claims = ledger.units, ledger.claims
    level = units.head[units.head != NONE]
    ranks = []
    while len(level):
        ranks.append(level)
        level = claims.next[level]
        level = level[level != NONE]
    order = np.concatenate([np.empty(0, np.int32), *ranks])
    unit = claims.unit[order]
    return ClaimStore(
        uid_hi=units.uid_hi[unit],
        uid_lo=units.uid_lo[unit],
        revision=claims.revision[order],
        attempt=claims.attempt[order],
        group=claims.group[order],
        ordinal=claims.ordinal[order],
        klass=claims.klass[order].astype(np.uint32),
        node=claims.node[order].astype(np.uint32),
        state=claims.state[order],
    )


def _chunks(table: Rows) -> list[Rows]:
    return [table.take(slice(i, i + ROWS_MAX)) for i in range(0, len(table), ROWS_MAX)]


def _take_units(ledger: Ledger, rows: UnitRows) -> None:
    slots = ledger.open_units(rows.uid_hi, rows.uid_lo)
    units = ledger.units
    units.handle[slots], units.revision[slots] = rows.handle, rows.revision
    units.cancelled[slots], units.grave[slots] = rows.is_cancelled, rows.grave
    is_unacked = (rows.grave != NONE) & (rows.stamp_term == 0)
    ledger.graves.dig(slots[is_unacked], rows.grave[is_unacked])
    stamped = np.flatnonzero((rows.grave != NONE) & (rows.stamp_term > 0))
    terms, nexts = rows.stamp_term[stamped], rows.stamp_next[stamped]
    is_other = (terms[1:] != terms[:-1]) | (nexts[1:] != nexts[:-1])
    for alike in np.split(stamped, np.flatnonzero(is_other) + 1):
        if len(alike):
            stamp = int(rows.stamp_term[alike[0]]), int(rows.stamp_next[alike[0]])
            ledger.graves.stamp(stamp, slots[alike], rows.grave[alike])


def _take_claims(ledger: Ledger, rows: ClaimStore) -> None:
    slots = ledger.find(rows.uid_hi, rows.uid_lo)
    ledger.reserve(claims=len(rows))
    put_claims(
        rows_of(rows),
        slots,
        ledger.units,
        ledger.claims,
        ledger.nodes.columns,
        ledger.classes.columns,
        ledger.pool,
    )
