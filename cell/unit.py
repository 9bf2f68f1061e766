"""Units: what is scheduled together. Identity, groups, phases, and the batches in which they
arrive.

A unit is named by the client's key; `uid_of` makes its 128-bit uid, kept as two uint64 columns. An
attempt is (dispatcher term, ordinal); a claim is named by (uid, group, ordinal of the replica in
its group).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum

import msgspec

from cell.classes import ClassSpec
from cell.columns import I32, I64, U8, U16, U32, U64, Table

KEY_BYTES_MAX = 253
"""Bytes of a unit's key."""
GROUPS_MAX = 16
"""Replica groups of one unit."""
REPLICAS_MAX = 4096
"""Replicas of one unit: one unit's rows always travel in one plan message."""
PRIORITY_MAX = 1_000_000_000
"""Absolute bound of a priority, as for a Kubernetes PriorityClass."""
WHOLE_UNIT = (1 << 32) - 1
"""Replica ordinal that stands for all replicas of the unit."""
NO_PIN = -1
"""`pin` of a group that may go anywhere."""


class Place(IntEnum):
    """Where an amended unit goes. SAME_NODE and PREFER are refused as UNIMPLEMENTED for now."""

    KEEP = 0
    SAME_NODE = 1
    PREFER = 2
    ANYWHERE = 3


class Phase(IntEnum):
    """Phase of one replica, as the dispatcher tells users. Only BOUND onwards holds a claim."""

    WAITING = 0
    PLACING = 1
    BOUND = 2
    STARTING = 3
    READY = 4
    DONE = 5
    FAILED = 6
    CANCELLED = 7


class Word(IntEnum):
    """The one word for a whole unit, derived from the phase counts by `word_of`."""

    WAITING = 0
    PLACING = 1
    BOUND = 2
    RUNNING = 3
    DONE = 4
    FAILED = 5
    CANCELLED = 6


def word_of(counts: Sequence[int]) -> Word:
    """The word for a unit with so many replicas in each Phase: the end of one is told first."""
    for phase, word in _TOLD_FIRST:
        if counts[phase]:
            return word
    return Word.DONE if counts[Phase.DONE] else Word.WAITING


_TOLD_FIRST = (
    (Phase.CANCELLED, Word.CANCELLED),
    (Phase.FAILED, Word.FAILED),
    (Phase.READY, Word.RUNNING),
    (Phase.STARTING, Word.RUNNING),
    (Phase.BOUND, Word.BOUND),
    (Phase.PLACING, Word.PLACING),
    (Phase.WAITING, Word.WAITING),
)


class UnitBatch(Table):
    """Units of one Submit batch, `groups` rows of GroupBatch each, in order."""

    uid_hi: U64
    uid_lo: U64
    priority: I32
    groups: U8


class GroupBatch(Table):
    """Replica groups, consecutive per unit; `klass` and `pin` index the request's lists."""

    klass: U32
    count: U32
    min: U32
    pin: I32


class GroupSpec(msgspec.Struct, frozen=True, array_like=True):
    """One replica group of one unit in row form (CLI, rolling controller, reports)."""

    klass: ClassSpec
    role: str = ""
    count: int = 1
    min: int = 1
    pin: str = ""


class UnitSpec(msgspec.Struct, frozen=True, array_like=True):
    """One unit in row form."""

    key: str
    groups: tuple[GroupSpec, ...]
    priority: int = 0


def uid_of(key: str) -> tuple[int, int]:
    """The 128-bit uid of a key as (hi, lo)."""
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


class Assignments(Table):
    """Dispatcher → scheduler: what to place. Rows of one unit are consecutive and in one message.

    Place at least `min` and at most `count` replicas of the group, ordinals from `first` on; a unit
    with fewer than all its minima gets nothing. What waits of a group may be several rows. `klass`
    indexes the stream's classes, `pin` the message's names.
    """

    handle: U32
    uid_hi: U64
    uid_lo: U64
    revision: U32
    attempt: U64
    group: U8
    klass: U32
    first: U32
    count: U32
    min: U32
    priority: I32
    pin: I32


class NoFits(Table):
    """Scheduler → dispatcher: a unit that found no room. `wakes` is a `reasons.Wake` mask."""

    handle: U32
    uid_hi: U64
    uid_lo: U64
    attempt: U64
    reason: U16
    argument: I64
    wakes: U8


class Shortfalls(Table):
    """Why nodes refused, per answer: `nodes` of them for `reason`; `resource` indexes the names."""

    answer: U32
    reason: U16
    resource: U16
    nodes: U32


class PlanOp(IntEnum):
    """What a plan row asks for. Only BIND is acted on; others are settled as rejected,
    MALFORMED_PLAN.
    """

    BIND = 0
    RESIZE = 1
    HOLD = 2
    RELEASE = 3
    EVICT = 4


class PlanRows(Table):
    """Scheduler → binder: one replica per row; a unit's rows are consecutive and in one message.

    `min` repeats the minimum of the whole group; `node` and `incarnation` are the binder's.
    """

    op: U8
    handle: U32
    uid_hi: U64
    uid_lo: U64
    revision: U32
    attempt: U64
    group: U8
    ordinal: U32
    klass: U32
    min: U32
    node: U32
    incarnation: U32


class Verdict(IntEnum):
    """What became of an attempt or a command. RELEASED answers a release, an amend that found no
    claim, or a free: `ordinal` says of what.
    """

    ACCEPTED = 0
    BOUND = 1
    FAILED = 2
    ALREADY = 3
    STALE = 4
    CANCELLED = 5
    REJECTED = 6
    RELEASED = 7
    AMENDED = 8


class Settlements(Table):
    """Binder → dispatcher: one row per replica for ACCEPTED, BOUND, ALREADY, FAILED and AMENDED,
    one row with ordinal WHOLE_UNIT else. `attempt` is the winning one; `node` indexes the stream's
    node names.
    """

    handle: U32
    uid_hi: U64
    uid_lo: U64
    revision: U32
    attempt: U64
    verdict: U8
    reason: U16
    group: U8
    ordinal: U32
    node: U32
    argument: I64


class CommandOp(IntEnum):
    """What the dispatcher asks of the binder; repeated until settled, so each is idempotent.

    CANCEL frees every claim of the uid and refuses its plans. RELEASE frees claims of revisions
    below `revision` and refuses such plans. AMEND swaps the group's claims in place for `klass` at
    `revision` (one row per group, all or nothing; settled REJECTED when the difference does not
    fit, RELEASED when there was no claim). FREE frees one replica's claim with `reason`.
    CONFIRM asks whether one replica's claim is there, after a start of a binder that keeps no
    outcomes (`link.DERIVED`): not settled when it is; else RELEASED, REPORTED_DONE when it
    has ended well, FAILED when it is gone, with CONFLICT when it was never bound.
    """

    CANCEL = 0
    RELEASE = 1
    AMEND = 2
    FREE = 3
    CONFIRM = 4


class Commands(Table):
    """Dispatcher → binder."""

    op: U8
    handle: U32
    uid_hi: U64
    uid_lo: U64
    revision: U32
    group: U8
    ordinal: U32
    klass: U32
    reason: U16
