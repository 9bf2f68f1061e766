"""Keys: one int32 per (class, node): own partition first, then score, then tie; -1 if unfit.

key = own partition (bit 30) | score (10 bits) | tie rank (20 bits). A class that prefers some nodes
to others means it: its keys are score (10 bits) | own partition (bit 20) | tie rank. The rank is a
permutation of node indices, seeded per scheduler, so that two schedulers rank equal nodes
differently; it is inverted by arithmetic, so the largest key names its node.
"""

from __future__ import annotations

import numpy as np

from cell.fit.room import has_room
from cell.jit import bare_njit
from scheduler.framework.shares import inverse_of, share_of
from scheduler.kernels.layout import (
    BLOCK,
    CPU,
    F64,
    HEAD,
    I32,
    I64,
    MEMORY,
    U8,
    UNASKED_CPU,
    UNASKED_MEMORY,
    Classes,
    Nodes,
    Slots,
)
from scheduler.plugins.balanced.kernel import balanced_of, evenness_of
from scheduler.plugins.least.kernel import least_of
from scheduler.plugins.most.kernel import most_of

TIE_BITS = 20
TIE_MASK = (1 << TIE_BITS) - 1
SCORE_MAX = (1 << 10) - 1
"""Largest sum of weighted scores."""
OWN = 1 << 30, 1 << TIE_BITS
"""Set in the keys of the own partition's nodes, of a class without wishes and of one with them."""
UNFIT = -1
_CHUNK = 1024


@bare_njit
def rank_of(node: int, flip: int, factor: int) -> int:
    """The node's place in the seeded permutation; x ^ x >> 10 undoes itself on 20 bits."""
    x = (node ^ flip) & TIE_MASK
    x ^= x >> 10
    x = (x * factor) & TIE_MASK
    return x ^ (x >> 10)


@bare_njit
def node_of(key: int, ties: I64) -> int:
    """The node whose key it is."""
    x = key & TIE_MASK
    x ^= x >> 10
    x = (x * int(ties[2])) & TIE_MASK
    x ^= x >> 10
    return (x ^ int(ties[0])) & TIE_MASK


@bare_njit
def key_bases(start: int, partition: int, partitions: int, ties: I64, base: I32) -> None:
    """base[0 | 1, node] from `start` on = partition bit and tie rank."""
    for node in range(start, base.shape[1]):
        is_own = node % partitions == partition
        rank = rank_of(node, ties[0], ties[1])
        base[0, node] = (OWN[0] if is_own else 0) | rank
        base[1, node] = (OWN[1] if is_own else 0) | rank


@bare_njit
def score_of(
    cpu: float,
    memory: float,
    cpu_inverse: float,
    memory_inverse: float,
    cpu_used: float,
    memory_used: float,
    cpu_beside: float,
    memory_beside: float,
    demand: F64,
    weights: F64,
) -> float:
    """Sum of the fused plugins' scores by weight, for capacities and what is used of them.

    Least and most count what was not asked for (`beside`); balanced does not, and compares what is
    asked for without the replica and with it.
    """
    is_cpu, is_memory = 1.0 if cpu > 0.0 else 0.0, 1.0 if memory > 0.0 else 0.0
    with_cpu, with_memory = cpu_used + demand[0], memory_used + demand[1]
    full_cpu = share_of(cpu, cpu_inverse, with_cpu + cpu_beside + demand[2])
    full_memory = share_of(memory, memory_inverse, with_memory + memory_beside + demand[3])
    before = evenness_of(
        share_of(cpu, cpu_inverse, cpu_used),
        share_of(memory, memory_inverse, memory_used),
        is_cpu * is_memory,
    )
    after = evenness_of(
        share_of(cpu, cpu_inverse, with_cpu),
        share_of(memory, memory_inverse, with_memory),
        is_cpu * is_memory,
    )
    score = weights[0] * least_of(full_cpu, full_memory, is_cpu, is_memory)
    if weights[1] > 0.0:
        score += weights[1] * most_of(full_cpu, full_memory, is_cpu, is_memory)
    return float(score + weights[2] * balanced_of(before, after))


@bare_njit
def is_fitting(nodes: Nodes, classes: Classes, klass: int, node: int) -> bool:
    """Whether a replica of the class has room on the node."""
    entries = classes.entries[klass]
    return has_room(
        nodes.rows[node], HEAD, classes.resource[klass], classes.amount[klass], int(entries)
    )


