"""Units without objects, as their records say: what is written is whole, once, and charged.

Rules here: what a write places is charged by the binder that wrote it; a replica gets one node and
stays in the record, with its end; a gang's minima are there from the first write on; nothing of a
unit that was told to have ended is placed.
"""

from __future__ import annotations

from collections import Counter

from cell.home import HomeUnit, Member, ObjectState
from tests.simulation.auditor import Auditor
from tests.simulation.ledger_book import Replica, Uid
from tests.simulation.world import Broken


class RecordBook:
    """See the module."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._known: dict[Uid, dict[Replica, Member]] = {}

    def wrote(self, unit: HomeUnit, life: int, leader: int) -> None:
        """A record was written, in that life of the binder; `leader` is the one that runs."""
        uid = unit.uid_hi, unit.uid_lo
        record = unit.kept.record if unit.kept is not None else None
        members = {(m.group, m.ordinal): m for m in (record.members if record else ())}
        if record is not None and len(members) != len(record.members):
            raise Broken("bound at most once", f"{record.members}", uid)
        before, self._known[uid] = self._known.get(uid, {}), members
        for replica, member in members.items():
            known = before.get(replica)
            if known is None:
                self._placed(uid, replica, member, is_charged=life == leader)
            elif known.node != member.node or known.state > member.state:
                raise Broken("bound at most once", f"{known} is {member}", uid)
        if not before.keys() <= members.keys():
            raise Broken("ended replicas stay ended", f"{before} is {members}", uid)
        self._check_gang(unit, members)

    def _placed(self, uid: Uid, replica: Replica, member: Member, *, is_charged: bool) -> None:
        if uid in self._auditor.watch.cancelled:
            raise Broken("cancelled never bound", f"recorded on {member.node}", uid)
        claim = self._auditor.ledger.unit(uid).claims.get(replica)
        if is_charged and (claim is None or claim.node != member.node):
            seen = f"{member} is recorded, the ledger has {claim}"
            raise Broken("room is charged until the home has answered", seen, uid)

    def _check_gang(self, unit: HomeUnit, members: dict[Replica, Member]) -> None:
        """All minima are there, or nothing is."""
        have = Counter(group for group, _ in members)
        for group, spec in enumerate(unit.groups):
            if members and have[group] < spec.min:
                raise Broken("gang whole", f"records {dict(have)}", (unit.uid_hi, unit.uid_lo))

    def holds(self, uid: Uid) -> dict[Replica, str]:
        """Where the replicas of a unit hold room."""
        return {
            replica: member.node
            for replica, member in self._known.get(uid, {}).items()
            if member.state is ObjectState.BOUND
        }
