"""The embedded home: one record per batch is the commit point, everything else comes behind it."""

from __future__ import annotations

from collections.abc import Iterable

from binder.ledger import Ledger
from binder.records import Commit, Journal, NodeEntry, Part, Record
from binder.snapshot import parts_of, take_part
from binder.streams import DispatcherStream
from binder.view import changes_of
from cell.effects import Effect, Persist, Publish
from cell.messages import ClaimState
from cell.reasons import Wake
from cell.unit import Verdict


class EmbeddedHome:
    """Commits batches of the binder's core."""

    def __init__(self, term: int, ledger: Ledger, dispatcher: DispatcherStream) -> None:
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

    def commit(self, journal: Journal, nodes: tuple[NodeEntry, ...] = ()) -> list[Effect]:
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
