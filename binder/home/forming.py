"""Gangs of units that are one object each (the pods of a PodGroup), made one unit while they wait.

A gang is formed of as many waiting members as it still needs. Each gets a seat: the name of the
replica that its object stands for. Once it is bound the seats are given back, and every member, a
late one too, is a unit by itself, as it was to begin with.

What must hold: an object has one name at a time; no seat changes while a binding may be under way;
of a member that is held back neither the ledger nor the dispatcher knows.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import msgspec

from binder.home.desk import Desk
from binder.home.groups import Group, Member, Seats, Uid
from cell.effects import Effect
from cell.home import (
    Answered,
    Code,
    Evict,
    GangState,
    HomeGang,
    HomeUnit,
    Line,
    Note,
    ObjectState,
    ObjectView,
    Post,
    Read,
    ReadRecord,
    RecordView,
    Relisted,
    Replica,
    Tell,
    Watched,
    Write,
)
from cell.messages import ClaimState


class Forming:
    """See the module. What the home says passes `seen`, `listed` and `answered`, calls `asked`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._groups: dict[str, Group] = {}
        self._group_of: dict[Uid, Group] = {}
        """By the uid of a member, or of what is formed."""
        self._singles: dict[Replica, Replica] = {}
        """The object's own name, by seat."""
        self._changed: dict[str, set[Uid]] = {}
        """Gangs to be looked at, each with the members that were shown anew."""
        self._busy: dict[str, None] = {}
        """Gangs whose seats may not change yet."""
        self._adopted: set[str] = set()
        """Those of a former leader, until they are under way here."""
        self._deadlines: list[tuple[int, str]] = []
        self._units: list[HomeUnit] = []
        self._objects: list[ObjectView] = []
        self._left: list[ObjectView] = []
        """Names that are left, told behind the new ones: the room is never free between."""
        self._states: list[GangState] = []
        self._lines: list[Line] = []

    @property
    def wake_at_us(self) -> int:
        """When a gang's time is over; 0 for never."""
        return self._deadlines[0][0] if self._deadlines else 0

    # From the home

    def seen(self, now_us: int, delta: Watched) -> Watched:
        """A delta as the ledger is to see it, with what follows from it for gangs."""
        self._put(delta.gangs, delta.units, delta.objects)
        return self._take(now_us, delta)

    def due(self, now_us: int) -> Watched | None:
        """What follows for gangs from what was done meanwhile, or from the time."""
        is_late = bool(self._deadlines) and self.wake_at_us <= now_us
        return self._take(now_us, Watched()) if self._busy or is_late else None

    def listed(self, now_us: int, listed: Relisted, *, is_first: bool) -> Relisted:
        """All that there is; a record of the first list has seats that were given."""
        told = {uid: m.told for g in self._groups.values() for uid, m in g.members.items()}
        for group in self._groups.values():
            group.spec, group.members = None, {}
            self._changed.setdefault(group.key, set())
        self._group_of = {group.unit_uid: group for group in self._groups.values() if group.unit}
        self._put(listed.gangs, listed.units, listed.objects)
        for group in self._groups.values():
            for uid, member in group.members.items():
                member.told = told.get(uid)
        if is_first:
            self._seat(listed.records)
        taken = self._take(now_us, Watched())
        self._adopted.clear()
        units = (*taken.units, *self._standing())
        return msgspec.structs.replace(listed, units=units, objects=taken.objects)

    def answered(self, answer: Answered) -> Answered:
        """An answer; of a member that is held back there is nothing to be known."""
        found = answer.found
        member = None if found is None else self._member(found.replica)
        if found is None or member is None:
            return answer
        if member.told is None:
            return Answered(answer.call, Code.GONE)
        view = msgspec.structs.replace(found, replica=member.told)
        return msgspec.structs.replace(answer, found=view)

    # To the home

    def asked(self, call: Effect) -> Effect:
        """A call with the object's own name, or with the gang's key."""
        match call:
            case Post() | Read() | Evict():
                single = self._singles.get(call.replica, call.replica)
                return msgspec.structs.replace(call, replica=single)
            case Write() | ReadRecord():
                group = self._group_of.get((call.uid_hi, call.uid_lo))
                if group is None:
                    return call
                if isinstance(call, ReadRecord):
                    return msgspec.structs.replace(call, gang=group.key)
                if call.is_held and group.formed_uid == group.uid:
                    group.is_scheduled = True
                return msgspec.structs.replace(call, gang=group.key, gang_uid=group.formed_uid)
        return call

    def notes(self) -> list[Effect]:
        """How gangs stand that stand otherwise than was said last, and why members are held."""
        states, self._states = self._states, []
        lines, self._lines = self._lines, []
        told: list[Effect] = [Tell(tuple(lines))] if lines else []
        return [Note(tuple(states)), *told] if states else told

    def spread(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Lines about units as lines about the units of which they are formed."""
        for line in lines:
            uid = line.uid_hi, line.uid_lo
            group = self._group_of.get(uid)
            is_formed = group is not None and group.unit_uid == uid
            seated = group.seats if group is not None and is_formed else [uid]
            yield from (Line(*member, line.text) for member in seated)

    # Taking it in

    def _put(
        self,
        gangs: Iterable[HomeGang],
        units: Iterable[HomeUnit],
        views: Iterable[ObjectView],
    ) -> None:
        for spec in gangs:
            self._group(spec.key).put(spec)
            if spec.deadline_us and not spec.is_over:
                heapq.heappush(self._deadlines, (spec.deadline_us, spec.key))
        for unit in units:
            self._put_unit(unit)
        for view in views:
            member = self._member(view.replica)
            if member is None:
                self._objects.append(view)
            else:
                member.view = view
                self._changed.setdefault(member.unit.gang, set()).add(_uid(view.replica))

    def _put_unit(self, unit: HomeUnit) -> None:
        if not unit.gang:
            self._units.append(unit)
            return
        uid, group = (unit.uid_hi, unit.uid_lo), self._group(unit.gang)
        self._group_of[uid] = group
        member = group.members.setdefault(uid, Member(unit))
        member.unit = unit
        if member.told == member.single:
            self._units.append(unit)

    def _group(self, key: str) -> Group:
        self._changed.setdefault(key, set())
        return self._groups.setdefault(key, Group(key))

    def _member(self, single: Replica) -> Member | None:
        group = self._group_of.get(_uid(single))
        return group.members.get(_uid(single)) if group else None

    def _seat(self, records: Iterable[RecordView]) -> None:
        """Seats that a former leader gave: what it has begun is finished under the same names."""
        group_of = {
            member.view.object: group
            for group in self._groups.values()
            for member in group.members.values()
            if member.view
        }
        for record in (kept.record for kept in records if kept.record is not None):
            found = (group_of.get(member.object) for member in record.members)
            group = next((group for group in found if group is not None), None)
            if group is not None:
                self._give(group, *group.formed_by(record))
                self._adopted.add(group.key)

    # Deciding

    def _take(self, now_us: int, delta: Watched) -> Watched:
        """All that is to be told."""
        while self._deadlines and self._deadlines[0][0] <= now_us:
            self._changed.setdefault(heapq.heappop(self._deadlines)[1], set())
        for key in self._busy:
            self._changed.setdefault(key, set())
        changed, self._changed = self._changed, {}
        for key, shown in changed.items():
            if key in self._groups:
                self._look_at(now_us, self._groups[key], shown)
        units, self._units = self._units, []
        objects, self._objects = [*self._objects, *self._left], []
        self._left = []
        return msgspec.structs.replace(delta, units=tuple(units), objects=tuple(objects))

    def _look_at(self, now_us: int, group: Group, shown: set[Uid]) -> None:
        if self._is_busy(group):
            self._busy[group.key] = None
            names = [uid for uid in shown if uid in group.members]
        else:
            self._busy.pop(group.key, None)
            self._decide(now_us, group)
            names = list(group.members)
        for uid in names:
            self._show(group, uid, is_news=uid in shown)
        self._explain(group, names)
        if (names or not group.members) and (state := group.state()) != group.shown:
            group.shown = state
            self._states.append(state)
        if group.spec is None and not group.members and group.unit is None:
            del self._groups[group.key]

    def _is_busy(self, group: Group) -> bool:
        """Whether a binding of a member may be under way, or was made and is not shown yet."""
        if group.unit is None:
            return False
        if group.unit_uid in self._desk.gangs or group.key in self._adopted:
            return True
        for uid, seat in group.seats.items():
            state = self._desk.state(self._desk.book.claim(seat))
            is_owed = uid in group.members and group.members[uid].is_waiting
            if state == ClaimState.COMMITTING or (state == ClaimState.BOUND and is_owed):
                return True
        return False

    def _decide(self, now_us: int, group: Group) -> None:
        """Form it, keep it as it is, or give its seats back."""
        wanted = group.wanted(now_us)
        if wanted and group.seats.keys() == set(wanted):
            return
        if group.unit is not None:
            self._give_back(group, group.unit)
        if wanted:
            self._give(group, *group.form(wanted))

    def _give(self, group: Group, unit: HomeUnit, seats: Seats) -> None:
        group.unit, group.seats, group.formed_uid = unit, seats, group.uid
        self._group_of[group.unit_uid] = group
        self._singles.update({seat: Replica(*uid) for uid, seat in seats.items()})
        self._units.append(unit)

    def _give_back(self, group: Group, unit: HomeUnit) -> None:
        self._units.append(msgspec.structs.replace(unit, is_over=True))
        del self._group_of[group.unit_uid]
        for seat in group.seats.values():
            del self._singles[seat]
        group.unit, group.seats = None, {}
        group.turn += 1

    # Showing

    def _standing(self) -> list[HomeUnit]:
        """All units that members are, or have formed."""
        units: list[HomeUnit] = []
        for group in self._groups.values():
            units += [group.unit] if group.unit else []
            alone = [m.unit for m in group.members.values() if m.told == m.single]
            units += [unit for unit in alone if not unit.is_over]
        return units

    def _explain(self, group: Group, names: list[Uid]) -> None:
        """Why members among these are held back, where that is news."""
        why = group.why_held()
        for uid in names:
            member = group.members.get(uid)
            if member is None:
                continue
            is_held = member.is_waiting and member.told is None
            if is_held and member.said != why:
                self._lines.append(Line(*uid, why))
            member.said = why if is_held else ""

    def _show(self, group: Group, uid: Uid, *, is_news: bool) -> None:
        """Show a member's object under the name that it has now."""
        member = group.members[uid]
        view, before = member.view, member.told
        if view is None:
            return
        name = group.seats.get(uid)
        is_alone = group.is_scheduled or before == member.single or not member.is_waiting
        if name is None and is_alone:
            name = member.single
        if name is not None and (is_news or name != before):
            self._objects.append(msgspec.structs.replace(view, replica=name))
        if name != before:
            self._rename(member, name)
        if view.state is ObjectState.DELETED:
            del group.members[uid]
            self._group_of.pop(uid, None)

    def _rename(self, member: Member, name: Replica | None) -> None:
        before, member.told = member.told, name
        if name == member.single:
            self._units.append(member.unit)
        if before == member.single:
            self._units.append(msgspec.structs.replace(member.unit, is_over=True))
        # A Read may have shown more under the old name than the watch has yet.
        known = self._desk.objects.get(before) if before is not None else None
        if known is not None:
            gone = {"version": known.version + 1, "state": ObjectState.DELETED}
            self._left.append(msgspec.structs.replace(known, **gone))


def _uid(replica: Replica) -> Uid:
    return replica.uid_hi, replica.uid_lo
