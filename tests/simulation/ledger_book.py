"""The auditor's copy of the ledger, kept from what the binder publishes, with the rules of claims.

Rules here: no node over capacity by our doing, every claim fits its node, bound at most once, gang
whole, older revision never after newer, cancelled never again, freed at most once, generations in
order. The copy is plain dictionaries; nothing is shared with the binder.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cell.messages import ClaimState, LedgerChanges
from cell.node import NodeSpec
from cell.unit import GroupSpec
from tests.simulation import room
from tests.simulation.promises import Promises
from tests.simulation.world import Broken

Uid = tuple[int, int]
Replica = tuple[int, int]
"""(group, ordinal)."""


@dataclass(frozen=True)
class Claim:
    """One claim as published."""

    uid: Uid
    revision: int
    group: int
    ordinal: int
    node: str
    state: int


@dataclass
class UnitBook:
    """What the ledger has said about one unit."""

    claims: dict[Replica, Claim] = field(default_factory=dict)
    ended: Counter[int] = field(default_factory=Counter)
    """Replicas per group that were bound and then freed at the present revision."""
    revision_max: int = 0
    fence: int = 0
    """Revisions below may not bind any more: the binder said so."""
    is_cancelled: bool = False


class LedgerBook:
    """The ledger according to the auditor."""

    def __init__(self, promises: Promises, *, is_gang_atomic: bool) -> None:
        self._promises = promises
        self._is_gang_atomic = is_gang_atomic
        self.nodes: dict[str, NodeSpec] = {}
        self.units: dict[Uid, UnitBook] = {}
        self.used: dict[str, Counter[str]] = {}
        self.stamp = (0, 0)

    def unit(self, uid: Uid) -> UnitBook:
        """The book of a unit."""
        return self.units.setdefault(uid, UnitBook())

    def free(self) -> dict[str, room.Amounts]:
        """What each node has left."""
        left = {}
        for name, node in self.nodes.items():
            used = self.used.get(name, Counter())
            offers = room.allocatable_of(node)
            left[name] = {resource: offers[resource] - used[resource] for resource in offers}
        return left

    def take(self, changes: LedgerChanges) -> None:
        """One commit of the binder: apply it whole, then check it."""
        stamp = (changes.term, changes.generation)
        if stamp < self.stamp:
            raise Broken("generations in order", f"{stamp} published after {self.stamp}")
        self.stamp = stamp
        self.apply(claims_of(changes))

    def apply(self, rows: list[Claim]) -> None:
        """Apply claims in order; frees and adds of one commit are judged together."""
        grown: set[str] = set()
        placed: set[Uid] = set()
        for row in rows:
            if row.state == ClaimState.FREE:
                self._free(row)
            elif self._claim(row, grown):
                placed.add(row.uid)
        for name in sorted(grown):
            self._check_capacity(name)
        for uid in sorted(placed):
            self.check_gang(uid)

    def replace(self, rows: list[Claim]) -> None:
        """The binder has restarted and this is its ledger: what differs was committed in between.
        """
        now = {(row.uid, row.group, row.ordinal): row for row in rows}
        if len(now) != len(rows):
            raise Broken("bound at most once", "a restarted ledger names a replica twice")
        changes = []
        for uid, book in self.units.items():
            for replica, claim in book.claims.items():
                if (uid, *replica) not in now:
                    changes.append(_freed(claim))
        changes += [row for key, row in now.items() if self._known(key) != row]
        self.apply(changes)

    def check_gang(self, uid: Uid) -> None:
        """All minima or nothing: what was bound and has ended since counts."""
        book = self.units[uid]
        if not self._is_gang_atomic or not book.claims:
            return
        for group, spec in enumerate(self.groups(uid, book.revision_max)):
            have = sum(1 for g, _ in book.claims if g == group) + book.ended[group]
            if have < spec.min:
                seen = f"group {group} has {have} of at least {spec.min} replicas"
                raise Broken("gang whole", seen, uid)

    def groups(self, uid: Uid, revision: int) -> tuple[GroupSpec, ...]:
        """The content of a revision; a claim for content nobody asked for is a finding."""
        promise = self._promises.by_uid.get(uid)
        if promise is None or revision not in promise.contents:
            raise Broken("claims are for what was asked", f"revision {revision}", uid)
        return promise.contents[revision]

    def _known(self, key: tuple[Uid, int, int]) -> Claim | None:
        return self.unit(key[0]).claims.get((key[1], key[2]))

    def _charge(self, claim: Claim, sign: int) -> None:
        spec = self.groups(claim.uid, claim.revision)[claim.group]
        used = self.used.setdefault(claim.node, Counter())
        for name, amount in room.demand_of(spec.klass).items():
            used[name] += sign * amount

    def _free(self, row: Claim) -> None:
        book = self.unit(row.uid)
        claim = book.claims.pop((row.group, row.ordinal), None)
        if claim is None:
            seen = f"replica {row.group}/{row.ordinal} is free already"
            raise Broken("freed at most once", seen, row.uid)
        self._charge(claim, -1)
        book.ended[row.group] += 1

    def _claim(self, row: Claim, grown: set[str]) -> bool:
        """Apply a claim that is new or changed; returns whether it took a place it had not."""
        book = self.unit(row.uid)
        replica = (row.group, row.ordinal)
        before = book.claims.get(replica)
        if before is not None and before.node == row.node and before.revision == row.revision:
            book.claims[replica] = row
            return False
        self._check_claim(book, row, before)
        if row.revision > book.revision_max:
            book.revision_max = row.revision
            book.ended.clear()
        spec = self.groups(row.uid, row.revision)[row.group]
        if not 0 <= row.ordinal < spec.count:
            raise Broken("claims are for what was asked", f"ordinal {row.ordinal}", row.uid)
        if before is not None:
            self._charge(before, -1)
        elif row.node in self.nodes and not room.is_allowed(
            self.nodes[row.node], spec.klass, spec.pin
        ):
            raise Broken("claims fit their node", f"{row.node} is not for its class", row.uid)
        book.claims[replica] = row
        self._charge(row, +1)
        grown.add(row.node)
        return before is None

    def _check_claim(self, book: UnitBook, row: Claim, before: Claim | None) -> None:
        if before is not None and before.node != row.node:
            seen = f"{row.group}/{row.ordinal} on {before.node} and on {row.node}"
            raise Broken("bound at most once", seen, row.uid)
        if row.revision < max(book.revision_max, book.fence):
            seen = f"{row.revision} after {max(book.revision_max, book.fence)}"
            raise Broken("older revision never after newer", seen, row.uid)
        if book.is_cancelled:
            raise Broken("cancelled never bound", f"claims {row.node}", row.uid)
        if row.node not in self.nodes:
            raise Broken("claims fit their node", f"{row.node} is not there", row.uid)

    def _check_capacity(self, name: str) -> None:
        used = self.used[name]
        offers = room.allocatable_of(self.nodes[name])
        for resource in sorted(used):
            if used[resource] > offers.get(resource, 0):
                seen = f"{name}: {resource} {used[resource]} of {offers.get(resource, 0)}"
                raise Broken("no node over capacity by our doing", seen)


def claims_of(changes: LedgerChanges) -> list[Claim]:
    """The rows of a published commit."""
    rows = changes.claims
    return [
        Claim((hi, lo), revision, group, ordinal, changes.nodes[node], state)
        for hi, lo, revision, group, ordinal, node, state in zip(
            rows.uid_hi.tolist(),
            rows.uid_lo.tolist(),
            rows.revision.tolist(),
            rows.group.tolist(),
            rows.ordinal.tolist(),
            rows.node.tolist(),
            rows.state.tolist(),
            strict=True,
        )
    ]


def _freed(claim: Claim) -> Claim:
    return Claim(
        claim.uid, claim.revision, claim.group, claim.ordinal, claim.node, ClaimState.FREE
    )
