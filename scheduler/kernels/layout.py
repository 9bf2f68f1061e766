"""The arrays that kernels share, in named tuples (numba passes them as they are).

Axes: node = node index, padded to whole blocks; resource = local resource number; klass = local
class number; slot = a class whose keys are kept. Numbers of the first resources are fixed: kernels
score cpu and memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
"""Nodes per block maximum."""
CPU, MEMORY, PODS, ABSENT, UNASKED_CPU, UNASKED_MEMORY = 0, 1, 2, 3, 4, 5
"""Local numbers of resources; ABSENT is one that no node has: its room is always 0. Of what was not
asked for there is only a use: its room is 0 or negative."""
HEAD = 2
"""Columns in front of a row-major node row: cpu and memory capacity."""
ANYWHERE = -2
"""`pin` of a row that is not pinned; a pin to a node that is not there is `pinned.NOWHERE`."""
NO_SLOT = -1
NO_ROW = -1

I64 = NDArray[np.int64]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]


class Nodes(NamedTuple):
    """What placing reads and writes of nodes."""

    free: I64
    """[resource, node]: allocatable - used - assumed, for full scans."""
    rows: I64
    """[node, HEAD + resource]: the same row by row behind the capacities, for repairs."""
    capacity: F64
    """[cpu | memory, node]"""
    inverse: F64
    """[cpu | memory, node]: 100 / capacity, 0 for none."""
    assumed: I64
    """[node, resource]: planned and not yet covered by the binder's stream."""
    base: I32
    """[0 | 1, node]: partition bit and tie rank of the node's key, for classes that wish nothing,
    and for those that do."""
    ties: I64
    """[3]: the permutation of ties: flip, factor, inverse factor."""


class Classes(NamedTuple):
    """What placing reads of classes. Lists of what a replica takes have `taken[klass]` entries;
    there must be room for the first `entries[klass]`."""

    entries: I32
    """[klass]"""
    taken: I32
    """[klass]"""
    resource: I32
    """[klass, entry]"""
    amount: I64
    """[klass, entry]"""
    scored: F64
    """[klass, cpu | memory | unasked cpu | unasked memory]: what a replica takes of these."""
    weights: F64
    """[klass, least | most | balanced]"""
    is_hooked: Bits
    """[klass]: the profile has plugins that are not compiled into the kernel."""
    has_checks: Bits
    """[klass]: rules between replicas say where it may be; right for the classes being placed."""
    has_wishes: Bits
    """[klass]: wishes between replicas count; right for the classes being placed."""
    wish_weights: I64
    """[klass, pull | even]"""
    is_wishing: Bits
    """[klass]: it has wishes about other replicas itself."""


class Slots(NamedTuple):
    """Keys kept per class; `seen` is the change-log position up to which they are right."""

    klass: I32
    """[slot]"""
    keys: I32
    """[slot, node]: -1 where the class does not fit."""
    tops: I32
    """[slot, block]: the largest key of each block."""
    gain: I16
    """[slot, node]: the static scores' weighted sum, -1 where the static rules refuse."""
    is_wishing: Bits
    """[slot]: its keys put the score before the partition."""
    seen: I64
    """[slot]"""
    refused_at: I64
    """[slot]: the last call in which a unit found no room for the class."""


class Log(NamedTuple):
    """Nodes whose room or mask changed, newest last; a ring of a power of two."""

    ring: I32
    head: I64
    """[1]: changes ever."""


class Rows(NamedTuple):
    """Units to place: rows start[u] to start[u+1] are the groups of unit u."""

    start: I64
    """[unit + 1]"""
    total: I64
    """[unit]: sum of `want` over its rows."""
    klass: I32
    slot: I32
    """NO_SLOT where the class cannot be placed at all."""
    pin: I32
    want: I64
    """At most so many replicas."""
    min: I64
    """At least so many, or the unit gets nothing."""


class Placements(NamedTuple):
    """What was placed, in order; a unit's placements are consecutive."""

    row: I32
    node: I32
    nth: I32
    """How many of its row were placed before."""
    got: I64
    """[row]: replicas placed; of a unit that got nothing, as far as it came."""
    short: I32
    """[unit]: the row for which a unit got nothing, NO_ROW for units placed."""


class Limits(NamedTuple):
    """Where one call of the placing kernel ends, and what it knows of the tables."""

    nodes: int
    """Nodes, padded to whole blocks."""
    lag_max: int
    """A slot further behind the log is scanned; at most the ring's size."""
    first: int
    """The unit that is begun whatever it costs."""
    units: int
    """Units that may be placed: all before this one."""
    rows_max: int
    """Placements, unless one unit alone has more."""
    spent_max: int
    """Estimated nanoseconds after which no further unit is begun."""
    call: int
    """Number of the call."""


UNIT, MADE, SPENT = 0, 1, 2
"""Entries of the progress array: the next unit, placements made, nanoseconds spent (estimated)."""
ENDED, HOOKED = 0, 1
"""Why the kernel returned: no more units or a limit, or the next unit is for the plugins' hooks."""

# What work costs, in nanoseconds: measured at 10,000 nodes, rounded up. Only the cutting of
# batches depends on them.
SCAN_NS = 4
"""Per node."""
REPAIR_NS = 25
BESIDE_NS = 4
"""Per node and replica, where rules between replicas have a say."""
BESIDE_NODES_PER_TRY = 16
"""Judging a node by itself costs as much as judging so many at once."""
WISH_NS = 12
"""Per node and replica, where wishes between replicas count."""
PLACE_NS = 60
TOP_NS_SHIFT = 3
"""One per so many blocks (as a power of two), to look for the best block."""
GIVE_NS = 20_000
"""To give a class a slot."""
EXPLAIN_NS = 10
"""Per node."""
HOOK_NS = 60_000
"""One evaluation of hooks, and so many more per node as EXPLAIN_NS says."""


def copy_corner(old: tuple[NDArray[Any], ...], new: tuple[NDArray[Any], ...]) -> None:
    """Copy each old array into the first corner of the new one."""
    for before, after in zip(old, new, strict=True):
        after[tuple(slice(0, length) for length in before.shape)] = before
