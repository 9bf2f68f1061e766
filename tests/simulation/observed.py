"""What the auditor knows of the second home: nodes from the API server, claims as observed.

The ledger there follows an authority that others write to, so most rules of a commit do not apply;
one does: what the binder itself decides to hold fits what it may know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from cell.classes import ClassSpec, decode
from cell.effects import Answer
from cell.home import ObjectState, ObjectView
from cell.home import Replica as Named
from cell.messages import Acks, ClaimState, LedgerChanges, Submit
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
        self.foreign: set[int] = set()
        """Objects that somebody else has bound."""

    def ask(self, body: Any, answered: Callable[[Any], None]) -> None:
        """See cluster.Desk."""
        self._server.ask(body, lambda answer: self._answered(body, answer, answered))

    def recent(self, name: str) -> list[NodeSpec]:
        """What a node was in the time that the binder may still believe in."""
        past = self._past.get(name, [])
        ends = [at_us for at_us, _ in past[1:]] + [self._world.now_us]
        since_us = self._world.now_us - LAG_US
        return [spec for (_, spec), end_us in zip(past, ends, strict=True) if end_us >= since_us]

    def is_wanted(self, uid: tuple[int, int]) -> bool:
        """Whether a unit is there, and not known to be finished: it may be forgotten then."""
        return uid in self._server.units and not self._has_finished(uid)

    def _has_finished(self, uid: tuple[int, int]) -> bool:
        """Whether its record says that a unit has failed or is done, and holds nothing."""
        kept = self._server.records.get(uid) if self.is_alone(uid) else None
        states = [m.state for m in kept.record.members] if kept and kept.record else []
        if ObjectState.BOUND in states:
            return False
        count = sum(group.count for group in self._server.units[uid].groups)
        return ObjectState.FAILED in states or len(states) == count

    def was_made(self, key: str) -> bool:
        """Whether there is a unit of this key, or was."""
        return key in self._server.keys

    def is_alone(self, uid: Uid) -> bool:
        """Whether the replicas of a unit are no objects."""
        return uid in self._server.alone

    def is_recorded(self, uid: Uid, replica: Replica, node: str) -> bool:
        """Whether a record commits a replica to a node."""
        return self._recorded(uid, replica, node) is not None

    def _recorded(self, uid: Uid, replica: Replica, node: str) -> ObjectState | None:
        """What its record says of a replica on a node."""
        kept = self._server.pod_groups.record_of(uid, self._server.records)
        for m in kept.record.members if kept is not None and kept.record is not None else ():
            if (m.group, m.ordinal, m.node) == (*replica, node):
                return m.state
        return None

    def object_of(self, claim: Claim) -> int:
        """The object that a new claim is for; 0 when that may be another than has the name now."""
        view = self._view(claim)
        is_decided = claim.state == ClaimState.COMMITTING
        is_meant = view is not None and view.node == ("" if is_decided else claim.node)
        return view.object if view is not None and is_meant else 0

    def is_on(self, claim: Claim, object_uid: int) -> bool:
        """Whether the object of a claim is bound to its node; not another of the same name, that
        somebody else has bound there meanwhile. Or its record says so.

        1. A gang's record is written. 2. Somebody else binds a member, to its node by chance. 3.
        The lease is lost: nothing was posted, so what is not known to be bound is given back.
        """
        if self.is_alone(claim.uid):
            recorded = self._recorded(claim.uid, claim.replica, claim.node)
            return recorded is ObjectState.BOUND
        view = self._view(claim)
        object_uid = self._server.pod_groups.seats.get(_name(claim), object_uid)
        if view is None or view.state is not ObjectState.BOUND or view.object != object_uid:
            return False
        if claim.state == ClaimState.COMMITTING and object_uid in self.foreign:
            return False
        return (view.revision, view.node) == (claim.revision, claim.node)

    def class_of(self, uid: Uid, replica: Replica) -> ClassSpec:
        """What the last object of that name demands."""
        return decode(self._server.classes[Named(*uid, *replica)])

    def single_of(self, claim: Claim) -> Named:
        """The own name of the object of a claim, which may have another one in a gang."""
        return self._server.pod_groups.single_of(_name(claim))

    def _view(self, claim: Claim) -> ObjectView | None:
        return self._server.objects.get(self.single_of(claim))

    def _answered(self, body: Any, answer: Acks, answered: Callable[[Any], None]) -> None:
        for name, node in self._server.nodes.items():
            past = self._past.setdefault(name, [])
            if not past or past[-1][1] != node:
                past.append((self._world.now_us, node))
        self.told(body, answer)
        answered(answer)


def _name(claim: Claim) -> Named:
    return Named(*claim.uid, *claim.replica)


class ObservedLedger(LedgerBook):
    """Claims as published; only what the binder decided by itself is judged."""

    def __init__(self, promises: Promises, nodes: NodeBook, desk: ServerDesk) -> None:
        super().__init__(promises, nodes, is_gang_atomic=False)
        self._desk = desk
        self._classes: dict[tuple[Uid, Replica], ClassSpec] = {}
        """What each claim demands, as it was when the claim was made."""
        self._objects: dict[tuple[Uid, Replica], int] = {}
        """The object that each claim is for."""
        self._former: set[tuple[Uid, Replica]] = set()
        """Claims of units that have ended, whose keys name others by now."""

    def begin_again(self, key: str) -> None:
        """A unit has ended when the eviction of its objects is taken; their room is held on."""
        book = self.unit_of(key)
        going = {r: c for r, c in book.claims.items() if c.state == ClaimState.TERMINATING}
        for replica in going:
            del book.claims[replica]
        super().begin_again(key)
        uid = uid_of(key)
        self.unit(uid).claims.update(going)
        self._former.update((uid, replica) for replica in going)

    def apply(self, rows: list[Claim], *, is_all_seen: bool = True) -> None:
        """Apply claims in order; what one commit decided is judged against all it then charges."""
        before = {row.node: self._charged(row.node) for row in rows}
        decided: set[str] = set()
        for row in rows:
            book = self.unit(row.uid)
            known = book.claims.pop(row.replica, None)
            if row.state == ClaimState.FREE:
                if known is None:
                    raise Broken("freed at most once", f"{row.replica} is free already", row.uid)
                is_on = self._desk.is_on(known, self._objects.pop((row.uid, row.replica), 0))
                if is_on and not self._is_renamed(known):
                    seen = f"{row.replica} is bound to {known.node}, the ledger has freed it"
                    raise Broken("room is held until its object is gone", seen, row.uid)
                if (row.uid, row.replica) not in self._former:
                    book.ended[row.replica] = known.revision
                self._former.discard((row.uid, row.replica))
                continue
            # A gang of a former leader was decided by that one, others may have come since.
            is_recorded = self._desk.is_recorded(row.uid, row.replica, row.node)
            if known is None and row.state == ClaimState.COMMITTING and not is_recorded:
                self._check_decision(row)
                decided.add(row.node)
            if row.state == ClaimState.BOUND:
                self._check_recorded(row, is_recorded=is_recorded)
            book.claims[row.replica] = row
            if known is None:
                self._objects[row.uid, row.replica] = self._desk.object_of(row)
            if known is None or known.revision != row.revision:
                self._classes[row.uid, row.replica] = self._class(row)
        for name in sorted(decided):
            self._check_room(name, before[name])

    def replace(self, changes: LedgerChanges) -> None:
        """A new binder knows nothing until it has listed."""
        for book in self.units.values():
            book.claims.clear()
        self._former.clear()
        self.apply(claims_of(changes))

    def _is_renamed(self, claim: Claim) -> bool:
        """Whether the object of a claim is charged under its own name from now on."""
        single = self._desk.single_of(claim)
        uid = single.uid_hi, single.uid_lo
        return uid != claim.uid and (single.group, single.ordinal) in self.unit(uid).claims

    def _check_recorded(self, row: Claim, *, is_recorded: bool) -> None:
        """Without an object a replica is bound once its record says so, as long as it is wanted."""
        if not is_recorded and self._desk.is_alone(row.uid) and self._desk.is_wanted(row.uid):
            raise Broken("bound means recorded", f"{row.replica} on {row.node}", row.uid)

    def _check_decision(self, row: Claim) -> None:
        spec = self.groups(row.uid, row.revision)[row.group]
        nodes = self._desk.recent(row.node)
        if not any(room.is_allowed(node, spec.klass, spec.pin) for node in nodes):
            raise Broken("claims fit their node", f"{row.node} is not for its class", row.uid)
        if row.uid in self.told_cancelled:
            raise Broken("cancelled never bound", f"claims {row.node}", row.uid)

    def _charged(self, name: str) -> Counter[str]:
        """What the ledger holds on a node, be it decided or shown."""
        used: Counter[str] = Counter()
        for uid, book in self.units.items():
            for replica, claim in book.claims.items():
                if claim.node == name:
                    used.update(room.demand_of(self._classes[uid, replica]))
        return used

    def _class(self, claim: Claim) -> ClassSpec:
        """What was asked for; of objects that nobody asked us for, what they say."""
        promise = self._promises.by_uid.get(claim.uid)
        groups = promise.contents.get(claim.revision, ()) if promise is not None else ()
        if claim.group < len(groups):
            return groups[claim.group].klass
        return self._desk.class_of(claim.uid, claim.replica)

    def _check_room(self, name: str, before: Counter[str]) -> None:
        """Of what a decision adds to, everything that the binder knows of fits the node as it was
        of late. What others bind, or a node that shrinks, fills a node without our doing."""
        used = self._charged(name)
        grown = {r: used[r] for r in sorted(used) if used[r] > before[r]}
        for node in self._desk.recent(name):
            offers = room.allocatable_of(node)
            if all(amount <= offers.get(resource, 0) for resource, amount in grown.items()):
                return
        raise Broken("no node over capacity by our doing", f"{name}: {dict(used)}")


class ObservedAuditor(Auditor):
    """The auditor of a history on the second home."""

    def __init__(self, desk: ServerDesk) -> None:
        super().__init__(is_gang_atomic=False)
        self._desk = desk
        desk.told = self.nodes.answered
        self.ledger = ObservedLedger(self.promises, self.nodes, desk)
        self.ledger.told_cancelled = self.watch.cancelled
        self.links = LinkBook(self.ledger)
        self.links.may_skip_numbers = True

    def is_over(self, promise: Promise) -> bool:
        """Whether a unit has ended: the API server has it no more."""
        return not self._desk.is_wanted(uid_of(promise.key))

    def performed(self, node: Node, effect: Any) -> None:
        """See node.Ear; a unit that a client is told of has been made."""
        if isinstance(effect, Answer) and node.role == "dispatcher":
            body = self.asked(node, effect.token)
            refused = dict(effect.body.refused) if isinstance(effect.body, Acks) else None
            if isinstance(body, Submit) and refused is not None:
                for item, key in enumerate(body.keys):
                    if item not in refused and not self._desk.was_made(key):
                        raise Broken("acked implies durable", "was never made", key)
        super().performed(node, effect)

    def _note_rebirths(self, node: Node, body: Any) -> None:
        """A key is used once."""

    def started(self, node: Node) -> None:
        """See node.Ear; nodes and units are the API server's: neither has any to remember."""
        if node.role == "binder":
            self.ledger.replace(node.core.ledger())
        elif node.role == "dispatcher":
            self.watch.listed(node.core.units_whole(""))
        else:
            super().started(node)
