"""The ledger: who has what room, and what the dispatcher has still to be told.

Only `apply` and `mark` change it, live and at restore alike, so a restored ledger is the one that
was. Claims are columns, found by uid through an index and a list per unit. What must hold: used is
the sum of the claims that hold room, and the generation grows with every change.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from binder.classes import ClassTable
from binder.kernels.claims import apply_rows, bury, drop_claims, find_claim
from binder.kernels.layout import NONE, Changes, Claims, Pool, Rows, Units, copy_corner, read_only
from binder.nodes import NodeTable
from binder.outcomes import Graves, OutcomeLog
from binder.records import ClaimStore, Commit, Journal, Marks, NodeEntry, Part
from cell.classes import ClassSpec, counted, demanded
from cell.fit.neighbours import Neighbours
from cell.messages import ClaimRows, ClaimState
from cell.uid_index import UidIndex
from cell.unit import WHOLE_UNIT, Verdict

_OPENS = np.zeros(256, np.bool_)
"""Verdicts that make a unit known."""
_OPENS[[Verdict.ACCEPTED, Verdict.BOUND, Verdict.CANCELLED]] = True
_HOLDS = np.zeros(256, np.bool_)
"""Verdicts whose rows name a class."""
_HOLDS[[Verdict.ACCEPTED, Verdict.BOUND, Verdict.AMENDED]] = True
_BOUND = int(Verdict.BOUND)
_MEETS = np.zeros(256, np.bool_)
"""Verdicts that change a unit if it is known."""
_MEETS[[Verdict.FAILED, Verdict.RELEASED, Verdict.AMENDED]] = True
_DIGS = np.zeros(256, np.bool_)
"""Verdicts that leave a tombstone."""
_DIGS[[Verdict.FAILED, Verdict.RELEASED, Verdict.CANCELLED]] = True
_SWEEPS = np.zeros(256, np.bool_)
_SWEEPS[[Verdict.RELEASED, Verdict.CANCELLED]] = True

Slots = NDArray[np.int64]


class Ledger:
    """See the module."""

    def __init__(self) -> None:
        self.generation = 0
        self.marks = Marks()
        self.nodes = NodeTable()
        self.neighbours = Neighbours(self.nodes.statics)
        """Who is where, up to the last `follow_moves`."""
        self.classes = ClassTable(self.nodes.numbers, self.neighbours)
        self.log = OutcomeLog()
        self.graves = Graves()
        self.units = _units(64)
        self.claims = _claims(64)
        self.index = UidIndex()
        self.pool = Pool(
            np.array([64, 64], np.int64),
            np.arange(64, dtype=np.int32)[::-1].copy(),
            np.arange(64, dtype=np.int32)[::-1].copy(),
        )

    def draft(self, journal: Journal, nodes: tuple[NodeEntry, ...] = ()) -> Commit:
        """The record of a batch that was judged against the ledger as it is."""
        holds = _HOLDS[journal.verdict]
        return Commit(
            generation=self.generation + 1,
            first=self.log.next,
            journal=journal,
            marks=self.marks,
            classes=self.classes.undefined(journal.klass[holds]),
            nodes=nodes,
        )

    def apply(self, commit: Commit, *, is_told: bool = True) -> ClaimRows:
        """Change the ledger; returns what happened to claims. The log keeps what is to be told."""
        self.mark(commit.marks)
        self.generation = commit.generation
        self.learn(commit)
        self.log.skip_to(commit.first)
        first = self.log.append(commit.journal) if is_told else self.log.next
        if not len(commit.journal):
            return ClaimRows.empty()
        return self._apply_rows(commit.journal, first)

    def learn(self, record: Commit | Part) -> None:
        """Take over the classes and nodes of a record."""
        self.classes.define(record.classes)
        is_wider = self.nodes.learn(self.classes.counted_by(record.classes))
        if self.nodes.put(record.nodes, record.generation) or is_wider:
            self.classes.resolve()

    def mark(self, marks: Marks) -> None:
        """Follow the dispatcher's marks: forget what it has acked and tombstones that are spent."""
        old = self.marks
        if marks == old or marks.term < old.term:
            return
        is_same_term = marks.term == old.term
        self.marks = Marks(
            term=marks.term,
            floor=max(marks.floor, old.floor if is_same_term else 0),
            next=max(marks.next, old.next if is_same_term else 0),
            ack=max(marks.ack, old.ack),
        )
        if self.marks.ack > old.ack:
            self.log.ack(self.marks.ack)
            self.graves.ack(self.marks.ack, (self.marks.term, self.marks.next))
        for units, numbers in self.graves.passed((self.marks.term, self.marks.floor)):
            self._bury(units, numbers)

    def find(self, uid_hi: NDArray[np.uint64], uid_lo: NDArray[np.uint64]) -> Slots:
        """Unit per uid, NONE where unknown."""
        return self.index.find(read_only(uid_hi), read_only(uid_lo))

    def open_units(self, uid_hi: NDArray[np.uint64], uid_lo: NDArray[np.uint64]) -> Slots:
        """Unit per uid, unknown ones made known."""
        self.reserve(units=len(uid_hi))
        top = int(self.pool.top[0])
        fresh = self.pool.units[top - len(uid_hi) : top][::-1].astype(np.int64)
        slots, used = self.index.find_or_put(read_only(uid_hi), read_only(uid_lo), fresh)
        self.pool.top[0] = top - used
        self.units.uid_hi[slots] = uid_hi
        self.units.uid_lo[slots] = uid_lo
        return slots

    def unit_of(self, uid: tuple[int, int]) -> int:
        """The unit of a uid, NONE where unknown."""
        hi, lo = np.array(uid, np.uint64).reshape(2, 1)
        return int(self.find(hi, lo)[0])

    def claim_of(self, uid: tuple[int, int], group: int, ordinal: int) -> int:
        """The claim of a replica that holds room, or NONE."""
        unit = self.unit_of(uid)
        if unit == NONE:
            return NONE
        claim = int(find_claim(self.units, self.claims, unit, group, ordinal, NONE))
        return claim if claim != NONE and self.claims.state[claim] != ClaimState.FREE else NONE

    def claims_of(self, uid: tuple[int, int]) -> list[int]:
        """The unit's claims that hold room, in order of commit."""
        unit = self.unit_of(uid)
        found, claim = [], NONE if unit == NONE else int(self.units.head[unit])
        while claim != NONE:
            if self.claims.state[claim] != ClaimState.FREE:
                found.append(claim)
            claim = int(self.claims.next[claim])
        return found

    def number_class(self, encoded: bytes) -> int:
        """Number of the class of an object that is bound already, whatever nodes offer.

        What it demands is charged even where no node has it; an undecodable one takes a pod slot.
        """
        klass = self.classes.intern(encoded)
        if klass == NONE:
            klass = self.classes.intern(ClassSpec().encoded())
        spec = self.classes.specs[klass]
        if self.nodes.learn(name for name, _ in (*demanded(spec), *counted(spec))):
            self.classes.resolve()
        return klass

    def terminate(self, claim: int) -> ClaimRows:
        """The claim's replica is going; its room is held until it is gone."""
        self.generation += 1
        unit, claims = self.claims.unit[claim], self.claims
        self.units.loose[unit] -= claims.state[claim] == ClaimState.COMMITTING
        if self.classes.columns.is_read[claims.klass[claim]]:
            self.follow_moves()
            moved = claims.klass[claim], claims.node[claim], 0, 1
            self._move(np.array([moved], np.int64))
        claims.state[claim] = ClaimState.TERMINATING
        return ClaimRows.of(
            uid_hi=self.units.uid_hi[[unit]],
            uid_lo=self.units.uid_lo[[unit]],
            revision=claims.revision[claim],
            group=claims.group[claim],
            ordinal=claims.ordinal[claim],
            node=claims.node[claim],
            state=ClaimState.TERMINATING,
        )

    def drop(self, dropped: list[int]) -> ClaimRows:
        """Undo holds that came to nothing."""
        self.generation += 1
        changes = _changes(len(dropped))
        drop_claims(
            np.array(dropped, np.int64),
            self.generation,
            self.units,
            self.claims,
            self.nodes.columns,
            self.classes.columns,
            self.pool,
            changes,
        )
        return ClaimRows(**changes._asdict())

    def follow_moves(self) -> None:
        """Let `neighbours` follow the claims that came and went."""
        columns = self.nodes.columns
        moved, columns.moved[0] = int(columns.moved[0]), 0
        if moved > len(columns.moves):
            self._recount()
        elif moved:
            self._move(columns.moves[:moved])

    def _move(self, moves: NDArray[np.int64]) -> None:
        klass, node, replicas, leaving = moves.T.copy()
        self.neighbours.add(node, klass, replicas, leaving, self.generation)

    def _recount(self) -> None:
        """Too many came and went to follow them one by one."""
        live = self.live_claims()
        live = live[self.classes.columns.is_read[self.claims.klass[live]]]
        is_going = self.claims.state[live] == ClaimState.TERMINATING
        nodes, klasses = self.claims.node[live], self.claims.klass[live]
        self.neighbours.recount(
            nodes.astype(np.int64), klasses.astype(np.int64), is_going, self.generation
        )

    def live_claims(self) -> NDArray[np.int64]:
        """Claims that hold room, by number."""
        return np.flatnonzero(self.claims.state != ClaimState.FREE)

    def _apply_rows(self, journal: Journal, first: int) -> ClaimRows:
        verdict, size = journal.verdict, len(journal)
        if (verdict == _BOUND).all():
            slots, digs = self.open_units(journal.uid_hi, journal.uid_lo), None
        else:
            slots = self._slots_of(journal)
            sweeps = _SWEEPS[verdict] & (slots != NONE)
            size += int(self.units.live[slots[sweeps]].sum())
            digs = np.flatnonzero(_DIGS[verdict] & (slots != NONE))
        changes = _changes(size)
        self.reserve(claims=len(journal))
        count = apply_rows(
            rows_of(journal),
            slots,
            self.generation,
            first,
            self.units,
            self.claims,
            self.nodes.columns,
            self.classes.columns,
            self.pool,
            changes,
        )
        if digs is not None:
            self.graves.dig(slots[digs], first + digs)
        return ClaimRows(
            uid_hi=changes.uid_hi[:count],
            uid_lo=changes.uid_lo[:count],
            revision=changes.revision[:count],
            group=changes.group[:count],
            ordinal=changes.ordinal[:count],
            node=changes.node[:count],
            state=changes.state[:count],
        )

    def _slots_of(self, journal: Journal) -> Slots:
        """Unit per row: made known by some verdicts, met by others, NONE for the rest."""
        verdict = journal.verdict
        is_whole = (verdict == Verdict.RELEASED) & (journal.ordinal == WHOLE_UNIT)
        slots = np.full(len(journal), NONE, np.int64)
        opens = _OPENS[verdict] | is_whole
        slots[opens] = self.open_units(journal.uid_hi[opens], journal.uid_lo[opens])
        meets = _MEETS[verdict] & ~is_whole
        if meets.any():
            slots[meets] = self.find(journal.uid_hi[meets], journal.uid_lo[meets])
        return slots

    def _bury(self, units: Slots, numbers: NDArray[np.int64]) -> None:
        gone = np.empty(len(units), np.int64)
        count = bury(units, numbers, self.units, self.claims, self.pool, gone)
        slots = gone[:count]
        self.index.drop(read_only(self.units.uid_hi[slots]), read_only(self.units.uid_lo[slots]))

    def reserve(self, units: int = 0, claims: int = 0) -> None:
        """Room for so many more units and claims."""
        top = self.pool.top
        if top[0] < units:
            size = len(self.units.head)
            self.units = _grown(self.units, _units(max(2 * size, size + units)))
            stack = self._stack(self.pool.units, int(top[0]), size, len(self.units.head))
            top[0] += len(self.units.head) - size
            self.pool = self.pool._replace(units=stack)
        if top[1] < claims:
            size = len(self.claims.unit)
            self.claims = _grown(self.claims, _claims(max(2 * size, size + claims)))
            stack = self._stack(self.pool.claims, int(top[1]), size, len(self.claims.unit))
            top[1] += len(self.claims.unit) - size
            self.pool = self.pool._replace(claims=stack)

    @staticmethod
    def _stack(old: NDArray[np.int32], top: int, before: int, size: int) -> NDArray[np.int32]:
        """Free numbers, the smallest used first; those from `before` on are new."""
        stack = np.empty(size, np.int32)
        added = size - before
        stack[:added] = np.arange(size - 1, before - 1, -1)
        stack[added : added + top] = old[:top]
        return stack


