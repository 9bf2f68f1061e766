"""Gangs on their way through the API-server home: written, posted, completed or evicted.

A gang's record is its commit point: written before the first Post, removed when the minima are
bound. A gang that misses a minimum `gang_repair_ms_max` after its commit is evicted whole.

    WRITING ─written─► POSTING ─minima bound─► REMOVING ─removed─► (forgotten)
       │                  └─repair time over─► EVICTING ─all gone─► REMOVING
       └─refused─► (forgotten, room given back)
"""

from __future__ import annotations

from enum import Enum

import msgspec

from cell.home import GangRecord, Replica

Uid = tuple[int, int]


class Phase(Enum):
    """See the module."""

    WRITING = 0
    POSTING = 1
    EVICTING = 2
    REMOVING = 3


class Gang(msgspec.Struct):
    """One gang; `version` is the record's, `open` are members whose fate is not known yet."""

    record: GangRecord
    phase: Phase = Phase.WRITING
    version: int = 0
    deadline_us: int = 0
    open: set[Replica] = set()
    bound: set[Replica] = set()
    is_evicted: bool = False

    @property
    def uid(self) -> Uid:
        """The unit."""
        return self.record.uid_hi, self.record.uid_lo

    @property
    def name(self) -> Replica:
        """What calls about its record are named by."""
        return Replica(*self.uid)

    @property
    def members(self) -> dict[Replica, tuple[int, str]]:
        """Object and node of each member, by name."""
        return {
            Replica(*self.uid, member.group, member.ordinal): (member.object, member.node)
            for member in self.record.members
        }

    @property
    def is_held(self) -> bool:
        """Whether all minima are bound, or have been, and are not to be evicted."""
        return not self.is_evicted and all(
            sum(replica.group == group for replica in self.bound) >= minimum
            for group, minimum in self.record.minima
        )

    def settle(self, replica: Replica, *, is_bound: bool) -> None:
        """A member is bound, or will never be."""
        self.open.discard(replica)
        if is_bound:
            self.bound.add(replica)
