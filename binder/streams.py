"""What leaves on links: State to schedulers, Settle to the dispatcher.

A scheduler's session has a position: the generation up to which its tables are current. A delta is
whatever is newer, so it is computed once for all sessions of one position, and a watermark sent
with it never runs ahead of the rows. Both dictionaries are the ledger's own numbers.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from binder.classes import SessionClasses
from binder.ledger import Ledger
from binder.records import Journal
from cell.effects import Effect, Send
from cell.fit.residents import Residents
from cell.messages import (
    SNAPSHOT_NODES_MAX,
    ClassDef,
    NodeSpecs,
    NodeUse,
    ResidentRows,
    Settle,
    State,
)
from cell.reasons import Wake
from cell.unit import Settlements

Rows = NDArray[np.int64]
Made = dict[tuple[int, int, int, int], list[State]]
"""Deltas by where a session is."""


class SchedulerSession:
    """One scheduler's session. `evaluated` counts its plan rows that were judged."""

    def __init__(self, classes: SessionClasses) -> None:
        self.classes = classes
        self.position = 0
        self.cursor = 0
        """The next node of the snapshot; NONE once it is sent."""
        self.evaluated = 0
        self.watermark = 0
        self.resources = 0
        self.strings = 0
        self.told_classes = 0
        """Classes below this number were told, as far as residents can name them."""

    @property
    def is_whole(self) -> bool:
        """Whether the snapshot has been sent."""
        return self.cursor < 0


class SchedulerStreams:
    """All schedulers' sessions."""

    def __init__(self, ledger: Ledger, term: int) -> None:
        self.sessions: dict[str, SchedulerSession] = {}
        self._ledger = ledger
        self._term = term

    def open(self, peer: str) -> list[Effect]:
        """Begin a session with the first chunk of its snapshot."""
        self.sessions[peer] = SchedulerSession(SessionClasses(self._ledger.classes))
        return [self._chunk(peer, self.sessions[peer])]

    def close(self, peer: str) -> None:
        """Forget a session."""
        self.sessions.pop(peer, None)

    @property
    def is_snapshotting(self) -> bool:
        """Whether a snapshot has chunks left to send."""
        return any(not session.is_whole for session in self.sessions.values())

    @property
    def is_behind(self) -> bool:
        """Whether a scheduler has anything to hear that it was not sent."""
        return any(self._is_behind(session) for session in self.sessions.values())

    def chunks(self) -> list[Effect]:
        """The next chunk of every snapshot under way."""
        return [self._chunk(p, s) for p, s in self.sessions.items() if not s.is_whole]

    def deltas(self) -> list[Effect]:
        """What each scheduler has not heard yet."""
        made: Made = {}
        effects: list[Effect] = []
        for peer, session in self.sessions.items():
            if session.is_whole and self._is_behind(session):
                effects += self._delta(peer, session, made)
        return effects

    def delta(self, peer: str) -> list[Effect]:
        """What one scheduler has not heard yet: it has lost a race and needs the fresh rows now."""
        session = self.sessions.get(peer)
        return self._delta(peer, session, {}) if session and session.is_whole else []

    def _is_behind(self, session: SchedulerSession) -> bool:
        return session.position < self._ledger.generation or session.watermark < session.evaluated

    def _chunk(self, peer: str, session: SchedulerSession) -> Send:
        nodes = self._ledger.nodes
        if session.cursor == 0:
            session.position = self._ledger.generation
        begin = session.cursor
        end = min(begin + SNAPSHOT_NODES_MAX, nodes.count)
        rows = begin + np.flatnonzero(nodes.columns.present[begin:end])
        is_last = end == nodes.count
        session.cursor = -1 if is_last else end
        self._ledger.follow_moves()
        held = self._ledger.neighbours.residents
        is_here = (held.count > 0) & (held.node >= begin) & (held.node < end)
        tables = nodes.specs_table(rows), nodes.use_table(rows)
        state = self._state(session, *tables, np.flatnonzero(is_here))
        return self._send(peer, session, state, 0, is_last=is_last)

    def _delta(
        self,
        peer: str,
        session: SchedulerSession,
        made: Made,
    ) -> list[Effect]:
        key = session.position, session.resources, session.strings, session.told_classes
        states = made.get(key)
        if states is None:
            states = made[key] = self._states(session)
        session.position = self._ledger.generation
        before, last = session.watermark, len(states) - 1
        session.watermark = session.evaluated
        marks = [session.watermark if i == last else before for i in range(len(states))]
        return [
            self._send(peer, session, state, mark, is_last=True)
            for state, mark in zip(states, marks, strict=True)
        ]

    def _states(self, session: SchedulerSession) -> list[State]:
        """Messages with all that is newer than the session's position, specs before use."""
        nodes = self._ledger.nodes
        self._ledger.follow_moves()
        specs = np.flatnonzero(nodes.spec_generation[: nodes.count] > session.position)
        use = np.flatnonzero(nodes.columns.generation[: nodes.count] > session.position)
        pairs = np.flatnonzero(self._ledger.neighbours.residents.generation > session.position)
        none = specs[:0]
        if max(len(specs), len(use), len(pairs)) <= SNAPSHOT_NODES_MAX:
            tables = nodes.specs_table(specs), nodes.use_table(use)
            return [self._state(session, *tables, pairs)]
        nobody, unused = nodes.specs_table(none), nodes.use_table(none)
        words = self._state(session, nobody, unused, none)
        told = [self._state(session, nodes.specs_table(r), unused, none) for r in _cut(specs)]
        told += [self._state(session, nobody, nodes.use_table(r), none) for r in _cut(use)]
        told += [self._state(session, nobody, unused, rows) for rows in _cut(pairs)]
        said = {"resources": (), "strings": (), "classes": ()}
        return [words, *(msgspec.structs.replace(state, **said) for state in told)]

    def _state(
        self, session: SchedulerSession, specs: NodeSpecs, use: NodeUse, pairs: Rows
    ) -> State:
        nodes = self._ledger.nodes
        return State(
            term=self._term,
            generation=self._ledger.generation,
            watermark=0,
            specs=specs,
            use=use,
            resources=tuple(nodes.resources[session.resources :]),
            strings=tuple(nodes.strings[session.strings :]),
            residents=_resident_rows(self._ledger.neighbours.residents, pairs),
            classes=self._read_classes(session.told_classes),
        )

    def _read_classes(self, first: int) -> tuple[ClassDef, ...]:
        """Classes from number `first` on that residents can name."""
        classes = self._ledger.classes
        is_read = classes.columns.is_read[first : len(classes.specs)]
        return classes.definitions((first + np.flatnonzero(is_read)).tolist())

    def _send(
        self, peer: str, session: SchedulerSession, state: State, mark: int, *, is_last: bool
    ) -> Send:
        session.resources = len(self._ledger.nodes.resources)
        session.strings = len(self._ledger.nodes.strings)
        session.told_classes = len(self._ledger.classes.specs)
        return Send(peer, msgspec.structs.replace(state, watermark=mark, is_last=is_last))


