"""What the binder writes: one Commit per batch, and Parts of a snapshot.

A Commit's journal says what became of attempts and commands; applying it again changes the ledger
as it did the first time, so the same function serves commit and restore. Class and node numbers are
the binder's own.
"""

from __future__ import annotations

import msgspec

from cell.columns import I64, U8, U16, U32, U64, Table
from cell.messages import ClassDef
from cell.node import NodeSpec


class Journal(Table):
    """Outcomes in order of commit: `cell.unit.Settlements` with the class of each claim.

    BOUND and ACCEPTED make or confirm a claim, AMENDED changes it, FAILED and RELEASED of one
    ordinal end it, CANCELLED and RELEASED of WHOLE_UNIT end those of the unit and fence it; others
    change nothing.
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
    klass: U32


class Marks(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The dispatcher's marks; see `cell.messages.Command`."""

    term: int = 0
    floor: int = 0
    next: int = 0
    ack: int = 0


class NodeEntry(msgspec.Struct, frozen=True, array_like=True):
    """A node as it is from now on."""

    node: int
    incarnation: int
    spec: NodeSpec
    is_removed: bool = False


class Commit(msgspec.Struct, frozen=True, tag=True):
    """One batch. `first` is the number of the journal's first row in the outcome log."""

    generation: int
    first: int
    journal: Journal
    marks: Marks = Marks()
    classes: tuple[ClassDef, ...] = ()
    nodes: tuple[NodeEntry, ...] = ()


class UnitRows(Table):
    """Units of a snapshot. `grave` is the outcome that keeps a unit known, NO_GRAVE when none does;
    `stamp_*` what the dispatcher's floor has to pass, 0 while that outcome is not acked.
    """

    uid_hi: U64
    uid_lo: U64
    handle: U32
    revision: U32
    is_cancelled: U8
    grave: I64
    stamp_term: U64
    stamp_next: U64


class ClaimStore(Table):
    """Claims of a snapshot, in order per unit; state FREE says that the replica has ended."""

    uid_hi: U64
    uid_lo: U64
    revision: U32
    attempt: U64
    group: U8
    ordinal: U32
    klass: U32
    node: U32
    state: U8


class Part(msgspec.Struct, frozen=True, tag=True):
    """A part of a snapshot, in order; `node_generations` go with `nodes`."""

    generation: int
    first: int
    is_first: bool = False
    marks: Marks = Marks()
    classes: tuple[ClassDef, ...] = ()
    nodes: tuple[NodeEntry, ...] = ()
    node_generations: tuple[int, ...] = ()
    units: UnitRows = msgspec.field(default_factory=UnitRows.empty)
    claims: ClaimStore = msgspec.field(default_factory=ClaimStore.empty)
    outcomes: Journal = msgspec.field(default_factory=Journal.empty)


Record = Commit | Part
