"""PodGroups in the simulated API server: gangs, units of their pods, and where records are kept.

As in the real one the record of whatever is formed of a gang's pods is one object of the gang's,
which the garbage collector takes with it; a binder knows it by what it has listed or written.
"""

from __future__ import annotations

from msgspec import structs

from cell.home import (
    GangRecord,
    HomeGang,
    HomeUnit,
    ObjectState,
    ObjectView,
    ReadRecord,
    RecordView,
    Replica,
    Write,
)
from cell.unit import uid_of

Uid = tuple[int, int]
IS_THERE = (ObjectState.PENDING, ObjectState.BOUND)


class PodGroups:
    """See the module."""

    def __init__(self) -> None:
        self.gangs: dict[str, HomeGang] = {}
        """Those that are there, by their key."""
        self.keys: set[str] = set()
        """Of all gangs that pods have named."""
        self.members: dict[Replica, HomeUnit] = {}
        """The unit of each pod there ever was, by its own name."""
        self.seats: dict[Replica, int] = {}
        """The object that a record meant by a name, for all records there ever were."""
        self._singles: dict[int, Replica] = {}
        self._places: dict[Uid, str] = {}
        """Gangs whose records the present binder knows, by the unit that they are of."""
        self._owners: dict[Uid, int] = {}
        """Uid of the gang that an object for records was made for."""

    # Names

    def single_of(self, name: Replica) -> Replica:
        """The object's own name, for a name that it may have had in a gang."""
        return self._singles.get(self.seats.get(name, 0), name)

    def names_of(self, view: ObjectView) -> list[Replica]:
        """All names that an object has had in records, and its own."""
        return [*(name for name, uid in self.seats.items() if uid == view.object), view.replica]

    def gang_of(self, replica: Replica) -> str:
        """The key of a pod's gang; "" if it has none."""
        unit = self.members.get(replica)
        return unit.gang if unit else ""

    def formed_of(self, key: str) -> str:
        """The key of the gang of whose pods a unit was formed, "" for any other unit."""
        gang = key.rpartition("/")[0]
        is_member = Replica(*uid_of(key)) in self.members
        return gang if gang in self.keys and not is_member else ""

    # Units

    def add(self, replica: Replica, unit: HomeUnit, object_uid: int) -> None:
        """A pod is made."""
        self.keys.add(unit.gang)
        self.members[replica] = unit
        self._singles[object_uid] = replica

    def units_of(self, view: ObjectView) -> tuple[HomeUnit, ...]:
        """The unit of a pod as its object shows it: over once it holds no room and wants none."""
        unit = self.members.get(view.replica)
        if unit is None:
            return ()
        is_held = view.state in IS_THERE
        is_held |= view.state is ObjectState.TERMINATING and bool(view.node)
        return (structs.replace(unit, is_over=not is_held),)

    # Records

    def put(self, body: Write) -> None:
        """A write was asked for: the place of its record is known from now on."""
        if body.gang in self.gangs and body.record is not None:
            self._places[body.uid_hi, body.uid_lo] = body.gang

    def wrote(self, record: GangRecord) -> None:
        """A record was written: its members have those names."""
        for m in record.members:
            self.seats[Replica(record.uid_hi, record.uid_lo, m.group, m.ordinal)] = m.object

    def slot_of(self, body: Write | ReadRecord) -> Uid | None:
        """Where the record is that a call means; None: it is a gang's that is not there."""
        uid = body.uid_hi, body.uid_lo
        gang = self._places.get(uid)
        if gang is not None:
            return _slot(gang)
        return None if body.gang else uid

    def record_of(self, uid: Uid, records: dict[Uid, RecordView]) -> RecordView | None:
        """The record that is one of a unit."""
        gang = self._places.get(uid)
        kept = records.get(_slot(gang) if gang else uid)
        record = kept.record if kept is not None else None
        is_its = record is None or (record.uid_hi, record.uid_lo) == uid
        return kept if is_its else None

    def listed(self, records: dict[Uid, RecordView]) -> None:
        """A new binder knows records from its list."""
        self._places = {
            (kept.record.uid_hi, kept.record.uid_lo): gang
            for gang in sorted(self.keys)
            if (kept := records.get(_slot(gang))) is not None and kept.record is not None
        }

    def is_anothers(self, body: Write, slot: Uid) -> bool:
        """Whether the object for records was made for a former gang of the key, and is to go."""
        if body.gang not in self.gangs:
            return False
        owner = self.gangs[body.gang].uid
        return self._owners.setdefault(slot, owner) != owner

    def collect(self, records: dict[Uid, RecordView]) -> None:
        """The garbage collector: an object goes with the gang that it was made for."""
        for gang in sorted(self.keys):
            slot, spec = _slot(gang), self.gangs.get(gang)
            owner = self._owners.get(slot)
            if owner is not None and (spec is None or spec.uid != owner):
                del self._owners[slot]
                records.pop(slot, None)


def _slot(gang: str) -> Uid:
    return uid_of(f"podgroup.{gang}")
