"""What the dispatcher writes to its log, one record per event, as columns.

Classes and names have numbers that hold for the whole log; a record brings the definitions of those
it uses first. Replaying any prefix gives the state that was acknowledged by then.
"""

from __future__ import annotations

import msgspec

from cell.columns import I32, I64, U8, U16, U32, U64, Table
from cell.messages import ClassDef, Member, UidRows


class NameDef(msgspec.Struct, frozen=True, array_like=True):
    """A name (of a node, or a role) and its number."""

    index: int
    name: str


class Defs(msgspec.Struct, frozen=True, array_like=True):
    """Definitions that this record or a later one uses first."""

    classes: tuple[ClassDef, ...] = ()
    names: tuple[NameDef, ...] = ()


class UnitRows(Table):
    """New units; `digest` is the content as submitted."""

    uid_hi: U64
    uid_lo: U64
    priority: I32
    groups: U8
    digest: U64


class GroupRows(Table):
    """Replica groups, consecutive per unit. `klass`, `pin` and `role` are numbers of the log."""

    klass: I32
    count: I32
    min: I32
    pin: I32
    role: I32


class Submitted(msgspec.Struct, frozen=True, tag=True):
    """Units were accepted; ages count from `age`."""

    at_us: int
    age: int
    keys: tuple[str, ...]
    units: UnitRows
    groups: GroupRows
    defs: Defs


class CancelRows(Table):
    """Units to end; `is_over` when no plan of them could exist and they ended at once."""

    uid_hi: U64
    uid_lo: U64
    is_over: U8


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """Cancellations were accepted."""

    at_us: int
    rows: CancelRows


class AmendRows(Table):
    """New revisions. `op` is the command that makes the binder follow, or 0 (`commands.Op`)."""

    uid_hi: U64
    uid_lo: U64
    revision: U32
    op: U8
    groups: U8


class Amended(msgspec.Struct, frozen=True, tag=True):
    """Amendments were accepted."""

    at_us: int
    rows: AmendRows
    groups: GroupRows
    defs: Defs


class PhaseRows(Table):
    """Reports about replicas."""

    uid_hi: U64
    uid_lo: U64
    group: U8
    ordinal: U32
    phase: U8


class Reported(msgspec.Struct, frozen=True, tag=True):
    """Reports were accepted."""

    at_us: int
    rows: PhaseRows


class OutcomeRows(Table):
    """Outcomes that change what is durable; `node` is a number of the log."""

    uid_hi: U64
    uid_lo: U64
    revision: U32
    verdict: U8
    reason: U16
    group: U8
    ordinal: U32
    node: I32


class Settled(msgspec.Struct, frozen=True, tag=True):
    """Outcomes of the binder numbered below `next` are taken."""

    at_us: int
    next: int
    rows: OutcomeRows
    defs: Defs


class Joined(msgspec.Struct, frozen=True, tag=True):
    """Members joined gangs; gangs that are new get ages from `age`."""

    at_us: int
    age: int
    members: tuple[Member, ...]
    defs: Defs


class Expired(msgspec.Struct, frozen=True, tag=True):
    """Gangs whose time was over before they were whole."""

    at_us: int
    rows: UidRows


class KeptUnits(Table):
    """Units in a snapshot, in order of age; `finished` counts finished ones, 0 for others, and
    `reason` says why one has failed.
    """

    uid_hi: U64
    uid_lo: U64
    priority: I32
    age: U64
    revision: U32
    groups: U8
    digest: U64
    op: U8
    is_failed: U8
    reason: U16
    is_gathering: U8
    finished: U64
    submitted_us: I64
    bound_us: I64


class KeptReplicas(Table):
    """Replicas in a snapshot, consecutive per unit; `freeing` is the reason of a free under way."""

    phase: U8
    node: I32
    freeing: U16


class Kept(msgspec.Struct, frozen=True, tag=True):
    """A part of a snapshot: units with all that is durable of them."""

    keys: tuple[str, ...]
    units: KeptUnits
    groups: GroupRows
    replicas: KeptReplicas


class KeptMarks(msgspec.Struct, frozen=True, tag=True):
    """The first record of a snapshot: definitions, counters, gangs and claims of unknown units."""

    age: int
    finished: int
    next: int
    defs: Defs
    orphans: UidRows
    gangs: tuple[tuple[int, tuple[Member, ...]], ...]
    """(deadline_us, members); 0 for a gang that is whole."""


Record = Submitted | Cancelled | Amended | Reported | Settled | Joined | Expired | Kept | KeptMarks
