"""Reads of the ledger for people and watchers; none changes anything."""

from __future__ import annotations

import numpy as np

from binder.ledger import Ledger
from cell.classes import UNASKED_PREFIX
from cell.messages import ClaimRows, LedgerChanges, NodeView


def nodes_view(ledger: Ledger, prefix: str) -> list[NodeView]:
    """Present nodes whose names begin with `prefix`, in name order."""
    nodes = ledger.nodes
    used = nodes.used()
    live = ledger.live_claims()
    claims = np.bincount(ledger.claims.node[live], minlength=nodes.count)
    views = []
    for name in sorted(n for n in nodes.by_name if n.startswith(prefix)):
        node = nodes.by_name[name]
        if not nodes.columns.present[node]:
            continue
        spec = nodes.specs[node]
        views.append(
            NodeView(
                name=name,
                incarnation=int(nodes.columns.incarnation[node]),
                generation=int(nodes.columns.generation[node]),
                is_cordoned=spec.unschedulable,
                is_removed=False,
                allocatable=dict(spec.allocatable),
                used={
                    r: int(used[node, i])
                    for i, r in enumerate(nodes.resources)
                    if used[node, i] and not r.startswith(UNASKED_PREFIX)
                },
                claims=int(claims[node]),
            )
        )
    return views


def ledger_view(ledger: Ledger, term: int) -> LedgerChanges:
    """All claims that hold room, as if just published."""
    live, claims, units = ledger.live_claims(), ledger.claims, ledger.units
    unit = claims.unit[live]
    rows = ClaimRows(
        uid_hi=units.uid_hi[unit],
        uid_lo=units.uid_lo[unit],
        revision=claims.revision[live],
        group=claims.group[live],
        ordinal=claims.ordinal[live],
        node=claims.node[live].astype(np.uint32),
        state=claims.state[live],
    )
    return changes_of(ledger, term, rows)


def changes_of(ledger: Ledger, term: int, rows: ClaimRows) -> LedgerChanges:
    """Claims as watchers see them: with names of nodes instead of our numbers."""
    numbers, node = np.unique(rows.node, return_inverse=True)
    return LedgerChanges(
        term=term,
        generation=ledger.generation,
        claims=ClaimRows(
            uid_hi=rows.uid_hi,
            uid_lo=rows.uid_lo,
            revision=rows.revision,
            group=rows.group,
            ordinal=rows.ordinal,
            node=node.astype(np.uint32),
            state=rows.state,
        ),
        nodes=tuple(ledger.nodes.names[numbers].tolist()),
    )
