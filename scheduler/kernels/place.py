"""Placing: whole units in order, each replica on the best node as those before it left the cluster.

Exactly greedy one by one. A class's keys follow the change log when it is next used: a few changes
are repaired node by node, a long lag costs one scan. A unit gets all its minima or nothing, and
what it took is given back; replicas above the minima come after all minima of the unit.
"""

from __future__ import annotations

import numpy as np

from cell.fit.counting import Counts, judge, judge_node, judge_there, look, move
from cell.fit.weighing import is_told_apart, weigh
from cell.jit import bare_njit
from scheduler.kernels.keys import best_wished, is_fitting, node_of, repair, scan
from scheduler.kernels.layout import (
    ANYWHERE,
    BESIDE_NODES_PER_TRY,
    BESIDE_NS,
    BLOCK,
    ENDED,
    EXPLAIN_NS,
    HEAD,
    HOOKED,
    I32,
    I64,
    MADE,
    NO_ROW,
    NO_SLOT,
    PLACE_NS,
    REPAIR_NS,
    SCAN_NS,
    SPENT,
    TOP_NS_SHIFT,
    UNIT,
    WISH_NS,
    Classes,
    Limits,
    Log,
    Nodes,
    Placements,
    Rows,
    Slots,
)


@bare_njit
def take(nodes: Nodes, classes: Classes, klass: int, node: int, replicas: int) -> None:
    """Assume `replicas` of the class on the node; give back when negative."""
    for j in range(classes.taken[klass]):
        resource, amount = classes.resource[klass, j], classes.amount[klass, j] * replicas
        nodes.free[resource, node] -= amount
        nodes.rows[node, HEAD + resource] -= amount
        nodes.assumed[node, resource] += amount


@bare_njit
def note(log: Log, node: int) -> None:
    """Append a changed node."""
    log.ring[log.head[0] & (len(log.ring) - 1)] = node
    log.head[0] += 1


@bare_njit
def put(
    nodes: Nodes,
    classes: Classes,
    counts: Counts,
    log: Log,
    rows: Rows,
    out: Placements,
    made: int,
    row: int,
    node: int,
) -> None:
    """Place the row's next replica on the node, as placement number `made`."""
    take(nodes, classes, rows.klass[row], node, 1)
    move(counts, rows.klass[row], node, 1, 0)
    note(log, node)
    out.row[made] = row
    out.node[made] = node
    out.nth[made] = out.got[row]
    out.got[row] += 1


@bare_njit
def undo(
    nodes: Nodes,
    classes: Classes,
    counts: Counts,
    log: Log,
    rows: Rows,
    out: Placements,
    first: int,
    made: int,
) -> None:
    """Give back what placements `first` to `made` took; `got` keeps how far the unit came."""
    for i in range(first, made):
        take(nodes, classes, rows.klass[out.row[i]], out.node[i], -1)
        move(counts, rows.klass[out.row[i]], out.node[i], -1, 0)
        note(log, out.node[i])


@bare_njit
def catch_up(
    nodes: Nodes, classes: Classes, slots: Slots, log: Log, slot: int, limits: Limits
) -> int:
    """Make the keys of a slot right for the nodes as they are; returns what it cost."""
    head = log.head[0]
    lag = head - slots.seen[slot]
    if lag > limits.lag_max:
        scan(nodes, classes, slots, slot, limits.nodes)
        cost = limits.nodes * SCAN_NS
    else:
        for i in range(slots.seen[slot], head):
            repair(nodes, classes, slots, slot, log.ring[i & (len(log.ring) - 1)])
        cost = lag * REPAIR_NS
    slots.seen[slot] = head
    return int(cost)


@bare_njit
def best_of(tops: I32, blocks: int) -> int:
    """The largest key of a slot."""
    part = tops[:blocks]
    best = np.int32(-1)
    for i in range(len(part)):
        best = max(best, part[i])
    return int(best)


