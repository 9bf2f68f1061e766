"""The embedded home: one record per batch is the commit point, everything else comes behind it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from binder.commands import judge
from binder.config import BinderConfig
from binder.evaluate import Judged
from binder.ledger import Ledger
from binder.records import Commit, Journal, NodeEntry, Part, Record
from binder.requests import Asked, failed_by
from binder.snapshot import parts_of, take_part
from binder.streams import DispatcherStream
from binder.view import changes_of
from cell.effects import Effect, Persist, Publish
from cell.home import HomeEvent
from cell.messages import ClaimState, Explain
from cell.reasons import Refusal, Wake
from cell.unit import Commands, Verdict


class EmbeddedHome:
    """Commits batches of the binder's core."""

    def __init__(
        self, term: int, config: BinderConfig, ledger: Ledger, dispatcher: DispatcherStream
    ) -> None:
        self.wake_at_us = 0
        self._term = term
        self._ledger = ledger
        self._dispatcher = dispatcher

    def restore(self, records: Iterable[Record]) -> None:
        """Take over the log of former lives."""
        for record in records:
            match record:
                case Commit():
                    self._ledger.apply(record)
                case Part():
                    take_part(self._ledger, record)

    def snapshot(self) -> list[Record]:
        """Records that stand for all so far."""
        return [*parts_of(self._ledger)]

    def open_dispatcher(self, peer: str, term: int) -> list[Effect]:
        """What it has not acked, whatever its term: it has a store."""
        return self._dispatcher.open(peer)

    def take_plan(self, now_us: int, judged: Judged) -> list[Effect]:
        """Commit what a plan was judged to be."""
        return self._commit(judged.journal)

    def take_commands(self, now_us: int, run: Commands, klass: NDArray[np.int32]) -> list[Effect]:
        """Judge and commit a run of commands of one op."""
        return self._commit(judge(self._ledger, run, klass))

    def explain(self, explain: Explain) -> list[Effect]:
        """Who asks, asks the dispatcher."""
        return []

    def take_nodes(self, asked: Asked) -> list[Effect]:
        """Commit node changes; claims on removed nodes fail in the same record."""
        journal = failed_by(self._ledger, asked.entries)
        return self._commit(journal, tuple(asked.entries.values()))

    def refusal(self) -> Refusal | None:
        """Nodes are registered here."""
        return None

    def handle(self, now_us: int, event: HomeEvent) -> list[Effect]:
        """The log has nothing to say by itself."""
        raise ValueError(f"{type(event).__name__} is no event of the embedded home")

    def tick(self, now_us: int) -> list[Effect]:
        """Nothing is ever due."""
        return []

    def _commit(self, journal: Journal, nodes: tuple[NodeEntry, ...] = ()) -> list[Effect]:
        """Make a batch durable; its settlements and what watchers see wait for it."""
        commit = self._ledger.draft(journal, nodes)
        claims = self._ledger.apply(commit)
        if (claims.state == ClaimState.FREE).any() or (journal.verdict == Verdict.AMENDED).any():
            self._dispatcher.wakes |= Wake.ROOM_FREED
        return [
            Persist(commit),
            *self._dispatcher.settle(commit.first, journal),
            Publish(changes_of(self._ledger, self._term, claims)),
        ]
