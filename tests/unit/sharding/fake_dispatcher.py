"""A dispatcher reduced to what a client of the Placement API sees of it: units, acks, changes.

Units are bound the moment they are asked for; the test says when replicas get ready or fail. It
shares no code with the controller and keeps its own count of who serves.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cell.messages import (
    Acks,
    Amend,
    AmendItem,
    Cancel,
    ChangeRows,
    Changes,
    ReplicaView,
    Submit,
    UnitView,
)
from cell.reasons import Reason, Refusal, Status
from cell.release import Call, Called, Seen, Unwatch, Watch
from cell.unit import GroupSpec, Phase, uid_of


class FakeUnit(msgspec.Struct):
    """One unit; `amounts` is the cpu demand of each group, which tells versions apart."""

    revision: int
    amounts: tuple[int, ...]
    phases: dict[tuple[int, int], Phase]

    @property
    def is_serving(self) -> bool:
        return all(phase is Phase.READY for phase in self.phases.values())

    @property
    def is_over(self) -> bool:
        return any(p in (Phase.FAILED, Phase.CANCELLED) for p in self.phases.values())


class FakeDispatcher:
    """Takes a core's sends, returns what a session would deliver back, in order."""

    def __init__(self) -> None:
        self.units: dict[str, FakeUnit] = {}
        self.now_us = 0
        self.refuse: Refusal | None = None
        """Answer to every submit and amend while set."""
        self.refuse_amount: int | None = None
        """Refuse for good whatever asks for that much cpu."""
        self.stopped: list[str] = []
        """Keys of serving units that a request stopped, in order."""
        self._watched: dict[str, None] = {}

    def end_session(self) -> None:
        self._watched = {}

    def receive(self, body: Any) -> list[Any]:
        """One message of the controller; the messages that go back."""
        match body:
            case Watch(prefix=prefix):
                self._watched[prefix] = None
                keys = [key for key in sorted(self.units) if key.startswith(prefix)]
                return [Seen(prefix, tuple(self._view(key) for key in keys))]
            case Unwatch(prefix=prefix):
                self._watched.pop(prefix, None)
                return []
            case Call(number=number, body=request):
                acks, touched = self._serve(request)
                return [Called(number, acks), *self._changes(touched)]
        raise AssertionError(f"not a message to a dispatcher: {body}")

    def report(self, key: str, phase: Phase, group: int | None = None) -> list[Any]:
        """All replicas (of one group) are in `phase` now."""
        unit = self.units[key]
        for replica in unit.phases:
            if group is None or replica[0] == group:
                unit.phases[replica] = phase
        return self._changes([key])

    def _serve(self, request: Submit | Amend | Cancel) -> tuple[Acks, list[str]]:
        refused: list[tuple[int, Refusal]] = []
        touched: list[str] = []
        for i, item in enumerate(_items(request)):
            key, refusal = self._one(item)
            if refusal is not None:
                refused.append((i, refusal))
            else:
                touched.append(key)
        return Acks(len(_items(request)), tuple(refused)), touched

    def _one(self, item: Any) -> tuple[str, Refusal | None]:
        match item:
            case AmendItem():
                amounts = tuple(_amount(group) for group in item.groups)
                counts = [group.count for group in item.groups]
                return item.key, self._put(item.key, item.revision, amounts, counts)
            case (key, amounts, counts):
                return key, self._put(key, 1, amounts, counts)
        if item not in self.units:
            return item, Refusal(Status.NOT_FOUND, "key", "unknown unit")
        self._stop(item)
        unit = self.units[item]
        unit.phases = dict.fromkeys(unit.phases, Phase.CANCELLED)
        return item, None

    def _put(
        self, key: str, revision: int, amounts: tuple[int, ...], counts: list[int]
    ) -> Refusal | None:
        if self.refuse is not None:
            return self.refuse
        if self.refuse_amount in amounts:
            return Refusal(Status.INVALID_ARGUMENT, "groups[0].class", "is not acceptable here")
        unit = self.units.get(key)
        if unit is None and revision > 1:
            return Refusal(Status.NOT_FOUND, "key", "unknown unit")
        if unit is not None and unit.revision == revision:
            is_same = unit.amounts == amounts and not unit.is_over
            return None if is_same else Refusal(Status.ALREADY_EXISTS, "key", "other content")
        if unit is not None and (unit.is_over or revision != unit.revision + 1):
            return Refusal(Status.FAILED_PRECONDITION, "revision", "is not the next one")
        self._stop(key)
        phases = {(g, o): Phase.BOUND for g, count in enumerate(counts) for o in range(count)}
        self.units[key] = FakeUnit(revision, amounts, phases)
        return None

    def _stop(self, key: str) -> None:
        if key in self.units and self.units[key].is_serving:
            self.stopped.append(key)

    def _view(self, key: str) -> UnitView:
        unit = self.units[key]
        replicas = tuple(
            ReplicaView(g, o, phase.name, "n0") for (g, o), phase in unit.phases.items()
        )
        word = "Failed" if unit.is_over else "Running"
        uid = "".join(f"{half:016x}" for half in uid_of(key))
        return UnitView(key, uid, unit.revision, 0, word, {}, replicas=replicas)

    def _changes(self, keys: list[str]) -> list[Any]:
        rows = [
            (key, self.units[key].revision, group, ordinal, phase)
            for key in keys
            if any(key.startswith(prefix) for prefix in self._watched)
            for (group, ordinal), phase in self.units[key].phases.items()
        ]
        if not rows:
            return []
        failed = {Phase.FAILED: Reason.NODE_GONE, Phase.CANCELLED: Reason.CANCELLED}
        table = ChangeRows.of(
            revision=[row[1] for row in rows],
            group=[row[2] for row in rows],
            ordinal=[row[3] for row in rows],
            phase=[row[4] for row in rows],
            node=0,
            reason=[failed.get(row[4], Reason.NONE) for row in rows],
            argument=0,
        )
        return [Changes(tuple(row[0] for row in rows), table, ("n0",), (), self.now_us)]


def _items(request: Submit | Amend | Cancel) -> list[Any]:
    match request:
        case Amend(items=items):
            return list(items)
        case Cancel(keys=keys):
            return list(keys)
    groups = iter(request.groups.rows())
    units = []
    for key, count in zip(request.keys, request.units.groups, strict=True):
        rows = [next(groups) for _ in range(int(count))]
        amounts = tuple(dict(request.classes[row["klass"]].demand)["cpu"] for row in rows)
        units.append((key, amounts, [row["count"] for row in rows]))
    return units


def _amount(group: GroupSpec) -> int:
    return dict(group.klass.demand)["cpu"]