@bare_njit
def best_beside(counts: Counts, classes: Classes, slots: Slots, slot: int, count: int) -> int:
    """The largest key of a slot among nodes that the rules between replicas allow, and with what
    wishes between replicas add to it.

    Only nodes with a larger key than the best so far are judged, and only blocks with such a node
    are looked at. Where almost all are refused it is cheaper to judge all at once.
    """
    keys, tops, klass = slots.keys[slot], slots.tops[slot], slots.klass[slot]
    if classes.has_wishes[klass]:
        return _best_of_all(counts, classes, slots, slot, count)
    is_first = look(counts, klass)
    left = count // BESIDE_NODES_PER_TRY
    best = np.int32(-1)
    for block in range(count // BLOCK):
        if tops[block] <= best:
            continue
        for node in range(block * BLOCK, block * BLOCK + BLOCK):
            if keys[node] <= best:
                continue
            if left == 0:
                return _best_of_all(counts, classes, slots, slot, count)
            left -= 1
            if judge_there(counts, klass, node, is_first) == 0:
                best = keys[node]
    return int(best)


@bare_njit
def _best_of_all(counts: Counts, classes: Classes, slots: Slots, slot: int, count: int) -> int:
    """As `best_beside`. Nodes beyond those that are counted only fill the last block."""
    keys, why, klass = slots.keys[slot], counts.why, slots.klass[slot]
    count = min(count, len(why))
    judge(counts, klass, count, why)
    if classes.has_wishes[klass]:
        weigh(counts, klass, keys, count)
        is_wishing = slots.is_wishing[slot]
        if is_wishing or is_told_apart(counts, keys, count):
            pull, even, weights = counts.pull, counts.even, classes.wish_weights[klass]
            return best_wished(keys, why, pull, even, weights, is_wishing, count)
    best = np.int32(-1)
    for node in range(count):
        key = keys[node] if why[node] == 0 else np.int32(-1)
        best = max(best, key)
    return int(best)


@bare_njit
def _place_pinned(
    nodes: Nodes,
    classes: Classes,
    counts: Counts,
    slots: Slots,
    log: Log,
    rows: Rows,
    out: Placements,
    progress: I64,
    row: int,
    want: int,
) -> None:
    """Up to `want` replicas more of a row on its pinned node."""
    slot, klass, node = rows.slot[row], rows.klass[row], rows.pin[row]
    if node < 0 or slots.gain[slot, node] < 0:
        return
    for _ in range(want):
        if not is_fitting(nodes, classes, klass, node):
            return
        if classes.has_checks[klass] and judge_node(counts, klass, node) != 0:
            return
        put(nodes, classes, counts, log, rows, out, progress[MADE], row, node)
        progress[MADE] += 1
        progress[SPENT] += PLACE_NS


@bare_njit
def _place_row(
    nodes: Nodes,
    classes: Classes,
    counts: Counts,
    slots: Slots,
    log: Log,
    rows: Rows,
    out: Placements,
    progress: I64,
    limits: Limits,
    row: int,
    want: int,
) -> None:
    """Up to `want` replicas more of a row."""
    slot = rows.slot[row]
    if slot == NO_SLOT or want <= 0:
        return
    if rows.pin[row] != ANYWHERE:
        _place_pinned(nodes, classes, counts, slots, log, rows, out, progress, row, want)
        return
    progress[SPENT] += catch_up(nodes, classes, slots, log, slot, limits)
    blocks = limits.nodes // BLOCK
    for _ in range(want):
        klass = slots.klass[slot]
        if classes.has_checks[klass] or classes.has_wishes[klass]:
            best = best_beside(counts, classes, slots, slot, limits.nodes)
            progress[SPENT] += limits.nodes * BESIDE_NS
            if classes.has_wishes[klass]:
                progress[SPENT] += limits.nodes * WISH_NS
        else:
            best = best_of(slots.tops[slot], blocks)
        if best < 0:
            return
        node = node_of(best, nodes.ties)
        put(nodes, classes, counts, log, rows, out, progress[MADE], row, node)
        repair(nodes, classes, slots, slot, node)
        slots.seen[slot] = log.head[0]
        progress[MADE] += 1
        progress[SPENT] += PLACE_NS + (blocks >> TOP_NS_SHIFT)


@bare_njit
def _place_unit(
    nodes: Nodes,
    classes: Classes,
    counts: Counts,
    slots: Slots,
    log: Log,
    rows: Rows,
    out: Placements,
    progress: I64,
    limits: Limits,
) -> int:
    """Place the next unit; returns NO_ROW, or the row for which it got nothing."""
    first, unit = progress[MADE], progress[UNIT]
    lo, hi = rows.start[unit], rows.start[unit + 1]
    for row in range(lo, hi):
        least = rows.min[row]
        _place_row(nodes, classes, counts, slots, log, rows, out, progress, limits, row, least)
        if out.got[row] < least:
            undo(nodes, classes, counts, log, rows, out, first, progress[MADE])
            progress[MADE] = first
            return int(row)
    for row in range(lo, hi):
        extra = rows.want[row] - rows.min[row]
        _place_row(nodes, classes, counts, slots, log, rows, out, progress, limits, row, extra)
    return NO_ROW if progress[MADE] > first else int(lo)


@bare_njit
def is_room_left(rows: Rows, progress: I64, limits: Limits) -> bool:
    """Whether the limits let the next unit begin."""
    unit = progress[UNIT]
    if unit >= limits.units:
        return False
    if progress[SPENT] >= limits.spent_max and unit > limits.first:
        return False
    return bool(progress[MADE] == 0 or progress[MADE] + rows.total[unit] <= limits.rows_max)


@bare_njit
def is_for_hooks(classes: Classes, rows: Rows, unit: int) -> bool:
    """Whether a class of the unit is judged by plugins outside the kernel."""
    for row in range(rows.start[unit], rows.start[unit + 1]):
        if classes.is_hooked[rows.klass[row]]:
            return True
    return False


@bare_njit
def place(
    nodes: Nodes,
    classes: Classes,
    counts: Counts,
    slots: Slots,
    log: Log,
    rows: Rows,
    out: Placements,
    progress: I64,
    limits: Limits,
) -> int:
    """Place units in order from progress[UNIT] on; returns ENDED or HOOKED."""
    while is_room_left(rows, progress, limits):
        unit = progress[UNIT]
        if is_for_hooks(classes, rows, unit):
            return HOOKED
        short = _place_unit(nodes, classes, counts, slots, log, rows, out, progress, limits)
        out.short[unit] = short
        if short != NO_ROW and rows.slot[short] != NO_SLOT:
            slot = rows.slot[short]
            if slots.refused_at[slot] != limits.call:
                slots.refused_at[slot] = limits.call
                progress[SPENT] += limits.nodes * EXPLAIN_NS
        progress[UNIT] += 1
    return ENDED
