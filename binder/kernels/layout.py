"""The arrays that the binder's kernels share, in named tuples (numba passes them as they are).

Axes: unit, claim, node, klass = the binder's own numbers. The claims of a unit are a list in order
of commit: units.head → claims.next → NONE, units.tail its last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""No unit, claim, class or grave."""
SKIP = 255
"""Verdict of a row that says nothing by itself."""

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
U16 = NDArray[np.uint16]
U8 = NDArray[np.uint8]
Bits = NDArray[np.bool_]


class Units(NamedTuple):
    """Units with claims, or remembered for their tombstone. Arrays [unit]."""

    uid_hi: U64
    uid_lo: U64
    handle: U32
    revision: U32
    """Revisions below are refused."""
    cancelled: U8
    head: I32
    tail: I32
    live: I32
    """Claims that hold room."""
    loose: I32
    """Claims that a BOUND may meet: ended ones, and those still committing."""
    grave: I64
    """The latest outcome that must not be forgotten before the floor has passed it."""


class Claims(NamedTuple):
    """Arrays [claim]. State FREE: the replica has ended, holds no room, and is not placed again."""

    unit: I32
    revision: U32
    attempt: U64
    group: U8
    ordinal: U32
    klass: I32
    node: I32
    state: U8
    next: I32


class Nodes(NamedTuple):
    """Arrays [node]; `free` is [node, resource] and may be negative."""

    free: I64
    incarnation: U32
    present: Bits
    generation: U64
    moves: I64
    """[entry, class | node | replicas | leaving]: who came and went since this was last read."""
    moved: I64
    """[1]: entries of `moves`; more than it has rows when some were lost."""


class Classes(NamedTuple):
    """Lists of what a replica takes have `taken[klass]` pairs; there must be room for the first
    `entries[klass]`, the demand."""

    entries: I32
    taken: I32
    resource: I32
    """[klass, entry], NONE for a resource that no node has."""
    amount: I64
    """[klass, entry]"""
    is_read: Bits
    """[klass]: rules between replicas read it."""
    has_checks: Bits
    """[klass]: rules between replicas say where it may be; right for the classes being judged."""
    said: I32
    """[klass]: number of what it says of others; 0 for nothing."""


class Pool(NamedTuple):
    """Stacks of unused numbers: `top[0]` of `units` and `top[1]` of `claims` are free."""

    top: I64
    units: I32
    claims: I32


class Rows(NamedTuple):
    """Columns of a journal that the ledger reads. Arrays [row]."""

    handle: U32
    revision: U32
    attempt: U64
    verdict: U8
    group: U8
    ordinal: U32
    node: U32
    klass: U32


class Changes(NamedTuple):
    """What happened to claims, for those who watch. Arrays [change]."""

    uid_hi: U64
    uid_lo: U64
    revision: U32
    group: U8
    ordinal: U32
    node: U32
    state: U8


def copy_corner(old: Iterable[Any], new: Iterable[Any]) -> None:
    """Copy each array into the corner of its larger successor."""
    for before, after in zip(old, new, strict=True):
        after[tuple(slice(0, length) for length in before.shape)] = before


def read_only(column: NDArray[Any]) -> NDArray[Any]:
    """The column as messages bring it: numba compiles a kernel anew for a writable one."""
    if not column.flags.writeable:
        return column
    view = column.view()
    view.flags.writeable = False
    return view
