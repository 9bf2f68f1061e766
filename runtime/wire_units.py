"""Batches of units as the cell's columns: rows and packed ones alike.

Called by `placement_api` through `submit`. Rows become the same columns that packed clients send,
so what follows treats both alike. Refused units leave the columns and keep their index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec
from cell.messages import Submit
from cell.reasons import Refusal
from cell.unit import GROUPS_MAX, NO_PIN, GroupBatch, UnitBatch
from godel.v1 import placement_pb2
from runtime.wire import (
    NAME_BYTES_MAX,
    BadColumns,
    Converted,
    Refusals,
    bad,
    class_refusal,
    column,
    refuse_all,
    too_many,
    unimplemented,
)
from runtime.wire_classes import ClassNumbers


class _Units(msgspec.Struct, frozen=True):
    """Units of one batch as columns under the client's numbers; `kept` as in Converted."""

    keys: tuple[str, ...]
    priority: NDArray[np.int32]
    groups: NDArray[Any]
    number: NDArray[np.uint32]
    count: NDArray[np.uint32]
    min: NDArray[np.uint32]
    pin: NDArray[np.int32]
    roles: tuple[str, ...]
    pins: tuple[str, ...]
    kept: Sequence[int]


def submit(
    request: placement_pb2.SubmitRequest, classes: ClassNumbers, items_max: int
) -> Converted:
    """A batch of units; its new classes go into `classes`, the stream's."""
    classes.add(request.classes)
    count = len(request.units) + len(request.packed.keys)
    if excess := too_many(count, items_max):
        return excess
    if request.units and request.HasField("packed"):
        return refuse_all(count, bad("packed", "a batch has rows or columns, not both"))
    refused: Refusals = []
    try:
        if request.HasField("packed"):
            units = _packed_units(request.packed)
        else:
            units = _row_units(request.units, refused)
    except BadColumns as fault:
        return refuse_all(count, fault.refusal)
    return _submit(units, classes, count, refused)


