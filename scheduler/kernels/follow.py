"""Following the binder's stream: assumptions end by watermark, touched room is computed afresh."""

from __future__ import annotations

from cell.jit import bare_njit
from scheduler.framework.shares import inverse_of
from scheduler.kernels.layout import CPU, HEAD, I32, I64, MEMORY, Classes, Log, Nodes
from scheduler.kernels.place import note


@bare_njit
def forget(
    nodes: Nodes, classes: Classes, ring_node: I32, ring_klass: I32, lo: int, hi: int, touched: I64
) -> None:
    """Drop the assumptions of plan rows lo to hi; touched[i] = node of row lo + i."""
    for i in range(lo, hi):
        at = i & (len(ring_node) - 1)
        node, klass = ring_node[at], ring_klass[at]
        for j in range(classes.taken[klass]):
            nodes.assumed[node, classes.resource[klass, j]] -= classes.amount[klass, j]
        touched[i - lo] = node


@bare_njit
def refresh(nodes: Nodes, log: Log, allocatable: I64, used: I64, touched: I64) -> None:
    """free = allocatable - used - assumed for touched nodes; logs those whose room really changed.

    allocatable, used  # [node, resource]. Most rows the stream reports were assumed before, so that
    their room is what it was and no class has to look at them again.
    """
    for node in touched:
        is_changed = False
        for resource in range(nodes.free.shape[0]):
            room = allocatable[node, resource] - used[node, resource]
            room -= nodes.assumed[node, resource]
            if nodes.free[resource, node] != room:
                nodes.free[resource, node] = room
                nodes.rows[node, HEAD + resource] = room
                is_changed = True
        for scored in (CPU, MEMORY):
            capacity = allocatable[node, scored]
            if nodes.rows[node, scored] != capacity:
                nodes.rows[node, scored] = capacity
                nodes.capacity[scored, node] = capacity
                nodes.inverse[scored, node] = inverse_of(float(capacity))
                is_changed = True
        if is_changed:
            note(log, node)
