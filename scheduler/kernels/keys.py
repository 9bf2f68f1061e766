"""Keys: one int32 per (class, node): own partition first, then score, then tie; -1 if unfit.

key = own partition (bit 30) | score (10 bits) | tie rank (20 bits). The rank is a permutation of
node indices, seeded per scheduler, so that two schedulers rank equal nodes differently; it is
inverted by arithmetic, so the largest key names its node.
"""

from __future__ import annotations

import numpy as np

from cell.jit import njit
from scheduler.kernels.layout import BLOCK, CPU, HEAD, I32, I64, MEMORY, Classes, Nodes, Slots
from scheduler.plugins.balanced.kernel import balanced_of
from scheduler.plugins.least.kernel import least_of
from scheduler.plugins.most.kernel import most_of

TIE_BITS = 20
TIE_MASK = (1 << TIE_BITS) - 1
SCORE_MAX = (1 << 10) - 1
"""Largest sum of weighted scores."""
OWN = 1 << 30
"""Set in the keys of the own partition's nodes."""
UNFIT = -1
_CHUNK = 1024


@njit
def rank_of(node: int, flip: int, factor: int) -> int:
    """The node's place in the seeded permutation; x ^ x >> 10 undoes itself on 20 bits."""
    x = (node ^ flip) & TIE_MASK
    x ^= x >> 10
    x = (x * factor) & TIE_MASK
    return x ^ (x >> 10)


@njit
def node_of(key: int, ties: I64) -> int:
    """The node whose key it is."""
    x = key & TIE_MASK
    x ^= x >> 10
    x = (x * int(ties[2])) & TIE_MASK
    x ^= x >> 10
    return (x ^ int(ties[0])) & TIE_MASK


@njit
def key_bases(start: int, partition: int, partitions: int, ties: I64, base: I32) -> None:
    """base[node] from `start` on = partition bit and tie rank."""
    for node in range(start, len(base)):
        own = OWN if node % partitions == partition else 0
        base[node] = own | rank_of(node, ties[0], ties[1])


@njit
def score_of(
    cpu: int, cpu_up: int, memory: int, memory_up: int, is_cpu: int, is_memory: int, weights: I64
) -> int:
    """Weighted sum of the fused plugins. Shares are per mille used, rounded down and up."""
    return (
        int(weights[0]) * least_of(cpu_up, memory_up, is_cpu, is_memory)
        + int(weights[1]) * most_of(cpu, memory, is_cpu, is_memory)
        + int(weights[2]) * balanced_of(cpu, memory, is_cpu, is_memory)
    )


@njit
def is_fitting(nodes: Nodes, classes: Classes, klass: int, node: int) -> bool:
    """Whether a replica of the class has room on the node."""
    for j in range(classes.entries[klass]):
        if nodes.rows[node, HEAD + classes.resource[klass, j]] < classes.amount[klass, j]:
            return False
    return True


@njit
def key_of(nodes: Nodes, classes: Classes, klass: int, node: int) -> int:
    """The key of a node that passes the mask, from the row-major copy."""
    if not is_fitting(nodes, classes, klass, node):
        return UNFIT
    row = nodes.rows[node]
    capacity, wide = int(row[CPU]), int(row[MEMORY])
    cpu_used = capacity - int(row[HEAD + CPU]) + int(classes.scored[klass, 0])
    memory_used = wide - int(row[HEAD + MEMORY]) + int(classes.scored[klass, 1])
    cpu = min(max(cpu_used, 0), capacity) * 1000
    memory = min(max(memory_used, 0), wide) * 1000
    cpu_share = cpu // capacity if capacity > 0 else 0
    memory_share = memory // wide if wide > 0 else 0
    score = score_of(
        cpu_share,
        cpu_share + (cpu_share * capacity < cpu),
        memory_share,
        memory_share + (memory_share * wide < memory),
        1 if capacity > 0 else 0,
        1 if wide > 0 else 0,
        classes.weights[klass],
    )
    return int(nodes.base[node] + (score << TIE_BITS))


