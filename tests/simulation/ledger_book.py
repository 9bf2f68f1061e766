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
from cell.unit import GroupSpec, uid_of
from tests.simulation import room
from tests.simulation.node_book import NodeBook
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

    @property
    def replica(self) -> Replica:
        """Which of its unit's replicas it is for."""
        return self.group, self.ordinal


@dataclass
class UnitBook:
    """What the ledger has said about one unit."""

    claims: dict[Replica, Claim] = field(default_factory=dict)
    ended: dict[Replica, int] = field(default_factory=dict)
    """Replicas that were bound and then freed, with the revision they had."""
    revision_max: int = 0
    fence: int = 0
    """Revisions below may not bind any more: the binder said so."""
    is_cancelled: bool = False
    is_end_told: bool = False
    """A settlement has told of a replica's end, be its claim seen or not."""


class LedgerBook:
    """The ledger according to the auditor."""

    def __init__(self, promises: Promises, nodes: NodeBook, *, is_gang_atomic: bool) -> None:
        self._promises = promises
        self._is_gang_atomic = is_gang_atomic
        self.nodes = nodes
        self.told_cancelled: set[Uid] = set()
        self.units: dict[Uid, UnitBook] = {}
        self.used: dict[str, Counter[str]] = {}
        self.stamp = (0, 0)

    def unit(self, uid: Uid) -> UnitBook:
        """The book of a unit."""
        book = self.units.get(uid)
        if book is None:
            book = self.units[uid] = UnitBook()
        return book

    def unit_of(self, key: str) -> UnitBook:
        """The book of a unit by its key."""
        return self.unit(uid_of(key))

    def begin_again(self, key: str) -> None:
        """The key names a new unit from now on: its old one has ended."""
        book = self.units.pop(uid_of(key), None)
        if book is not None and book.claims:
            raise Broken("a key is free once its unit has ended", f"holds {len(book.claims)}", key)

    def free(self) -> dict[str, room.Amounts]:
        """What each node has left."""
        left = {}
        for node in self.nodes.specs():
            used = self.used.get(node.name, Counter())
            offers = room.allocatable_of(node)
            left[node.name] = {resource: offers[resource] - used[resource] for resource in offers}
        return left

    def claims(self) -> dict[tuple[Uid, int, int], Claim]:
        """All claims by name."""
        return {
            (uid, *replica): claim
            for uid, book in self.units.items()
            for replica, claim in book.claims.items()
        }

    def take(self, changes: LedgerChanges) -> None:
        """One commit of the binder: apply it whole, then check it."""
        stamp = (changes.term, changes.generation)
        if stamp < self.stamp:
            raise Broken("generations in order", f"{stamp} published after {self.stamp}")
        self.stamp = stamp
        self.apply(claims_of(changes))

    def apply(self, rows: list[Claim], *, is_all_seen: bool = True) -> None:
        """Apply claims in order; frees and adds of one commit are judged together.

        Of several commits only the sum may be seen: a gang is bound, a node of it goes, and the
        binder dies before it told of either. Then its minima are not judged.
        """
        before = {row.node: Counter(self.used.get(row.node, Counter())) for row in rows}
        placed: dict[Uid, None] = {}
        for row in rows:
            if row.state == ClaimState.FREE:
                self._free(row)
            elif self._claim(row):
                placed[row.uid] = None
        for name in sorted(before):
            self._check_capacity(name, before[name])
        for uid in placed if is_all_seen else ():
            self.check_gang(uid)

    def replace(self, changes: LedgerChanges) -> None:
        """The binder has restarted, this is its ledger: what differs was committed in between."""
        rows = claims_of(changes)
        now = {(row.uid, *row.replica): row for row in rows}
        if len(now) != len(rows):
            raise Broken("bound at most once", "a restarted ledger names a replica twice")
        known = self.claims()
        moved = [
            claim
            for name, claim in known.items()
            if name not in now
            or (now[name].node != claim.node and now[name].revision > claim.revision)
        ]
        frees = [
            Claim(c.uid, c.revision, c.group, c.ordinal, c.node, ClaimState.FREE) for c in moved
        ]
        changed = [row for name, row in now.items() if known.get(name) != row]
        self.apply(frees + changed, is_all_seen=False)

    def check_gang(self, uid: Uid) -> None:
        """All minima or nothing: what was bound and has ended since counts."""
        book = self.units[uid]
        if not self._is_gang_atomic or not book.claims:
            return
        have = Counter(group for group, _ in {*book.claims, *book.ended})
        for group, spec in enumerate(self.groups(uid, book.revision_max)):
            if have[group] < spec.min:
                seen = f"group {group} has {have[group]} of at least {spec.min} replicas"
                raise Broken("gang whole", seen, uid)

    def groups(self, uid: Uid, revision: int) -> tuple[GroupSpec, ...]:
        """The content of a revision; a claim for content nobody asked for is a finding."""
        promise = self._promises.by_uid.get(uid)
        if promise is None or revision not in promise.contents:
            raise Broken("claims are for what was asked", f"revision {revision}", uid)
        return promise.contents[revision]

    def _charge(self, claim: Claim, sign: int) -> None:
        spec = self.groups(claim.uid, claim.revision)[claim.group]
        used = self.used.setdefault(claim.node, Counter())
        for name, amount in room.demand_of(spec.klass).items():
            used[name] += sign * amount

    def _free(self, row: Claim) -> None:
        book = self.unit(row.uid)
        claim = book.claims.pop(row.replica, None)
        if claim is None:
            seen = f"replica {row.group}/{row.ordinal} is free already"
            raise Broken("freed at most once", seen, row.uid)
        self._charge(claim, -1)
        book.ended[row.replica] = claim.revision

    def _claim(self, row: Claim) -> bool:
        """Apply a claim that is new or changed; returns whether it took a place it had not."""
        book = self.unit(row.uid)
        before = book.claims.get(row.replica)
        if before is not None and before.node == row.node and before.revision == row.revision:
            book.claims[row.replica] = row
            return False
        self._check_claim(book, row, before)
        groups = self.groups(row.uid, row.revision)
        if row.group >= len(groups) or row.ordinal >= groups[row.group].count:
            seen = f"replica {row.group}/{row.ordinal}"
            raise Broken("claims are for what was asked", seen, row.uid)
        spec = groups[row.group]
        if before is not None:
            self._charge(before, -1)
        elif not self.nodes.allows(
            row.node, lambda node: room.is_allowed(node, spec.klass, spec.pin)
        ):
            raise Broken("claims fit their node", f"{row.node} is not for its class", row.uid)
        if before is None and row.revision > book.revision_max:
            # Bound anew: what ended under older revisions was released.
            book.ended.clear()
        book.revision_max = max(book.revision_max, row.revision)
        book.claims[row.replica] = row
        self._charge(row, +1)
        return before is None

    def _check_claim(self, book: UnitBook, row: Claim, before: Claim | None) -> None:
        if before is not None and before.node != row.node:
            seen = f"{row.group}/{row.ordinal} on {before.node} and on {row.node}"
            raise Broken("bound at most once", seen, row.uid)
        if before is None and book.ended.get(row.replica) == row.revision and self._is_gang_atomic:
            seen = f"{row.group}/{row.ordinal} has ended and is bound again on {row.node}"
            raise Broken("bound at most once", seen, row.uid)
        if row.revision < max(book.revision_max, book.fence):
            seen = f"{row.revision} after {max(book.revision_max, book.fence)}"
            raise Broken("older revision never after newer", seen, row.uid)
        if book.is_cancelled or (before is None and row.uid in self.told_cancelled):
            raise Broken("cancelled never bound", f"claims {row.node}", row.uid)
        if before is None and not self.nodes.allows(row.node, lambda node: True):
            raise Broken("claims fit their node", f"{row.node} is not there", row.uid)

    def _check_capacity(self, name: str, before: Counter[str]) -> None:
        """What grew in this commit fits; a node that shrank under its claims is not our doing."""
        used = self.used.get(name, Counter())
        grown = {r: used[r] for r in sorted(used) if used[r] > before[r]}

        def has_room(node: NodeSpec) -> bool:
            offers = room.allocatable_of(node)
            return all(amount <= offers.get(resource, 0) for resource, amount in grown.items())

        if grown and not self.nodes.allows(name, has_room):
            raise Broken("no node over capacity by our doing", f"{name}: {dict(used)}")


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
