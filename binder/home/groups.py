"""A gang of units that are one object each, as far as it is known; what is formed of it.

Used by `forming`. Pure: what is formed follows from the members' keys, so that a new leader, who
sees the same members, forms the same unit.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from cell.home import (
    GangPhase,
    GangRecord,
    GangState,
    HomeGang,
    HomeGroup,
    HomeUnit,
    ObjectState,
    ObjectView,
    Replica,
)
from cell.unit import uid_of

Uid = tuple[int, int]
Seats = dict[Uid, Replica]
BOUND_STATES = (ObjectState.BOUND, ObjectState.DONE, ObjectState.FAILED)


class Member(msgspec.Struct):
    """A unit of one object. `told` is the name under which the ledger knows the object, if any."""

    unit: HomeUnit
    view: ObjectView | None = None
    told: Replica | None = None
    said: str = ""
    """Why it is held back, as people were told last."""

    @property
    def single(self) -> Replica:
        """The object's own name."""
        return Replica(self.unit.uid_hi, self.unit.uid_lo)

    @property
    def is_waiting(self) -> bool:
        """Whether it could be bound."""
        is_pending = self.view is not None and self.view.state is ObjectState.PENDING
        return is_pending and not self.unit.is_over

    @property
    def is_bound(self) -> bool:
        """Whether it is bound and stays, or was until it ended by itself."""
        view = self.view
        return view is not None and view.node != "" and view.state in BOUND_STATES


class Group(msgspec.Struct):
    """One gang; `unit` is what was formed of the members in `seats`, the `turn`-th so far."""

    key: str
    spec: HomeGang | None = None
    uid: int = 0
    """Of the gang that had the key last."""
    members: dict[Uid, Member] = {}
    unit: HomeUnit | None = None
    seats: Seats = {}
    turn: int = 0
    formed_uid: int = 0
    """Of the gang for which `unit` was formed."""
    is_scheduled: bool = False
    """Members are units by themselves."""
    is_timed_out: bool = False
    shown: GangState | None = None

    @property
    def unit_uid(self) -> Uid:
        """That of the unit, (0, 0) while there is none."""
        return (self.unit.uid_hi, self.unit.uid_lo) if self.unit else (0, 0)

    def put(self, spec: HomeGang) -> None:
        """Take what is said of it; another gang of the key begins anew."""
        if self.uid != spec.uid:
            self.is_scheduled = self.is_timed_out = False
        self.uid = spec.uid
        self.spec = None if spec.is_over else spec
        self.is_scheduled |= spec.phase is GangPhase.SCHEDULED
        self.is_timed_out |= spec.phase is GangPhase.TIMEOUT

    def wanted(self, now_us: int) -> list[Uid]:
        """Who has to be seated now: those who sit already if they can stay, nobody if too few are
        there, if it is bound, or if it may not be bound (any more). Who was a unit by itself stays
        one: its claim may have ended under that name, which is then used up."""
        spec, members = self.spec, self.members
        if spec is None:
            return []
        bound = sum(member.is_bound for member in members.values())
        self.is_scheduled |= bound >= spec.min or spec.min <= 1
        self.is_timed_out |= bool(spec.deadline_us) and spec.deadline_us <= now_us
        if self.is_scheduled or self.is_timed_out or spec.refusal:
            return []
        needed = spec.min - bound
        waiting = {uid for uid, m in members.items() if m.is_waiting and m.told != m.single}
        if len(self.seats) == needed and self.seats.keys() <= waiting:
            return list(self.seats)
        if len(waiting) < needed:
            return []
        return sorted(waiting, key=lambda uid: members[uid].unit.key)[:needed]

    def form(self, uids: list[Uid]) -> tuple[HomeUnit, Seats]:
        """The unit that these members make, with the seat of each: like ones are one group."""
        members = [self.members[uid].unit for uid in uids]
        digest = blake2b(f"{self.uid} {self.turn}".encode(), digest_size=8)
        counts: dict[HomeGroup, int] = {}
        places: list[tuple[HomeGroup, int]] = []
        for member in members:
            digest.update(member.key.encode())
            group = member.groups[0]
            places.append((group, counts.get(group, 0)))
            counts[group] = counts.get(group, 0) + 1
        numbers = {group: i for i, group in enumerate(counts)}
        key = f"{self.key}/{digest.hexdigest()}"
        uid = uid_of(key)
        made = tuple(_all_of(group, count) for group, count in counts.items())
        unit = HomeUnit(*uid, key, priority=max(m.priority for m in members), groups=made)
        seats = [Replica(*uid, numbers[group], ordinal) for group, ordinal in places]
        return unit, dict(zip(uids, seats, strict=True))

    def formed_by(self, record: GangRecord) -> tuple[HomeUnit, Seats]:
        """The unit that a former leader has formed, as far as its members are still there."""
        uid = record.uid_hi, record.uid_lo
        seat_of = {m.object: Replica(*uid, m.group, m.ordinal) for m in record.members}
        found = {name: m for name, m in self.members.items() if m.view and m.view.object in seat_of}
        seats = {name: seat_of[m.view.object] for name, m in found.items() if m.view}
        groups = {seats[name].group: m.unit.groups[0] for name, m in found.items()}
        other = next(iter(groups.values()))
        counts = [0] * (1 + max(m.group for m in record.members))
        for member in record.members:
            counts[member.group] += 1
        made = tuple(_all_of(groups.get(i, other), count) for i, count in enumerate(counts))
        return HomeUnit(*uid, record.key, groups=made), seats

    def why_held(self) -> str:
        """Why a waiting member without a seat is held back, for people."""
        if self.spec is None:
            return f"there is no PodGroup {self.key.partition('/')[2]}"
        if self.is_timed_out:
            return "the time of its PodGroup is over"
        if self.spec.refusal:
            return f"its PodGroup cannot be placed: {self.spec.refusal}"
        if self.unit is not None:
            return f"waits until the first {self.spec.min} pods of its PodGroup are bound"
        state = self.state()
        return f"{state.ready} of {state.wanted} pods of its PodGroup can be placed"

    def state(self) -> GangState:
        """How it stands, for people."""
        members = self.members.values()
        ready = sum(member.is_waiting or member.is_bound for member in members)
        bound = sum(member.is_bound for member in members)
        least = self.spec.min if self.spec else 0
        if self.is_scheduled and (least > 1 or bound >= least):
            phase = GangPhase.SCHEDULED
        elif self.is_timed_out:
            phase = GangPhase.TIMEOUT
        else:
            is_free = self.spec is not None and not self.spec.refusal
            is_ready = self.unit is not None or (is_free and ready >= least)
            phase = GangPhase.PRE_SCHEDULING if is_ready else GangPhase.PENDING
        return GangState(self.key, phase, self.uid, ready, least)


def _all_of(group: HomeGroup, count: int) -> HomeGroup:
    return msgspec.structs.replace(group, count=count, min=count)
