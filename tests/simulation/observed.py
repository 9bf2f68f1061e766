"""What the auditor knows of the second home: nodes from the API server, claims as observed.

The ledger there follows an authority that others write to, so most rules of a commit do not apply;
one does: what the binder itself decides to hold fits what it may know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from cell.home import ObjectState
from cell.messages import Acks, ClaimState, LedgerChanges
from cell.node import NodeSpec
from cell.unit import uid_of
from tests.simulation import room
from tests.simulation.api_server import ApiServer
from tests.simulation.auditor import Auditor
from tests.simulation.ledger_book import Claim, LedgerBook, Replica, Uid, claims_of
from tests.simulation.link_book import LinkBook
from tests.simulation.node import Node
from tests.simulation.node_book import NodeBook
from tests.simulation.promises import Promise, Promises
from tests.simulation.world import SECOND, Broken, World

LAG_US = 6 * SECOND
"""How old the binder's knowledge of a node may be: a slow watch, a gap, a pause, a slow list."""


class ServerDesk:
    """Takes the operator's requests to the API server, and keeps what each node was when."""

    def __init__(self, world: World, server: ApiServer) -> None:
        self._world = world
        self._server = server
        self.told: Callable[[Any, Acks], None] = lambda body, answer: None
        self._past: dict[str, list[tuple[int, NodeSpec]]] = {}

    def ask(self, body: Any, answered: Callable[[Any], None]) -> None:
        """See cluster.Desk."""
        self._server.ask(body, lambda answer: self._answered(body, answer, answered))

    def recent(self, name: str) -> list[NodeSpec]:
        """What a node was in the time that the binder may still believe in."""
        past = self._past.get(name, [])
        ends = [at_us for at_us, _ in past[1:]] + [self._world.now_us]
        since_us = self._world.now_us - LAG_US
        return [spec for (_, spec), end_us in zip(past, ends, strict=True) if end_us >= since_us]

    def is_bound(self, uid: tuple[int, int]) -> bool:
        """Whether an object of a unit is bound."""
        return any(
            (name.uid_hi, name.uid_lo) == uid and view.state is ObjectState.BOUND
            for name, view in self._server.objects.items()
        )

    def _answered(self, body: Any, answer: Acks, answered: Callable[[Any], None]) -> None:
        for name, node in self._server.nodes.items():
            past = self._past.setdefault(name, [])
            if not past or past[-1][1] != node:
                past.append((self._world.now_us, node))
        self.told(body, answer)
        answered(answer)


class ObservedLedger(LedgerBook):
    """Claims as published; only what the binder decided by itself is judged."""

    def __init__(self, promises: Promises, nodes: NodeBook, desk: ServerDesk) -> None:
        super().__init__(promises, nodes, is_gang_atomic=False)
        self._desk = desk
        self._decided: set[tuple[Uid, Replica]] = set()
        """Claims that this binder has decided on; others it was shown."""

    def apply(self, rows: list[Claim], *, is_all_seen: bool = True) -> None:
        """Apply claims in order."""
        decided: set[str] = set()
        for row in rows:
            book = self.unit(row.uid)
            before = book.claims.pop(row.replica, None)
            if row.state == ClaimState.FREE:
                if before is None:
                    raise Broken("freed at most once", f"{row.replica} is free already", row.uid)
                book.ended[row.replica] = before.revision
                self._decided.discard((row.uid, row.replica))
                continue
            if before is None and row.state == ClaimState.COMMITTING:
                self._check_decision(row)
                self._decided.add((row.uid, row.replica))
                decided.add(row.node)
            book.claims[row.replica] = row
        for name in sorted(decided):
            self._check_room(name)

    def replace(self, changes: LedgerChanges) -> None:
        """A new binder knows nothing until it has listed."""
        for book in self.units.values():
            book.claims.clear()
        self._decided.clear()
        self.apply(claims_of(changes))

    def _check_decision(self, row: Claim) -> None:
        spec = self.groups(row.uid, row.revision)[row.group]
        nodes = self._desk.recent(row.node)
        if not any(room.is_allowed(node, spec.klass, spec.pin) for node in nodes):
            raise Broken("claims fit their node", f"{row.node} is not for its class", row.uid)
        if row.uid in self.told_cancelled:
            raise Broken("cancelled never bound", f"claims {row.node}", row.uid)

    def _check_room(self, name: str) -> None:
        """What we hold on a node fits what it was of late; what others bound is not our doing."""
        used: Counter[str] = Counter()
        for uid, replica in self._decided:
            claim = self.unit(uid).claims[replica]
            if claim.node == name:
                spec = self.groups(uid, claim.revision)[claim.group]
                used.update(room.demand_of(spec.klass))
        for node in self._desk.recent(name):
            offers = room.allocatable_of(node)
            if all(amount <= offers.get(resource, 0) for resource, amount in used.items()):
                return
        raise Broken("no node over capacity by our doing", f"{name}: {dict(used)}")


class ObservedAuditor(Auditor):
    """The auditor of a history on the second home."""

    def __init__(self, desk: ServerDesk) -> None:
        super().__init__(is_gang_atomic=False)
        self._desk = desk
        self.bound: set[tuple[int, int]] = set()
        """Units of which an object was ever bound."""
        desk.told = self.nodes.answered
        self.ledger = ObservedLedger(self.promises, self.nodes, desk)
        self.ledger.told_cancelled = self.watch.cancelled
        self.links = LinkBook(self.ledger)
        self.links.may_skip_numbers = True

    def is_over(self, promise: Promise) -> bool:
        """Whether a unit may have ended: objects were bound and none is any more."""
        uid = uid_of(promise.key)
        was_bound = uid in self.bound and not self._desk.is_bound(uid)
        return was_bound or super().is_over(promise)

    def started(self, node: Node) -> None:
        """See node.Ear; nodes are the API server's, so a binder has none to remember."""
        if node.role == "binder":
            self.ledger.replace(node.core.ledger())
        else:
            super().started(node)
