"""Gangs whose members arrive one by one: a unit that waits for the rest of itself.

A gang is the unit whose key is its name. While members are missing it is GATHERING and in no queue;
with the last one it is a unit like any other; past its deadline it has failed with GANG_INCOMPLETE.
Members of a whole gang are remembered as long as its unit, so that one who joins again is acked.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from cell.classes import BadSpec
from cell.messages import Acks, Join, Member
from cell.reasons import Status
from cell.uid_index import ABSENT
from cell.unit import KEY_BYTES_MAX, PRIORITY_MAX, REPLICAS_MAX, uid_of
from dispatcher.columns import I64s
from dispatcher.config import DispatcherConfig
from dispatcher.dictionary import NONE
from dispatcher.records import Defs, GroupRows, Joined
from dispatcher.refusals import Refusals
from dispatcher.table import State, Table

_U64 = np.uint64


class Gang(msgspec.Struct):
    """`deadline_us` is 0 once it is whole."""

    deadline_us: int
    members: dict[str, Member]


class Gathering:
    """All gangs that have members, by key."""

    def __init__(self, table: Table, config: DispatcherConfig) -> None:
        self._table = table
        self._config = config
        self.gangs: dict[str, Gang] = {}

    def join(self, now_us: int, request: Join) -> tuple[Joined | None, Acks]:
        """Members that are new become a record; those known with equal content are acked again."""
        refusals, fresh = Refusals(), []
        sizes: dict[str, int] = {}
        seen: dict[tuple[str, str], Member] = {}
        for i, member in enumerate(request.members):
            before = seen.setdefault((member.gang, member.name), member)
            if before is not member and before != member:
                refusals.add(i, Status.ALREADY_EXISTS, "name", "joins twice with other content")
            elif before is member and self._is_welcome(i, member, sizes, refusals):
                sizes[member.gang] = sizes.get(member.gang, 0) + 1
                fresh.append(member)
        acks = refusals.acks(len(request.members))
        if not fresh:
            return None, acks
        names = tuple(member.pin for member in fresh)
        self._table.names.numbers(names)
        record = Joined(
            now_us,
            self._table.age,
            tuple(fresh),
            Defs(self._table.classes.cut(), self._table.names.cut()),
        )
        return record, acks

    def apply(self, record: Joined) -> I64s:
        """Take members; returns the gangs that are whole now, LOOSE."""
        self._table.age = record.age
        touched: dict[str, None] = {}
        for member in record.members:
            gang = self.gangs.get(member.gang)
            if gang is None or self.handle(member.gang) == ABSENT:
                deadline_us = record.at_us + member.timeout_ms * 1_000
                gang = self.gangs[member.gang] = Gang(deadline_us, {})
            gang.members[member.name] = member
            touched[member.gang] = None
        whole = [self._form(record.at_us, key) for key in touched]
        return np.array([handle for handle in whole if handle != ABSENT], np.int64)

    def expired(self, now_us: int) -> I64s:
        """Gangs that are not whole and out of time."""
        due = [k for k, gang in self.gangs.items() if 0 < gang.deadline_us <= now_us]
        handles = np.array([self.handle(key) for key in due], np.int64)
        handles = handles[handles != ABSENT]
        is_open = self._table.units.state[handles] == State.GATHERING
        return np.asarray(handles[is_open], np.int64)

    def next_at_us(self) -> int:
        """The earliest deadline; 0 for none."""
        return min((g.deadline_us for g in self.gangs.values() if g.deadline_us), default=0)

    def purge(self) -> None:
        """Forget gangs whose units are over or not known any more; stop the clock of ended ones."""
        for key in list(self.gangs):
            handle = self.handle(key)
            if handle == ABSENT:
                del self.gangs[key]
            elif self._table.units.state[handle] != State.GATHERING:
                self.gangs[key].deadline_us = 0

    def handle(self, key: str) -> int:
        """The unit of a gang."""
        hi, lo = uid_of(key)
        return int(self._table.find(np.array([hi], _U64), np.array([lo], _U64))[0])

    def _is_welcome(
        self, i: int, member: Member, sizes: dict[str, int], refusals: Refusals
    ) -> bool:
        """Whether a member is new and may join; refuses it otherwise, unless it is known."""
        handle, gang = self.handle(member.gang), self.gangs.get(member.gang)
        if handle != ABSENT and gang is not None and member.name in gang.members:
            if gang.members[member.name] != member:
                refusals.add(i, Status.ALREADY_EXISTS, "name", "is a member with other content")
            return False
        wrong = self._fault(member)
        if wrong is not None:
            refusals.add(i, Status.INVALID_ARGUMENT, *wrong)
            return False
        if handle != ABSENT and (
            gang is None or self._table.units.state[handle] != State.GATHERING
        ):
            refusals.add(i, Status.FAILED_PRECONDITION, "gang", "is whole or has ended")
            return False
        if gang is not None and handle != ABSENT:
            other = next(iter(gang.members.values()))
            if (other.size, other.priority) != (member.size, member.priority):
                reason = "size and priority differ from those of the other members"
                refusals.add(i, Status.INVALID_ARGUMENT, "size", reason)
                return False
        present = len(gang.members) if gang is not None and handle != ABSENT else 0
        if present + sizes.get(member.gang, 0) >= member.size:
            refusals.add(i, Status.FAILED_PRECONDITION, "gang", "is whole")
            return False
        if handle == ABSENT and len(self.gangs) >= self._config.gangs_max:
            self.purge()
        if handle == ABSENT and len(self.gangs) >= self._config.gangs_max:
            reason = f"the dispatcher holds its limit of {self._config.gangs_max} gangs"
            retry = self._config.retry_after_ms
            refusals.add(i, Status.RESOURCE_EXHAUSTED, "gang", reason, retry)
            return False
        return True

    def _fault(self, member: Member) -> tuple[str, str] | None:
        """What is wrong with a member by itself: (field, reason)."""
        for field, text in (("gang", member.gang), ("name", member.name)):
            if not 1 <= len(text.encode()) <= KEY_BYTES_MAX:
                return field, f"needs 1 to {KEY_BYTES_MAX} bytes"
        if not 1 <= member.size <= REPLICAS_MAX:
            return "size", f"{member.size} is outside 1 to {REPLICAS_MAX}"
        if not 1 <= member.timeout_ms <= self._config.gang_timeout_ms_max:
            return "timeout_ms", f"is outside 1 to {self._config.gang_timeout_ms_max}"
        if abs(member.priority) > PRIORITY_MAX:
            return "priority", f"{member.priority} is outside ±{PRIORITY_MAX}"
        number = self._table.classes.of(member.klass)
        if isinstance(number, BadSpec):
            return f"class.{number.field}", number.reason
        return None

    def _form(self, at_us: int, key: str) -> int:
        """Give the gang's unit its present members; returns its handle if that makes it whole."""
        gang, table, handle = self.gangs[key], self._table, self.handle(key)
        members = list(gang.members.values())
        groups = self._groups(members)
        counts = np.array([len(groups)], np.int64)
        if handle == ABSENT:
            hi, lo = uid_of(key)
            keys: Any = np.array([key], object)
            priority = np.array([members[0].priority], np.int32)
            uid = np.array([hi], _U64), np.array([lo], _U64)
            handle = int(table.add(keys, *uid, priority, at_us, groups, counts)[0])
        else:
            one = np.array([handle], np.int64)
            table.drop_content(one)
            table.set_content(one, groups, counts)
        is_whole = len(members) >= members[0].size
        table.units.state[handle] = State.LOOSE if is_whole else State.GATHERING
        if is_whole:
            gang.deadline_us = 0
        return handle if is_whole else ABSENT

    def _groups(self, members: list[Member]) -> GroupRows:
        """One group per class and pin, in order of the first member's name."""
        counts: dict[tuple[int, str], int] = {}
        for member in sorted(members, key=lambda m: m.name):
            number = self._table.classes.of(member.klass)
            klass = number if isinstance(number, int) else NONE
            counts[klass, member.pin] = counts.get((klass, member.pin), 0) + 1
        return GroupRows.of(
            klass=[klass for klass, _ in counts],
            count=list(counts.values()),
            min=list(counts.values()),
            pin=self._table.names.numbers(tuple(pin for _, pin in counts)),
            role=NONE,
        )