def uid_columns(keys: Iterable[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """`cell.unit.uid_of` of many keys, as two columns."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(key.encode(), digest_size=16).digest() for key in keys])
    words = np.frombuffer(digests, "<u8")
    return words[0::2], words[1::2]


def _packed_units(packed: placement_pb2.PackedUnits) -> _Units:
    """The columns as they came. Raises BadColumns."""
    n = len(packed.keys)
    groups = column("packed.groups", packed.groups, "<u1", n, 1)
    g = int(groups.sum())
    count = column("packed.count", packed.count, "<u4", g, 1)
    if packed.count and not count.all():
        count = np.maximum(count, 1)
    if len(packed.roles) not in (0, g):
        raise BadColumns("packed.roles", f"{len(packed.roles)} entries, the groups are {g}")
    return _Units(
        keys=tuple(packed.keys),
        priority=column("packed.priority", packed.priority, "<i4", n, 0),
        groups=groups,
        number=column("packed.class_number", packed.class_number, "<u4", g),
        count=count,
        min=column("packed.min", packed.min, "<u4", g) if packed.min else count,
        pin=column("packed.pin", packed.pin, "<i4", g, NO_PIN),
        roles=tuple(packed.roles) if any(packed.roles) else (),
        pins=tuple(packed.pins),
        kept=range(n),
    )


def _row_units(units: Iterable[placement_pb2.Unit], refused: Refusals) -> _Units:
    """The rows as columns, without those that set what nothing acts on; they go to `refused`."""
    keys: list[str] = []
    priority: list[int] = []
    groups: list[int] = []
    number: list[int] = []
    count: list[int] = []
    minimum: list[int] = []
    pin: list[int] = []
    roles: list[str] = []
    kept: list[int] = []
    pins: dict[str, int] = {"": NO_PIN}
    for index, unit in enumerate(units):
        size = 0
        has_policy = unit.HasField("policy")
        for group in unit.groups:
            size += 1
            number.append(group.class_number)
            replicas = group.count or 1
            count.append(replicas)
            minimum.append(group.min if group.HasField("min") else replicas)
            name = group.pin
            pin.append(pins.setdefault(name, len(pins) - 1) if name else NO_PIN)
            roles.append(group.role)
            has_policy = has_policy or group.HasField("policy")
        if has_policy and (refusal := _unit_policy(unit)):
            refused.append((index, refusal))
            for column in (number, count, minimum, pin, roles):
                del column[len(column) - size :]
            continue
        keys.append(unit.key)
        priority.append(unit.priority)
        groups.append(size)
        kept.append(index)
    return _Units(
        keys=tuple(keys),
        priority=np.array(priority, np.int32),
        groups=np.array(groups, np.uint32),
        number=np.array(number, np.uint32),
        count=np.array(count, np.uint32),
        min=np.array(minimum, np.uint32),
        pin=np.array(pin, np.int32),
        roles=tuple(roles) if any(roles) else (),
        pins=tuple(pins)[1:],
        kept=kept,
    )


def _submit(units: _Units, classes: ClassNumbers, count: int, refused: Refusals) -> Converted:
    """The batch in the core's terms; units that refer to what is not there go to `refused`."""
    place, specs = _numbered(units, classes)
    if not _is_sound(units, specs):
        faults = _faults(units, classes)
        refused += [(units.kept[i], refusal) for i, refusal in faults.items()]
        refused.sort(key=lambda entry: entry[0])
        units = _without(units, faults)
        place, specs = _numbered(units, classes)
    if not units.keys:
        return Converted(None, count, refused)
    hi, lo = uid_columns(units.keys)
    body = Submit(
        units=UnitBatch(
            uid_hi=hi, uid_lo=lo, priority=units.priority, groups=units.groups.astype(np.uint8)
        ),
        groups=GroupBatch(klass=place, count=units.count, min=units.min, pin=units.pin),
        keys=units.keys,
        classes=tuple([spec for spec in specs if spec is not None]),
        roles=units.roles,
        pins=units.pins,
    )
    return Converted(body, count, refused, units.kept if len(units.keys) < count else None)


def _numbered(
    units: _Units, classes: ClassNumbers
) -> tuple[NDArray[np.uint32], list[ClassSpec | None]]:
    """The classes that the batch uses, and for each group the place of its class among them."""
    numbers = units.number.tolist()
    places = {number: place for place, number in enumerate(dict.fromkeys(numbers))}
    return np.array([places[number] for number in numbers], np.uint32), classes.specs(places)


def _is_sound(units: _Units, specs: list[ClassSpec | None]) -> bool:
    """Whether no unit has a fault, found with few passes: most batches have none."""
    # Unsigned: without groups it wraps around to the greatest number.
    has_bad_size = (units.groups - 1 >= GROUPS_MAX).any()
    has_pins = bool(units.pins) or (units.pin != NO_PIN).any()
    return not (has_bad_size or has_pins or units.roles) and None not in specs


def _faults(units: _Units, classes: ClassNumbers) -> dict[int, Refusal]:
    """Refusals by the position of the unit: the first fault of each."""
    faults: dict[int, Refusal] = {}
    row = 0
    for i, size in enumerate(units.groups.tolist()):
        if not 1 <= size <= GROUPS_MAX:
            faults[i] = bad("groups", f"{size} groups, a unit has 1 to {GROUPS_MAX}")
        for g in range(size):
            refusal = _group_fault(f"groups[{g}]", units, row + g, classes)
            if refusal is not None:
                faults.setdefault(i, refusal)
                break
        row += size
    return faults


def _group_fault(path: str, units: _Units, row: int, classes: ClassNumbers) -> Refusal | None:
    number, pin = int(units.number[row]), int(units.pin[row])
    if classes.specs([number]) == [None]:
        return class_refusal(path, classes.refusal(number))
    if not NO_PIN <= pin < len(units.pins):
        return bad(f"{path}.pin", f"{pin} is no index into {len(units.pins)} pins")
    if pin != NO_PIN and not 0 < len(units.pins[pin].encode()) <= NAME_BYTES_MAX:
        return bad(f"{path}.pin", f"a node's name has 1 to {NAME_BYTES_MAX} bytes")
    if units.roles and len(units.roles[row].encode()) > NAME_BYTES_MAX:
        return bad(f"{path}.role", f"limit {NAME_BYTES_MAX} bytes")
    return None


def _without(units: _Units, faults: Iterable[int]) -> _Units:
    """The other units, with their groups."""
    stays = np.ones(len(units.keys), np.bool_)
    stays[list(faults)] = False
    if stays.all():
        return units
    rows = np.repeat(stays, units.groups)
    places = np.flatnonzero(stays).tolist()
    return _Units(
        keys=tuple([units.keys[i] for i in places]),
        priority=units.priority[stays],
        groups=units.groups[stays],
        number=units.number[rows],
        count=units.count[rows],
        min=units.min[rows],
        pin=units.pin[rows],
        roles=tuple([units.roles[i] for i in np.flatnonzero(rows).tolist()]) if units.roles else (),
        pins=units.pins,
        kept=[units.kept[i] for i in places],
    )


def _unit_policy(unit: placement_pb2.Unit) -> Refusal | None:
    """The refusal of the first field set that nothing acts on."""
    for field, _ in unit.policy.ListFields():
        return unimplemented(f"policy.{field.name}")
    for g, group in enumerate(unit.groups):
        for field, _ in group.policy.ListFields():
            return unimplemented(f"groups[{g}].policy.{field.name}")
    return None
