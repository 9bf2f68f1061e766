"""Gangs whose members arrive one by one: a unit waits for them, then joins the others that wait.

The unit exists from its first member on; when it is whole its groups are the members of like class
and pin, in order of their names. An incomplete gang fails with GANG_INCOMPLETE after its time-out.
Which replica is which member is kept for as long as the unit is known.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import msgspec
import numpy as np

from cell.classes import ClassSpec
from cell.messages import Join, Member, UidRows
from cell.names import UNSHOWABLE, is_showable
from cell.reasons import Reason, Refusal, Status, text
from cell.requirements import BadSpec
from cell.unit import GROUPS_MAX, KEY_BYTES_MAX, PRIORITY_MAX, REPLICAS_MAX, uid_of
from dispatcher.codes import Phase, State
from dispatcher.config import DispatcherConfig
from dispatcher.dictionary import NONE
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.records import Defs, Expired, GroupRows, Joined
from dispatcher.requests import NAME_BYTES_MAX, Refused, check_count
from dispatcher.table import Table

Uid = tuple[int, int]
Seat = tuple[int, int, str]
"""(group, ordinal, member's name)."""


class Gang(msgspec.Struct):
    """A gang; `deadline_us` is 0 once it is whole."""

    size: int
    timeout_ms: int
    priority: int
    deadline_us: int
    members: dict[str, Member]

    @property
    def is_whole(self) -> bool:
        """Whether all members are here."""
        return len(self.members) == self.size


class Gangs:
    """All gangs that are known, by uid of their unit."""

    def __init__(
        self, table: Table, lifecycle: Lifecycle, news: News, config: DispatcherConfig
    ) -> None:
        self._table = table
        self._lifecycle = lifecycle
        self._news = news
        self._config = config
        self._gangs: dict[Uid, Gang] = {}
        self._deadlines: list[tuple[int, Uid]] = []
        """A heap of when incomplete gangs fail."""

    def join(self, now_us: int, body: Join) -> tuple[Refused, Joined | None]:
        """Take members; returns who was refused, and the record."""
        check_count("members", len(body.members))
        refused: Refused = {}
        taken: list[Member] = []
        age = self._table.age
        for i, member in enumerate(body.members):
            refusal = _fault(self._table, self._config, member) or self._conflict(member)
            if refusal is not None:
                refused[i] = refusal
            elif self._join(now_us, member):
                taken.append(member)
        if not taken:
            return refused, None
        defs = Defs(self._table.classes.cut(), self._table.names.cut())
        return refused, Joined(now_us, age, tuple(taken), defs)

    def replay_join(self, record: Joined) -> None:
        """Apply a record."""
        self._table.age = record.age
        for member in record.members:
            self._join(record.at_us, member)

    def expire(self, now_us: int) -> Expired | None:
        """Fail the gangs whose time is over; returns the record."""
        uids = []
        while self._deadlines and self._deadlines[0][0] <= now_us:
            deadline_us, uid = heapq.heappop(self._deadlines)
            gang, handle = self._gangs.get(uid), self._find(uid)
            # The unit may be over, and its key in use by another gang.
            if gang is None or gang.deadline_us != deadline_us or handle < 0:
                continue
            if self._table.units.state[handle] == State.GATHERING:
                uids.append(uid)
        if not uids:
            return None
        rows = UidRows.of(uid_hi=[hi for hi, _ in uids], uid_lo=[lo for _, lo in uids])
        self._expire(now_us, rows)
        return Expired(now_us, rows)

    def replay_expired(self, record: Expired) -> None:
        """Apply a record."""
        self._expire(record.at_us, record.rows)

    def sweep(self) -> None:
        """Forget gangs whose units are not known any more."""
        if len(self._gangs) > 2 * max(1024, self._table.count):
            self._gangs = {u: gang for u, gang in self._gangs.items() if self._find(u) >= 0}

    def next_at_us(self) -> int:
        """When the next gang's time is over; 0 for never."""
        return self._deadlines[0][0] if self._deadlines else 0

    def seats(self, uid: Uid) -> list[Seat]:
        """Which replica is which member of a gang that is whole."""
        gang = self._gangs.get(uid)
        if gang is None or not gang.is_whole:
            return []
        return [
            (g, ordinal, name)
            for g, names in enumerate(_likes(gang).values())
            for ordinal, name in enumerate(names)
        ]

    def kept(self) -> tuple[tuple[int, tuple[Member, ...]], ...]:
        """All gangs for a snapshot, in order of uid."""
        known = [uid for uid in sorted(self._gangs) if self._find(uid) >= 0]
        return tuple(
            (self._gangs[uid].deadline_us, tuple(self._gangs[uid].members.values()))
            for uid in known
        )

    def take_kept(self, kept: Iterable[tuple[int, tuple[Member, ...]]]) -> None:
        """Take over the gangs of a snapshot."""
        for deadline_us, members in kept:
            first = members[0]
            by_name = {member.name: member for member in members}
            uid = uid_of(first.gang)
            self._gangs[uid] = Gang(
                first.size, first.timeout_ms, first.priority, deadline_us, by_name
            )
            if deadline_us:
                heapq.heappush(self._deadlines, (deadline_us, uid))

    def _conflict(self, member: Member) -> Refusal | None:
        """What stands against a member that is valid by itself."""
        uid = uid_of(member.gang)
        handle, gang = self._find(uid), self._gangs.get(uid)
        if handle < 0:
            return self._over_limit(member)
        if gang is None:
            return Refusal(Status.ALREADY_EXISTS, "gang", "is the key of a unit without members")
        if (member.size, member.timeout_ms, member.priority) != (
            gang.size,
            gang.timeout_ms,
            gang.priority,
        ):
            reason = "size, time-out and priority are not those of the gang"
            return Refusal(Status.INVALID_ARGUMENT, "size", reason)
        known = gang.members.get(member.name)
        if known is not None:
            if known == member:
                return None
            return Refusal(Status.ALREADY_EXISTS, "name", "has joined with other content")
        if self._table.units.state[handle] != State.GATHERING:
            return Refusal(Status.FAILED_PRECONDITION, "gang", "does not wait for members any more")
        likes = {(m.klass, m.pin) for m in gang.members.values()} | {(member.klass, member.pin)}
        if len(likes) > GROUPS_MAX:
            reason = f"more than {GROUPS_MAX} kinds of members in one gang"
            return Refusal(Status.INVALID_ARGUMENT, "class", reason)
        return None

    def _over_limit(self, member: Member) -> Refusal | None:
        config, table = self._config, self._table
        if (
            len(self._deadlines) >= config.gangs_max
            or table.live_count >= config.units_max
            or table.replica_count + member.size > config.replicas_max
        ):
            reason = "too many units or incomplete gangs are waiting"
            return Refusal(Status.RESOURCE_EXHAUSTED, "gang", reason, config.retry_after_ms)
        return None

    def _join(self, now_us: int, member: Member) -> bool:
        """Take a member that nothing stands against; returns whether it is new."""
        uid = uid_of(member.gang)
        handle = self._find(uid)
        if handle < 0:
            handle = self._begin(now_us, uid, member)
        gang = self._gangs[uid]
        if member.name in gang.members:
            return False
        gang.members[member.name] = member
        if gang.is_whole:
            self._complete(now_us, handle, gang)
        return True

    def _begin(self, now_us: int, uid: Uid, member: Member) -> int:
        """A unit that stands for the gang until it is whole."""
        deadline_us = now_us + member.timeout_ms * 1_000
        gang = Gang(member.size, member.timeout_ms, member.priority, deadline_us, {})
        self._gangs[uid] = gang
        heapq.heappush(self._deadlines, (deadline_us, uid))
        key = np.empty(1, object)
        key[0] = member.gang
        groups = _rows(self._table, {(member.klass, member.pin): [""] * member.size})
        handles = self._table.add(
            key,
            np.array([uid[0]], np.uint64),
            np.array([uid[1]], np.uint64),
            np.array([member.priority], np.int32),
            now_us,
            groups,
            np.ones(1, np.int64),
        )
        self._table.units.state[handles] = State.GATHERING
        self._table.units.reason[handles] = Reason.WAITING_FOR_MEMBERS
        self._table.whys[handles] = text(Reason.WAITING_FOR_MEMBERS)
        self._news.units(handles, Phase.WAITING, Reason.WAITING_FOR_MEMBERS)
        return int(handles[0])

    def _complete(self, now_us: int, handle: int, gang: Gang) -> None:
        """All members are here: the unit waits like others."""
        table, one = self._table, np.array([handle], np.int64)
        gang.deadline_us = 0
        groups = _rows(table, _likes(gang))
        table.drop_content(one)
        table.set_content(one, groups, np.array([len(groups)], np.int64))
        table.units.state[one] = State.LOOSE
        table.units.reason[one] = Reason.NONE
        table.whys[one] = ""
        self._news.units(one, Phase.WAITING)
        self._lifecycle.review(now_us, one)

    def _expire(self, now_us: int, rows: UidRows) -> None:
        handles = self._table.find(rows.uid_hi, rows.uid_lo)
        handles = handles[handles >= 0]
        gathering = handles[self._table.units.state[handles] == State.GATHERING]
        if len(gathering):
            self._lifecycle.fail(now_us, gathering, Reason.GANG_INCOMPLETE)

    def _find(self, uid: Uid) -> int:
        hi, lo = np.array([uid[0]], np.uint64), np.array([uid[1]], np.uint64)
        return int(self._table.find(hi, lo)[0])


def _likes(gang: Gang) -> dict[tuple[ClassSpec, str], list[str]]:
    """Names of members by class and pin: groups in order of their first names."""
    likes: dict[tuple[ClassSpec, str], list[str]] = {}
    for name in sorted(gang.members):
        member = gang.members[name]
        likes.setdefault((member.klass, member.pin), []).append(name)
    return likes


def _rows(table: Table, likes: dict[tuple[ClassSpec, str], list[str]]) -> GroupRows:
    """The groups of a gang; classes are valid by now."""
    counts = [len(names) for names in likes.values()]
    return GroupRows.of(
        klass=[_number(table, klass) for klass, _ in likes],
        count=counts,
        min=counts,
        pin=[table.names.number(pin) if pin else NONE for _, pin in likes],
        role=NONE,
    )


def _number(table: Table, klass: ClassSpec) -> int:
    number = table.classes.of(klass)
    assert isinstance(number, int), "members are checked before they are taken"
    return number


def _fault(table: Table, config: DispatcherConfig, member: Member) -> Refusal | None:
    """What is wrong with a member by itself."""
    klass = table.classes.of(member.klass)
    limit_ms = config.gang_timeout_ms_max
    checks = (
        (0 < len(member.gang.encode()) <= KEY_BYTES_MAX, "gang", "needs 1 to 253 bytes"),
        (0 < len(member.name.encode()) <= KEY_BYTES_MAX, "name", "needs 1 to 253 bytes"),
        (is_showable(member.gang), "gang", UNSHOWABLE),
        (is_showable(member.name), "name", UNSHOWABLE),
        (0 < member.size <= REPLICAS_MAX, "size", f"is outside 1 to {REPLICAS_MAX}"),
        (0 < member.timeout_ms <= limit_ms, "timeout_ms", f"is outside 1 to {limit_ms}"),
        (abs(member.priority) <= PRIORITY_MAX, "priority", f"is outside ±{PRIORITY_MAX:,}"),
        (len(member.pin.encode()) <= NAME_BYTES_MAX, "pin", f"is above {NAME_BYTES_MAX} bytes"),
    )
    for is_well, field, reason in checks:
        if not is_well:
            return Refusal(Status.INVALID_ARGUMENT, field, reason)
    if isinstance(klass, BadSpec):
        return Refusal(Status.INVALID_ARGUMENT, f"class.{klass.field}", klass.reason)
    return None
