"""What PlacementRequests mean to the binder: units without objects, and records of gangs.

A request with KIND_LABEL carries the record of a gang of pods; every other is a unit (`specs`). One
that cannot be understood is left out, and its status and the log say why, until it is deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cell.home import HomeGroup, HomeUnit, RecordView
from cell.unit import KEY_BYTES_MAX, UnitSpec, uid_of
from runtime.fields import BadManifest
from runtime.kubernetes.api import Meta
from runtime.kubernetes.records import (
    GANG,
    KIND_LABEL,
    BadRecord,
    Place,
    Records,
    view_of,
)
from runtime.kubernetes.specs import unit_of
from runtime.log import Log

Requests = tuple[tuple[HomeUnit, ...], tuple[RecordView, ...]]


class _Meta(Meta):
    deletion_timestamp: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class _Status(msgspec.Struct):
    message: str = ""


class _Request(msgspec.Struct):
    metadata: _Meta
    spec: dict[str, Any] = {}
    status: msgspec.Raw = msgspec.Raw(b"{}")


Refuse = Callable[[Place, str], None]
"""Tell people why a request cannot be placed."""


_REQUEST = msgspec.json.Decoder(_Request)


class Placements:
    """All requests that exist, as far as later changes need them; tells `records` their places."""

    def __init__(self, records: Records, refuse: Refuse, log: Log) -> None:
        self._records = records
        self._refuse = refuse
        self._log = log
        self._units: dict[str, HomeUnit | None] = {}
        """By the request's uid; None: not understood."""

    def take(
        self, raw: msgspec.Raw | bytes, *, is_deleted: bool = False
    ) -> HomeUnit | RecordView | None:
        """A request as listed or watched: a unit, or a gang's record (None once it is deleted)."""
        request = _REQUEST.decode(raw)
        meta = request.metadata
        kept = self._kept(raw, meta)
        if meta.labels.get(KIND_LABEL) == GANG:
            return None if is_deleted else self._gang(meta, kept)
        if meta.uid not in self._units:
            self._units[meta.uid] = self._read(meta, request)
        found = self._units[meta.uid]
        if is_deleted or meta.deletion_timestamp:
            if is_deleted:
                del self._units[meta.uid]
            return self._over(meta, found)
        return None if found is None else msgspec.structs.replace(found, kept=kept)

    def take_all(self, items: list[msgspec.Raw]) -> Requests:
        """All requests that there are: units, and records of gangs."""
        # A key may have got another request meanwhile: those that are gone are forgotten first.
        present = {_REQUEST.decode(item).metadata.uid for item in items}
        for uid in self._units.keys() - present:
            self._forget(self._units.pop(uid), uid)
        taken = [self.take(item) for item in items]
        units = [t for t in taken if isinstance(t, HomeUnit) and not t.is_over]
        return tuple(units), tuple(t for t in taken if isinstance(t, RecordView))

    def _kept(self, raw: msgspec.Raw | bytes, meta: _Meta) -> RecordView:
        try:
            return view_of(raw)
        except BadRecord as error:
            name = f"{meta.namespace}/{meta.name}"
            self._log.error("a record is not ours", request=name, why=error)
            return RecordView(meta.version, None)

    def _gang(self, meta: _Meta, kept: RecordView) -> RecordView | None:
        """A gang's record; its pods may not have been seen, so its place is known from here."""
        if kept.record is None:
            return None
        uid = kept.record.uid_hi, kept.record.uid_lo
        if self._records.place_of(uid) is None:
            self._records.put(Place(meta.namespace, meta.name, kept.record.key))
        return kept

    def _read(self, meta: _Meta, request: _Request) -> HomeUnit | None:
        name, spec = f"{meta.namespace}/{meta.name}", request.spec
        key = spec.get("key") or f"{name}/{meta.uid}"
        try:
            made = unit_of(key, spec)
            if len(key.encode()) > KEY_BYTES_MAX:
                raise BadManifest("spec.key", f"has more than {KEY_BYTES_MAX} bytes")
            other = self._records.place_of(uid_of(key))
            if other is not None:
                raise BadManifest("spec.key", f"is that of {other.namespace}/{other.name}")
        except BadManifest as error:
            self._log.error("a unit cannot be placed", request=name, why=error)
            if _message(request) != str(error):
                self._refuse(Place(meta.namespace, meta.name, key, meta.uid), str(error))
            return None
        self._records.put(Place(meta.namespace, meta.name, key, meta.uid))
        return home_unit(made)

    def _over(self, meta: _Meta, found: HomeUnit | None) -> HomeUnit | None:
        if found is None:
            return None
        self._forget(found, meta.uid)
        return msgspec.structs.replace(found, is_over=True)

    def _forget(self, found: HomeUnit | None, uid: str) -> None:
        place = self._records.place_of((found.uid_hi, found.uid_lo)) if found else None
        if place is not None and place.uid == uid:
            self._records.forget(place.unit)


def _message(request: _Request) -> str:
    try:
        return msgspec.json.decode(request.status, type=_Status).message
    except msgspec.MsgspecError:
        return ""


def home_unit(spec: UnitSpec) -> HomeUnit:
    """A unit as the home has it."""
    return HomeUnit(
        *uid_of(spec.key),
        spec.key,
        priority=spec.priority,
        groups=tuple(HomeGroup(g.klass.encoded(), g.count, g.min, g.pin) for g in spec.groups),
    )