def _resident_rows(held: Residents, pairs: Rows) -> ResidentRows:
    return ResidentRows(
        node=held.node[pairs].astype(np.uint32),
        klass=held.klass[pairs].astype(np.uint32),
        count=held.count[pairs].astype(np.uint32),
        leaving=held.leaving[pairs].astype(np.uint32),
    )


def _cut(rows: Rows) -> list[Rows]:
    return [rows[i : i + SNAPSHOT_NODES_MAX] for i in range(0, len(rows), SNAPSHOT_NODES_MAX)]


class DispatcherStream:
    """The dispatcher's session, when there is one. `wakes` is what parked units have to hear of."""

    def __init__(self, ledger: Ledger, rows_max: int) -> None:
        self.peer = ""
        self.classes = SessionClasses(ledger.classes)
        self.wakes = Wake.NONE
        self._ledger = ledger
        self._rows_max = rows_max
        self._names = 0

    def open(self, peer: str, *, is_history_told: bool = True) -> list[Effect]:
        """Begin a session: all outcomes not acked, again; whatever was missed wakes everyone.

        Without history: the names of nodes alone."""
        self.peer = peer
        self.classes = SessionClasses(self._ledger.classes)
        self.wakes = Wake.ALL
        self._names = 0
        if not is_history_told:
            return self._send(self._ledger.log.next, Settlements.empty(), Wake.NONE)
        effects: list[Effect] = []
        for first, journal in self._merged():
            effects += self.settle(first, journal)
        return effects

    def close(self) -> None:
        """The session has ended."""
        self.peer = ""

    def settle(self, first: int, journal: Journal) -> list[Effect]:
        """Outcomes from number `first` on."""
        if not self.peer or not len(journal):
            return []
        return self._send(first, _settlements(journal), Wake.NONE)

    def wake(self) -> list[Effect]:
        """Tell what changed in the cluster; to be sent behind the State that shows it."""
        if not self.peer or not self.wakes:
            return []
        wakes, self.wakes = self.wakes, Wake.NONE
        return self._send(self._ledger.log.next, Settlements.empty(), wakes)

    def _send(self, first: int, rows: Settlements, wakes: Wake) -> list[Effect]:
        effects: list[Effect] = []
        specs = self._ledger.nodes.specs
        while len(specs) - self._names > SNAPSHOT_NODES_MAX:
            effects.append(self._message(first, Settlements.empty(), Wake.NONE))
        return [*effects, self._message(first, rows, wakes)]

    def _message(self, first: int, rows: Settlements, wakes: Wake) -> Send:
        base = self._names
        names = tuple(
            spec.name for spec in self._ledger.nodes.specs[base : base + SNAPSHOT_NODES_MAX]
        )
        self._names += len(names)
        return Send(
            self.peer, Settle(self._ledger.generation, first, rows, base, names, int(wakes))
        )

    def _merged(self) -> list[tuple[int, Journal]]:
        """Outcomes not acked, several commits in one message."""
        merged: list[tuple[int, list[Journal]]] = []
        for first, journal in self._ledger.log.kept(self._ledger.marks.ack):
            size = sum(map(len, merged[-1][1])) if merged else 0
            is_next = bool(merged) and merged[-1][0] + size == first
            if is_next and size + len(journal) <= self._rows_max:
                merged[-1][1].append(journal)
            else:
                merged.append((first, [journal]))
        return [(first, Journal.concat(journals)) for first, journals in merged]


def _settlements(journal: Journal) -> Settlements:
    return Settlements(
        handle=journal.handle,
        uid_hi=journal.uid_hi,
        uid_lo=journal.uid_lo,
        revision=journal.revision,
        attempt=journal.attempt,
        verdict=journal.verdict,
        reason=journal.reason,
        group=journal.group,
        ordinal=journal.ordinal,
        node=journal.node,
        argument=journal.argument,
    )
