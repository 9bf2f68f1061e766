"""Units whose replicas are no objects: they are placed, and ended, by one write of their record.

What the record says of a replica is shown on as a view of an object that is not there, so that the
ledger follows it like any other: not in the record is PENDING, a member is BOUND, DONE or FAILED.
"""

from __future__ import annotations

import msgspec

from cell.home import (
    GangRecord,
    HomeUnit,
    Member,
    ObjectState,
    ObjectView,
    RecordView,
    Replica,
)
from cell.reasons import Reason

Uid = tuple[int, int]
_ENDED = {
    Reason.REPORTED_DONE: ObjectState.DONE,
    Reason.REPORTED_FAILED: ObjectState.FAILED,
    Reason.NODE_GONE: ObjectState.FAILED,
}
"""How a replica ends for good; else it is as if it had never been placed."""


def is_finished(unit: HomeUnit) -> bool:
    """Whether a unit's record says that it is done, or has failed and holds nothing any more."""
    record = unit.kept.record if unit.kept is not None else None
    states = [member.state for member in record.members] if record is not None else []
    if not states or ObjectState.BOUND in states:
        return False
    count = sum(group.count for group in unit.groups)
    return ObjectState.FAILED in states or len(states) >= count


class RecordedUnit(msgspec.Struct):
    """One such unit; `members` as its record is known to have them at `version`."""

    unit: HomeUnit
    version: int = 0
    attempt: int = 0
    handle: int = 0
    members: dict[Replica, Member] = {}
    wanted: dict[Replica, Member | None] = {}
    """What is not known to be in the record; None: out of it."""
    sent: GangRecord | None = None
    """What is written over `version`, while that has not been answered."""
    is_doubtful: bool = False
    """Whether a write over `version` may yet be applied though its answer is lost."""

    @property
    def uid(self) -> Uid:
        """The unit."""
        return self.unit.uid_hi, self.unit.uid_lo

    @property
    def name(self) -> Replica:
        """What calls about its record are named by."""
        return Replica(*self.uid)

    @property
    def replicas(self) -> list[Replica]:
        """All of them."""
        return [
            Replica(*self.uid, group, ordinal)
            for group, spec in enumerate(self.unit.groups)
            for ordinal in range(spec.count)
        ]

    @property
    def placing(self) -> list[Replica]:
        """Replicas that are to be placed, and are not known to be."""
        return [
            replica
            for replica, wanted in self.wanted.items()
            if wanted is not None and wanted.state is ObjectState.BOUND
        ]

    def record(self) -> GangRecord:
        """What is to be written: all that is known, with what is wanted."""
        members = {**self.members, **self.wanted}
        return GangRecord(
            uid_hi=self.unit.uid_hi,
            uid_lo=self.unit.uid_lo,
            revision=self.unit.revision,
            attempt=self.attempt,
            handle=self.handle,
            minima=(),
            members=tuple(member for _, member in sorted(members.items()) if member is not None),
            key=self.unit.key,
        )

    def end(self, replica: Replica, reason: Reason) -> None:
        """A replica is to hold no room: how it ended stays in the record, if it has run.

        1. A node is gone, and that its replicas failed is being written. 2. That one of them is
        done is reported: it has ended once.
        """
        member, wanted = self.members.get(replica), self.wanted.get(replica)
        state = _ENDED.get(reason)
        if wanted is not None and wanted.state is not ObjectState.BOUND:
            return
        self.wanted[replica] = None
        if member is not None and state is not None:
            self.wanted[replica] = msgspec.structs.replace(member, state=state)

    def take(self, kept: RecordView) -> list[Replica]:
        """The record at a newer version. Whatever was written over the former one is in it, or
        never will be. Returns the replicas that are out of it as was wanted."""
        record = kept.record
        self.version, self.sent, self.is_doubtful = kept.version, None, False
        found = {
            Replica(*self.uid, member.group, member.ordinal): member
            for member in (record.members if record else ())
        }
        self.members = {name: found[name] for name in self.replicas if name in found}
        done = [name for name in self.wanted if self._is_so(name)]
        return [name for name in done if self.wanted.pop(name) is None]

    def _is_so(self, replica: Replica) -> bool:
        """Whether what is wanted of a replica is so; where it is placed, others may be faster."""
        wanted, member = self.wanted[replica], self.members.get(replica)
        is_placing = wanted is not None and wanted.state is ObjectState.BOUND
        return wanted == member or (is_placing and member is not None)

    def view(
        self, replica: Replica, before: ObjectView | None, *, is_new: bool
    ) -> ObjectView | None:
        """The replica as an object, if it is another than `before`. One that loses its place, or
        gets another, is a new object."""
        member = self.members.get(replica)
        state, node = ObjectState.PENDING, ""
        if member is not None:
            state, node = member.state, member.node
        if before is not None and not is_new and (before.state, before.node) == (state, node):
            return None
        is_next = before is not None and (
            before.state is ObjectState.PENDING
            or (before.state is ObjectState.BOUND and before.node == node)
        )
        object_uid = before.object if before and is_next and not is_new else self.version
        return ObjectView(
            replica=replica,
            object=object_uid,
            version=self.version,
            state=state,
            node=node,
            revision=self.unit.revision,
            klass=self.unit.groups[replica.group].klass,
        )