@bare_njit
def key_of(nodes: Nodes, classes: Classes, slots: Slots, slot: int, node: int) -> int:
    """The key of a node, from the row-major copy."""
    klass, gain = slots.klass[slot], slots.gain[slot, node]
    if gain < 0 or not is_fitting(nodes, classes, klass, node):
        return UNFIT
    row, weights = nodes.rows[node], classes.weights[klass]
    capacity, wide = float(row[CPU]), float(row[MEMORY])
    score = score_of(
        capacity,
        wide,
        inverse_of(capacity),
        inverse_of(wide),
        capacity - float(row[HEAD + CPU]),
        wide - float(row[HEAD + MEMORY]),
        -float(row[HEAD + UNASKED_CPU]),
        -float(row[HEAD + UNASKED_MEMORY]),
        classes.scored[klass],
        weights,
    )
    is_wishing = int(slots.is_wishing[slot])
    return int(nodes.base[is_wishing, node] + ((int(score) + gain) << (TIE_BITS + is_wishing)))


@bare_njit
def scan(nodes: Nodes, classes: Classes, slots: Slots, slot: int, count: int) -> None:
    """All keys and block maxima of a slot afresh, from columns, in loops that vectorise.

    `count` is the number of nodes, a multiple of BLOCK.
    """
    klass = slots.klass[slot]
    for lo in range(0, count, _CHUNK):
        hi = min(lo + _CHUNK, count)
        keys, gain = slots.keys[slot][lo:hi], slots.gain[slot][lo:hi]
        for i in range(len(keys)):
            keys[i] = np.int32(gain[i])
        for j in range(classes.entries[klass]):
            free = nodes.free[classes.resource[klass, j]][lo:hi]
            amount = classes.amount[klass, j]
            for i in range(len(keys)):
                keys[i] = keys[i] if free[i] >= amount else np.int32(-1)
        is_wishing = int(slots.is_wishing[slot])
        _score(nodes, classes.scored[klass], classes.weights[klass], is_wishing, lo, hi, keys)
    for b in range(count // BLOCK):
        slots.tops[slot, b] = top_of(slots.keys[slot], b)


@bare_njit
def _score(
    nodes: Nodes, demand: F64, weights: F64, is_wishing: int, lo: int, hi: int, keys: I32
) -> None:
    """keys[i] >= 0, which is the gain of node lo + i, becomes its key."""
    free_cpu, free_memory = nodes.free[CPU][lo:hi], nodes.free[MEMORY][lo:hi]
    cpu_capacity, memory_capacity = nodes.capacity[CPU][lo:hi], nodes.capacity[MEMORY][lo:hi]
    cpu_inverse, memory_inverse = nodes.inverse[CPU][lo:hi], nodes.inverse[MEMORY][lo:hi]
    cpu_beside, memory_beside = nodes.free[UNASKED_CPU][lo:hi], nodes.free[UNASKED_MEMORY][lo:hi]
    base, shift = nodes.base[is_wishing][lo:hi], np.int32(TIE_BITS + is_wishing)
    for i in range(len(keys)):
        score = score_of(
            cpu_capacity[i],
            memory_capacity[i],
            cpu_inverse[i],
            memory_inverse[i],
            cpu_capacity[i] - float(free_cpu[i]),
            memory_capacity[i] - float(free_memory[i]),
            -float(cpu_beside[i]),
            -float(memory_beside[i]),
            demand,
            weights,
        )
        key = np.int32(base[i] + ((np.int32(score) + keys[i]) << shift))
        keys[i] = key if keys[i] >= 0 else np.int32(-1)


@bare_njit
def top_of(keys: I32, block: int) -> int:
    """The largest key of a block."""
    part = keys[block * BLOCK : block * BLOCK + BLOCK]
    top = np.int32(-1)
    for i in range(len(part)):
        top = max(top, part[i])
    return int(top)


@bare_njit
def best_wished(
    keys: I32, why: U8, pull: I64, even: I64, weights: I64, is_wishing: bool, nodes: int
) -> int:
    """The largest key of feasible nodes with what wishes between replicas add to its score, made
    as if the class were one that wishes; -1 for none.

    It names its node as keys do, and may be beyond 32 bits.
    """
    best = np.int64(-1)
    low = TIE_MASK | OWN[1] if is_wishing else TIE_MASK
    for node in range(nodes):
        key = np.int64(keys[node])
        own = np.int64(0) if is_wishing else (key >> 30) << TIE_BITS
        score = (key >> (TIE_BITS + 1)) if is_wishing else (key >> TIE_BITS) & SCORE_MAX
        score += weights[0] * pull[node] + weights[1] * even[node]
        whole = (score << (TIE_BITS + 1)) | own | (key & low)
        best = max(best, whole if key >= 0 and why[node] == 0 else np.int64(-1))
    return int(best)


@bare_njit
def repair(nodes: Nodes, classes: Classes, slots: Slots, slot: int, node: int) -> None:
    """One node's key afresh, and its block's maximum."""
    key = key_of(nodes, classes, slots, slot, node)
    old = slots.keys[slot, node]
    if key == old:
        return
    slots.keys[slot, node] = key
    block = node // BLOCK
    if key >= slots.tops[slot, block]:
        slots.tops[slot, block] = key
    elif old == slots.tops[slot, block]:
        slots.tops[slot, block] = top_of(slots.keys[slot], block)
