"""The auditor: hears everything that goes into the cores and leaves them, and keeps its own books.

It shares no code with the cores. A rule that does not hold raises Broken where it is seen; what can
only be judged in the end is in `convergence`.
"""

from __future__ import annotations

from typing import Any

from cell.effects import Answer, Publish, Request, Send
from cell.messages import Changes, Join, LedgerChanges, Submit
from tests.simulation.ledger_book import LedgerBook
from tests.simulation.link_book import LinkBook
from tests.simulation.node import Node
from tests.simulation.node_book import NodeBook
from tests.simulation.promises import Promise, Promises
from tests.simulation.release_book import ReleaseBook
from tests.simulation.tables_book import TablesBook
from tests.simulation.watch_book import WatchBook
from tests.simulation.world import Broken


class Auditor:
    """All books of one history."""

    def __init__(self, *, is_gang_atomic: bool) -> None:
        self.promises = Promises()
        self.nodes = NodeBook()
        self.ledger = LedgerBook(self.promises, self.nodes, is_gang_atomic=is_gang_atomic)
        self.links = LinkBook(self.ledger)
        self.tables = TablesBook()
        self.watch = WatchBook(self.promises)
        self.releases = ReleaseBook()
        self.ledger.told_cancelled = self.watch.cancelled
        self._open: dict[str, dict[int, Any]] = {}
        """Requests without an answer, by node and token, in order."""

    # What the nodes tell

    def given(self, node: Node, event: Any) -> None:
        """A core is about to take an event."""
        if isinstance(event, Request):
            self._open.setdefault(node.name, {})[event.token] = event.body
            if node.role == "dispatcher":
                self._note_rebirths(node, event.body)
                self.promises.asked(event.body)

    def took(self, node: Node, event: Any, effects: list[Any]) -> None:
        """A core has taken an event; its effects are not done yet."""
        if node.role == "scheduler":
            self.tables.took(node, event, effects)
        elif node.role == "sharding":
            self.releases.took(event, effects)

    def performed(self, node: Node, effect: Any) -> None:
        """An effect is done."""
        match effect:
            case Send(peer=peer, body=body):
                self.links.sent(node, peer, body)
            case Answer(token=token, body=answer):
                body = self.asked(node, token)
                del self._open[node.name][token]
                if node.role == "dispatcher":
                    self.promises.answered(body, answer)
                elif node.role == "binder":
                    self.nodes.answered(body, answer)
            case Publish(body=LedgerChanges() as changes):
                self.ledger.take(changes)
            case Publish(body=Changes() as changes):
                self.watch.published(changes)

    def started(self, node: Node) -> None:
        """A process runs again: it must know what it had promised."""
        unanswered = list(self._open.pop(node.name, {}).values())
        match node.role:
            case "binder":
                # 1. A plan is committed. 2. Its node is cordoned. 3. The binder dies before it told
                # of either: the claim is judged by the node as it was, too.
                self.nodes.restarted(unanswered)
                self.ledger.replace(node.core.ledger())
                self.nodes.listed(node.core.nodes(""))
            case "scheduler":
                self.tables.started(node)
            case "dispatcher":
                views = {view.key: view for view in node.core.units_whole("")}
                self.watch.listed(list(views.values()))
                for promise in self.promises.by_key.values():
                    self._check_known(promise, views.get(promise.key))

    def asked(self, node: Node, token: int) -> Any:
        """The request that an answer is for."""
        body = self._open.get(node.name, {}).get(token)
        if body is None:
            raise Broken("requests are answered once", f"{node.name} answers {token}")
        return body

    # Rules

    def _check_known(self, promise: Promise, view: Any) -> None:
        """Acked implies durable."""
        if view is None:
            if promise.is_acked and not self.is_over(promise):
                raise Broken("acked implies durable", "is not known any more", promise.key)
        elif view.revision < promise.acked_revision:
            seen = f"revision {view.revision}, acked {promise.acked_revision}"
            raise Broken("acked implies durable", seen, promise.key)

    def is_over(self, promise: Promise) -> bool:
        """Whether a unit may have ended, as far as the ledger and clients have said."""
        book = self.ledger.unit_of(promise.key)
        has_ended = bool(book.ended) or book.is_end_told
        return promise.is_cancel_asked or (has_ended and not book.claims)

    def _note_rebirths(self, node: Node, body: Any) -> None:
        """A key is free again once its unit has ended and was forgotten."""
        keys: list[str] = []
        if isinstance(body, Submit):
            keys = list(body.keys)
        elif isinstance(body, Join):
            keys = [member.gang for member in body.members]
        for key in keys:
            promise = self.promises.by_key.get(key)
            if promise is None or node.core.unit(key) is not None:
                continue
            if promise.is_acked:
                self._check_known(promise, None)
            elif not self.ledger.unit_of(key).ended:
                continue  # What was not acked and never bound may not have been durable.
            self.promises.begin_again(key)
            self.watch.begin_again(key)
            self.ledger.begin_again(key)
