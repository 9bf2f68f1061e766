"""Placing: whole units in order, each replica on the best node as the ones before it left the cluster.

Exactly greedy one by one. A class's keys follow the change log when it is next used: a few changes are
repaired node by node, a long lag costs one scan. A unit gets all its minima or nothing, and what it took
is given back; replicas above the minima come after all minima of the unit.
"""

from __future__ import annotations

import numpy as np

from cell.jit import njit
from scheduler.kernels.keys import is_fitting, node_of, repair, scan
from scheduler.kernels.layout import (
    ANYWHERE,
    HEAD,
    I32,
    NO_SLOT,
    Classes,
    Log,
    Nodes,
    Placements,
    Rows,
    Slots,
)


@njit
def take(nodes: Nodes, classes: Classes, klass: int, node: int, replicas: int) -> None:
    """Assume `replicas` of the class on the node; give back when negative."""
    for j in range(classes.entries[klass]):
        resource, amount = classes.resource[klass, j], classes.amount[klass, j] * replicas
        nodes.free[resource, node] -= amount
        nodes.rows[node, HEAD + resource] -= amount
        nodes.assumed[node, resource] += amount


@njit
def note(log: Log, node: int) -> None:
    """Append a changed node."""
    log.ring[log.head[0] & (len(log.ring) - 1)] = node
    log.head[0] += 1


@njit
def catch_up(
    nodes: Nodes, classes: Classes, slots: Slots, log: Log, slot: int, count: int, lag_max: int
) -> None:
    """Make the keys of a slot right for the nodes as they are."""
    head = log.head[0]
    if head - slots.seen[slot] > lag_max:
        scan(nodes, classes, slots, slot, count)
    else:
        for i in range(slots.seen[slot], head):
            repair(nodes, classes, slots, slot, log.ring[i & (len(log.ring) - 1)])
    slots.seen[slot] = head


@njit
def _best(tops: I32, blocks: int) -> int:
    part = tops[:blocks]
    best = np.int32(-1)
    for i in range(len(part)):
        best = max(best, part[i])
    return int(best)


@njit
def _place_row(
    nodes: Nodes,
    classes: Classes,
    slots: Slots,
    log: Log,
    rows: Rows,
    out: Placements,
    row: int,
    want: int,
    made: int,
    count: int,
    lag_max: int,
) -> int:
    """Place up to `want` replicas more of a row; returns the new number of placements."""
    slot, klass, pin = rows.slot[row], rows.klass[row], rows.pin[row]
    if slot == NO_SLOT or want <= 0:
        return made
    if pin == ANYWHERE:
        catch_up(nodes, classes, slots, log, slot, count, lag_max)
    for _ in range(want):
        if pin == ANYWHERE:
            best = _best(slots.tops[slot], count // 64)
            if best < 0:
                break
            node = node_of(best, nodes.ties)
        else:
            node = pin
            if node < 0 or not slots.mask[slot, node]:
                break
            if not is_fitting(nodes, classes, klass, node):
                break
        take(nodes, classes, klass, node, 1)
        note(log, node)
        if pin == ANYWHERE:
            repair(nodes, classes, slots, slot, node)
            slots.seen[slot] = log.head[0]
        out.row[made] = row
        out.node[made] = node
        out.index[made] = out.got[row]
        out.got[row] += 1
        made += 1
    return made


@njit
def place(
    nodes: Nodes,
    classes: Classes,
    slots: Slots,
    log: Log,
    rows: Rows,
    out: Placements,
    count: int,
    lag_max: int,
) -> int:
    """Place units in order; returns the number of placements written to `out`.

    `count` is the number of nodes padded to blocks; a slot that lags more than `lag_max` changes (at
    most the ring's size) is scanned.
    """
    made = 0
    for unit in range(len(rows.start) - 1):
        first, lo, hi = made, rows.start[unit], rows.start[unit + 1]
        is_whole = True
        for row in range(lo, hi):
            made = _place_row(
                nodes, classes, slots, log, rows, out, row, rows.min[row], made, count, lag_max
            )
            if out.got[row] < rows.min[row]:
                is_whole = False
                break
        if is_whole:
            for row in range(lo, hi):
                extra = rows.count[row] - rows.min[row]
                made = _place_row(
                    nodes, classes, slots, log, rows, out, row, extra, made, count, lag_max
                )
        else:
            for i in range(first, made):
                take(nodes, classes, rows.klass[out.row[i]], out.node[i], -1)
                note(log, out.node[i])
            made = first
        out.is_placed[unit] = made > first
    return made
