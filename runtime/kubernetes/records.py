"""Records in the API server: the status of PlacementRequests, read, written, and kept apart.

A record (`cell.home.GangRecord`) is written whole in one PUT that the server refuses when the
object is not at the version that the binder has seen: its resource version. A gang's record has an
object that is made for it, under KIND_LABEL; that of a unit by gRPC is the unit's own, and is
never made here. What must hold: a record is written only over what was seen of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec

from cell.home import (
    Answered,
    Code,
    GangRecord,
    Member,
    ObjectState,
    ReadRecord,
    RecordView,
    Write,
)
from cell.unit import uid_of
from runtime.kubernetes.api import Meta, meta_of

GROUP_VERSION = "godel.dev/v1"
KIND = "PlacementRequest"
PLURAL = "placementrequests"
LIST = f"/apis/{GROUP_VERSION}/{PLURAL}"
KIND_LABEL = "godel.dev/kind"
GANG = "gang"
REFUSED = "Refused"
"""Phase of a request that cannot be understood."""
RECORD_BYTES_MAX = 1 << 20
"""The server takes 1.5 MiB, of which spec and metadata have their part."""
_ENDS = {ObjectState.DONE: "Done", ObjectState.FAILED: "Failed"}
_STATES = {word: state for state, word in _ENDS.items()} | {"": ObjectState.BOUND}

Document = dict[str, Any]
Uid = tuple[int, int]
Perform = Callable[[str, str, Document | None], Awaitable[tuple[Code, bytes]]]
"""A request by method, path and body: how it went, and what was answered. What was not sent, or
may have been taken or not, is THROTTLED or UNKNOWN."""


class BadRecord(ValueError):
    """A status that is no record of ours: somebody else has written it."""


class Place(msgspec.Struct, frozen=True):
    """Where a unit's record is. `uid` is that of the unit's own object, "" for a gang's record;
    `owner` goes into the object that is made for such a one."""

    namespace: str
    name: str
    key: str
    uid: str = ""
    owner: Document | None = None

    @property
    def unit(self) -> Uid:
        """The unit's uid."""
        return uid_of(self.key)

    @property
    def path(self) -> str:
        """Of its object."""
        return f"{self.collection}/{self.name}"

    @property
    def collection(self) -> str:
        """Where its object is made."""
        return f"/apis/{GROUP_VERSION}/namespaces/{self.namespace}/{PLURAL}"


class _Minimum(msgspec.Struct):
    group: int
    count: int


class _Member(msgspec.Struct):
    group: int
    ordinal: int
    node: str
    object: str = ""
    ended: str = ""


class _Status(msgspec.Struct):
    unit: str = ""
    revision: int = 0
    attempt: str = ""
    handle: int = 0
    minima: list[_Minimum] = []
    members: list[_Member] = []


class _Owner(msgspec.Struct):
    uid: str = ""


class _Meta(Meta):
    owner_references: list[_Owner] = msgspec.field(default_factory=list)


class _Kept(msgspec.Struct):
    metadata: _Meta
    status: msgspec.Raw = msgspec.Raw(b"{}")


_KEPT = msgspec.json.Decoder(_Kept)
_STATUS = msgspec.json.Decoder(_Status)


def view_of(document: bytes | msgspec.Raw) -> RecordView:
    """A PlacementRequest's record at its version. Raises BadRecord."""
    kept = _KEPT.decode(document)
    return RecordView(kept.metadata.version, _record(kept.status))


def _record(status: bytes | msgspec.Raw) -> GangRecord | None:
    try:
        found = _STATUS.decode(status)
        if not found.attempt:
            return None
        hi, lo = uid_of(found.unit)
        return GangRecord(
            uid_hi=hi,
            uid_lo=lo,
            revision=found.revision,
            attempt=int(found.attempt),
            handle=found.handle,
            minima=tuple((m.group, m.count) for m in found.minima),
            members=tuple(
                Member(
                    m.group,
                    m.ordinal,
                    UUID(m.object).int if m.object else 0,
                    m.node,
                    _STATES[m.ended],
                )
                for m in found.members
            ),
            key=found.unit,
        )
    except (msgspec.MsgspecError, ValueError, KeyError) as error:
        raise BadRecord(f"status: {error}") from error


def status_of(record: GangRecord | None, key: str) -> Document:
    """The status that says a record; that of no record says the unit alone."""
    if record is None:
        return {"unit": key}
    placed = [m for m in record.members if m.state is ObjectState.BOUND]
    return {
        "phase": _phase(record),
        "unit": key,
        "revision": record.revision,
        "attempt": str(record.attempt),
        "handle": record.handle,
        "placed": len(placed),
        "minima": [{"group": group, "count": count} for group, count in record.minima],
        "members": [_member(member) for member in record.members],
    }