@njit
def scan(nodes: Nodes, classes: Classes, slots: Slots, slot: int, count: int) -> None:
    """All keys and block maxima of a slot afresh, from columns, in loops that vectorise.

    `count` is the number of nodes, a multiple of BLOCK. A share is estimated by the inverse and set
    right by exact products, which is the integer quotient at a fraction of its cost.
    """
    klass = slots.klass[slot]
    weights = classes.weights[klass]
    for lo in range(0, count, _CHUNK):
        hi = min(lo + _CHUNK, count)
        keys, mask = slots.keys[slot][lo:hi], slots.mask[slot][lo:hi]
        for i in range(len(keys)):
            keys[i] = np.int32(0) if mask[i] else np.int32(-1)
        for j in range(classes.entries[klass]):
            free = nodes.free[classes.resource[klass, j]][lo:hi]
            amount = classes.amount[klass, j]
            for i in range(len(keys)):
                if free[i] < amount:
                    keys[i] = np.int32(-1)
        _score(nodes, classes.scored[klass, 0], classes.scored[klass, 1], weights, lo, hi, keys)
    for b in range(count // BLOCK):
        slots.tops[slot, b] = top_of(slots.keys[slot], b)


@njit
def _score(
    nodes: Nodes, cpu_demand: int, memory_demand: int, weights: I64, lo: int, hi: int, keys: I32
) -> None:
    """keys[i] >= 0 becomes the key of node lo + i."""
    free_cpu, free_memory = nodes.free[CPU][lo:hi], nodes.free[MEMORY][lo:hi]
    cpu_capacity, memory_capacity = nodes.capacity[CPU][lo:hi], nodes.capacity[MEMORY][lo:hi]
    cpu_inverse, memory_inverse = nodes.inverse[CPU][lo:hi], nodes.inverse[MEMORY][lo:hi]
    base = nodes.base[lo:hi]
    for i in range(len(keys)):
        capacity, wide = cpu_capacity[i], memory_capacity[i]
        cpu = min(max(capacity - free_cpu[i] + cpu_demand, 0), capacity)
        memory = min(max(wide - free_memory[i] + memory_demand, 0), wide)
        c = np.int64(float(cpu) * cpu_inverse[i])
        m = np.int64(float(memory) * memory_inverse[i])
        cpu, memory = cpu * 1000, memory * 1000
        is_cpu, is_memory = np.int64(capacity > 0), np.int64(wide > 0)
        c -= np.int64(c * capacity > cpu)
        c += np.int64((c + 1) * capacity <= cpu) & is_cpu
        m -= np.int64(m * wide > memory)
        m += np.int64((m + 1) * wide <= memory) & is_memory
        c_up = c + np.int64(c * capacity < cpu)
        m_up = m + np.int64(m * wide < memory)
        score = score_of(int(c), int(c_up), int(m), int(m_up), int(is_cpu), int(is_memory), weights)
        key = np.int32(base[i] + (score << TIE_BITS))
        keys[i] = key if keys[i] >= 0 else np.int32(-1)


@njit
def top_of(keys: I32, block: int) -> int:
    """The largest key of a block."""
    part = keys[block * BLOCK : block * BLOCK + BLOCK]
    top = np.int32(-1)
    for i in range(len(part)):
        top = max(top, part[i])
    return int(top)


@njit
def repair(nodes: Nodes, classes: Classes, slots: Slots, slot: int, node: int) -> None:
    """One node's key afresh, and its block's maximum."""
    key = UNFIT
    if slots.mask[slot, node]:
        key = key_of(nodes, classes, slots.klass[slot], node)
    old = slots.keys[slot, node]
    if key == old:
        return
    slots.keys[slot, node] = key
    block = node // BLOCK
    if key >= slots.tops[slot, block]:
        slots.tops[slot, block] = key
    elif old == slots.tops[slot, block]:
        slots.tops[slot, block] = top_of(slots.keys[slot], block)