def rows_of(journal: Journal | ClaimStore) -> Rows:
    """What kernels read of a journal, or of stored claims, which have no handles and verdicts."""
    if isinstance(journal, Journal):
        handle, verdict = journal.handle, journal.verdict
    else:
        handle, verdict = journal.revision, journal.state
    return Rows(
        handle=read_only(handle),
        revision=read_only(journal.revision),
        attempt=read_only(journal.attempt),
        verdict=read_only(verdict),
        group=read_only(journal.group),
        ordinal=read_only(journal.ordinal),
        node=read_only(journal.node),
        klass=read_only(journal.klass),
    )


def _units(size: int) -> Units:
    return Units(
        uid_hi=np.zeros(size, np.uint64),
        uid_lo=np.zeros(size, np.uint64),
        handle=np.zeros(size, np.uint32),
        revision=np.zeros(size, np.uint32),
        cancelled=np.zeros(size, np.uint8),
        head=np.full(size, NONE, np.int32),
        tail=np.full(size, NONE, np.int32),
        live=np.zeros(size, np.int32),
        loose=np.zeros(size, np.int32),
        grave=np.full(size, NONE, np.int64),
    )


def _claims(size: int) -> Claims:
    return Claims(
        unit=np.full(size, NONE, np.int32),
        revision=np.zeros(size, np.uint32),
        attempt=np.zeros(size, np.uint64),
        group=np.zeros(size, np.uint8),
        ordinal=np.zeros(size, np.uint32),
        klass=np.zeros(size, np.int32),
        node=np.zeros(size, np.int32),
        state=np.full(size, ClaimState.FREE, np.uint8),
        next=np.full(size, NONE, np.int32),
    )


def _changes(size: int) -> Changes:
    return Changes(
        uid_hi=np.empty(size, np.uint64),
        uid_lo=np.empty(size, np.uint64),
        revision=np.empty(size, np.uint32),
        group=np.empty(size, np.uint8),
        ordinal=np.empty(size, np.uint32),
        node=np.empty(size, np.uint32),
        state=np.empty(size, np.uint8),
    )


Columns = TypeVar("Columns", Units, Claims)


def _grown(old: Columns, new: Columns) -> Columns:
    copy_corner(old, new)
    return new