def _phase(record: GangRecord) -> str:
    """Objects are bound behind the record, other replicas by it."""
    states = {member.state for member in record.members}
    if ObjectState.BOUND in states:
        has_objects = any(member.object for member in record.members)
        return "Placing" if has_objects else "Bound"
    if ObjectState.FAILED in states:
        return "Failed"
    return "Done" if states else "Waiting"


def _member(member: Member) -> Document:
    made: Document = {"group": member.group, "ordinal": member.ordinal, "node": member.node}
    if member.object:
        made["object"] = str(UUID(int=member.object))
    if member.state in _ENDS:
        made["ended"] = _ENDS[member.state]
    return made


class Records:
    """Performs Write and ReadRecord; `put` and `forget` say which units have a record where."""

    def __init__(self, write: Perform, read: Perform) -> None:
        self._write = write
        self._read = read
        self._places: dict[Uid, Place] = {}

    def put(self, place: Place) -> None:
        """A unit's record is, or would be, there."""
        self._places[place.unit] = place

    def forget(self, unit: Uid) -> None:
        """The unit is no more: what is asked of its record from now on is GONE."""
        self._places.pop(unit, None)

    def place_of(self, unit: Uid) -> Place | None:
        """Where a unit's record is."""
        return self._places.get(unit)

    async def write(self, call: Write) -> Answered:
        """See `cell.home.Write`. GONE, too, for a record that is larger than may be."""
        place = self._places.get((call.uid_hi, call.uid_lo))
        if place is None:
            return Answered(call.call, Code.GONE)
        status = status_of(call.record, place.key)
        if len(msgspec.json.encode(status)) > RECORD_BYTES_MAX:
            return Answered(call.call, Code.GONE)
        code, version = Code.OK, call.version
        if not version:
            code, version = await self._first_version(place)
        if code is not Code.OK:
            return Answered(call.call, code)
        body = _document(place, {"resourceVersion": str(version)})
        if place.uid:
            body["metadata"]["uid"] = place.uid
        code, answer = await self._write("PUT", f"{place.path}/status", body | {"status": status})
        if code is Code.GONE and not place.uid:
            # Somebody has deleted the object of a gang's record: another can be made.
            code = Code.CONFLICT
        written = meta_of(answer).version if code is Code.OK else 0
        return Answered(call.call, code, version=written)

    async def read(self, call: ReadRecord) -> Answered:
        """See `cell.home.ReadRecord`; a status that is no record of ours is read as none."""
        place = self._places.get((call.uid_hi, call.uid_lo))
        if place is None:
            return Answered(call.call, Code.GONE)
        code, kept = await self._look(place)
        if kept is None:
            absent = Code.OK if code is Code.GONE and not place.uid else code
            return Answered(call.call, absent, kept=RecordView(0, None))
        # A gang's object that was made and not written yet is as good as none.
        version = kept.metadata.version if _is_written(kept) or place.uid else 0
        try:
            return Answered(call.call, code, kept=RecordView(version, _record(kept.status)))
        except BadRecord:
            return Answered(call.call, code, kept=RecordView(version, None))

    async def _look(self, place: Place) -> tuple[Code, _Kept | None]:
        code, answer = await self._read("GET", place.path, None)
        if code is not Code.OK:
            return code, None
        kept = _KEPT.decode(answer)
        if place.uid and kept.metadata.uid != place.uid:
            return Code.GONE, None
        return code, kept

    async def _first_version(self, place: Place) -> tuple[Code, int]:
        """The version of a gang's object that was never written, made where it is missing.

        1. A PodGroup is deleted. 2. Another of the name is made, and its pods wait. 3. The garbage
        collector deletes the record of the first: nothing may be written there until it is gone.
        """
        code, kept = await self._look(place)
        if kept is not None and place.owner:
            owners = {owner.uid for owner in kept.metadata.owner_references}
            if owners and place.owner["uid"] not in owners:
                return Code.THROTTLED, 0
        if kept is not None:
            return (Code.CONFLICT, 0) if _is_written(kept) else (Code.OK, kept.metadata.version)
        if code is not Code.GONE or place.uid:
            return code, 0
        made = _document(place, {"labels": {KIND_LABEL: GANG}})
        if place.owner:
            made["metadata"]["ownerReferences"] = [place.owner]
        code, answer = await self._write("POST", place.collection, made)
        return code, meta_of(answer).version if code is Code.OK else 0


def _is_written(kept: _Kept) -> bool:
    return bytes(kept.status) != b"{}"


def _document(place: Place, metadata: Document) -> Document:
    named = {"name": place.name, "namespace": place.namespace, **metadata}
    return {"apiVersion": GROUP_VERSION, "kind": KIND, "metadata": named}
