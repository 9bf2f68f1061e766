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
from godel.v1 import placement_pb2, types_pb2
from runtime.wire import (
    NAME_BYTES_MAX,
    BadColumns,
    Converted,
    bad,
    check_count,
    class_refusal,
    column,
    refuse_all,
    unimplemented,
)
from runtime.wire_classes import ClassNumbers


class _Units(msgspec.Struct, frozen=True):
    """Units of one batch as columns under the client's numbers."""

    keys: tuple[str, ...]
    priority: NDArray[np.int32]
    groups: NDArray[Any]
    number: NDArray[np.uint32]
    count: NDArray[np.uint32]
    min: NDArray[np.uint32]
    pin: NDArray[np.int32]
    roles: tuple[str, ...]
    pins: tuple[str, ...]


Faults = dict[int, Refusal]
"""Refusals by the index of the unit: the first fault of each."""


def submit(
    request: placement_pb2.SubmitRequest, classes: ClassNumbers, items_max: int
) -> Converted:
    """A batch of units; its new classes go into `classes`, the stream's. Raises Exhausted."""
    count = len(request.units) + len(request.packed.keys)
    check_count(count, items_max)
    classes.add(request.classes)
    if not request.HasField("packed"):
        rows = list(request.units)
        # A unit is refused for one group too many as for a million of them.
        groups = [unit.groups[: GROUPS_MAX + 1] for unit in rows]
        return _submit(_row_units(rows, groups), classes, _policy_faults(rows, groups))
    if request.units:
        return refuse_all(count, bad("packed", "a batch has rows or columns, not both"))
    try:
        return _submit(_packed_units(request.packed), classes, {})
    except BadColumns as fault:
        return refuse_all(count, fault.refusal)


def uid_columns(keys: Iterable[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """`cell.unit.uid_of` of many keys, as two columns."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(key.encode(), digest_size=16).digest() for key in keys])
    # Copied, as are all columns from bytes: kernels are compiled for writable, contiguous arrays.
    hi, lo = np.frombuffer(digests, "<u8").reshape(-1, 2).T.copy()
    return hi, lo


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
    if len(packed.pins) > g:
        raise BadColumns("packed.pins", f"{len(packed.pins)} names, the groups are {g}")
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
    )


def _row_units(units: list[placement_pb2.Unit], groups_of: list[list[types_pb2.Group]]) -> _Units:
    """The rows as columns: a pass per field costs less than one pass over all fields."""
    groups = [group for each in groups_of for group in each]
    count = [group.count or 1 for group in groups]
    least = [g.min if g.HasField("min") else n for g, n in zip(groups, count, strict=True)]
    roles = [group.role for group in groups]
    names = [group.pin for group in groups]
    pins = [name for name in dict.fromkeys(names) if name]
    places = {"": NO_PIN} | {name: place for place, name in enumerate(pins)}
    return _Units(
        keys=tuple([unit.key for unit in units]),
        priority=np.array([unit.priority for unit in units], np.int32),
        groups=np.array([len(each) for each in groups_of], np.uint32),
        number=np.array([group.class_number for group in groups], np.uint32),
        count=np.array(count, np.uint32),
        min=np.array(least, np.uint32),
        pin=np.array([places[name] for name in names], np.int32),
        roles=tuple(roles) if any(roles) else (),
        pins=tuple(pins),
    )


def _policy_faults(
    units: list[placement_pb2.Unit], groups_of: list[list[types_pb2.Group]]
) -> Faults:
    """Refusals of the units that set what nothing acts on."""
    faults: Faults = {}
    if not any([unit.HasField("policy") for unit in units]) and not any(
        [group.HasField("policy") for groups in groups_of for group in groups]
    ):
        return faults
    for index, (unit, groups) in enumerate(zip(units, groups_of, strict=True)):
        for field, _ in unit.policy.ListFields():
            faults.setdefault(index, unimplemented(f"policy.{field.name}"))
        for g, group in enumerate(groups):
            for field, _ in group.policy.ListFields():
                faults.setdefault(index, unimplemented(f"groups[{g}].policy.{field.name}"))
    return faults


def _submit(units: _Units, classes: ClassNumbers, faults: Faults) -> Converted:
    """The batch in the core's terms; units that refer to what is not there are refused."""
    count = len(units.keys)
    place, specs = _numbered(units, classes)
    kept: Sequence[int] | None = None
    if faults or not _is_sound(units, specs):
        faults = _faults(units, classes) | faults
        units, kept = _without(units, faults)
        place, specs = _numbered(units, classes)
    refused = sorted(faults.items())
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
    return Converted(body, count, refused, kept)


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
    has_pins = (units.pin != NO_PIN).any()
    return not (has_bad_size or has_pins or units.roles) and None not in specs


def _faults(units: _Units, classes: ClassNumbers) -> Faults:
    """Refusals of the units that are too wide, or refer to what is not there."""
    faults: Faults = {}
    row = 0
    for i, size in enumerate(units.groups.tolist()):
        if not 1 <= size <= GROUPS_MAX:
            faults[i] = bad("groups", f"a unit has 1 to {GROUPS_MAX}")
        for g in range(size if i not in faults else 0):
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


def _without(units: _Units, faults: Faults) -> tuple[_Units, Sequence[int]]:
    """The other units with their groups, and their indices."""
    stays = np.ones(len(units.keys), np.bool_)
    stays[list(faults)] = False
    kept = np.flatnonzero(stays).tolist()
    rows = np.repeat(stays, units.groups)
    remaining = _Units(
        keys=tuple([units.keys[i] for i in kept]),
        priority=units.priority[stays],
        groups=units.groups[stays],
        number=units.number[rows],
        count=units.count[rows],
        min=units.min[rows],
        pin=units.pin[rows],
        roles=tuple([units.roles[i] for i in np.flatnonzero(rows).tolist()]) if units.roles else (),
        pins=units.pins,
    )
    return remaining, kept
