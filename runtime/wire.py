"""Requests of the Placement API as the cell's types: untrusted messages in, batches of columns out.

Called by `placement_api`. Too many items end the call. What cannot be converted is refused here,
item by item, and keeps its index: unknown or bad classes, pins, columns of wrong length, and fields
that nothing acts on yet (UNIMPLEMENTED, by name). What holds for a converted batch: indices are in
range, a unit has 1 to GROUPS_MAX groups, a count is at least 1. Whether its values make sense is
the core's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.messages import ITEMS_MAX, Amend, AmendItem, Cancel, Report, ReportRows, Submit
from cell.reasons import Refusal, Status
from cell.unit import GROUPS_MAX, GroupSpec, Place
from godel.v1 import placement_pb2, types_pb2
from runtime.grpc_status import Exhausted
from runtime.wire_classes import ClassNumbers

NAME_BYTES_MAX = 253
"""Bytes of a pin or of a role."""
U8_MAX = 255
ItemsMax = Annotated[int, msgspec.Meta(ge=1, le=ITEMS_MAX)]
"""The setting of an API; the cores take no more than the cell's limit."""

Refusals = list[tuple[int, Refusal]]


class Converted(msgspec.Struct, frozen=True):
    """What became of a request: `body` for the core (None: no item is left) and what was refused.

    `kept` has the index in the request of each item of the body; None: all of them, in order.
    """

    body: Submit | Cancel | Amend | Report | None
    count: int
    refused: Refusals
    kept: Sequence[int] | None = None


class BadColumns(ValueError):
    """Columns that do not fit together: the whole batch is refused."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.refusal = Refusal(Status.INVALID_ARGUMENT, field, reason)


def refuse_all(count: int, refusal: Refusal) -> Converted:
    """Every item of the request refused alike."""
    return Converted(None, count, [(i, refusal) for i in range(count)])


def cancel(request: placement_pb2.CancelRequest, items_max: int) -> Converted:
    """A batch of keys. Raises Exhausted."""
    count = len(request.keys)
    check_count(count, items_max)
    return Converted(Cancel(tuple(request.keys)) if count else None, count, [])


def amend(request: placement_pb2.AmendRequest, classes_max: int, items_max: int) -> Converted:
    """A batch of amendments. Raises Exhausted."""
    count = len(request.items)
    check_count(count, items_max)
    classes = ClassNumbers(classes_max)
    classes.add(request.classes)
    refused: Refusals = []
    items: list[AmendItem] = []
    kept: list[int] = []
    for index, item in enumerate(request.items):
        made = _amendment(item, classes)
        if isinstance(made, Refusal):
            refused.append((index, made))
        else:
            items.append(made)
            kept.append(index)
    return Converted(Amend(tuple(items)) if items else None, count, refused, kept)


def report(request: placement_pb2.ReportRequest, items_max: int) -> Converted:
    """A batch of reports. Raises Exhausted."""
    count = len(request.items) + len(request.packed.keys)
    check_count(count, items_max)
    if request.items and request.HasField("packed"):
        return refuse_all(count, bad("packed", "a batch has rows or columns, not both"))
    if not request.HasField("packed"):
        return _row_reports(request.items)
    packed = request.packed
    try:
        rows = ReportRows(
            revision=column("packed.revision", packed.revision, "<u4", count, 0),
            group=column("packed.group", packed.group, "<u1", count, 0),
            ordinal=column("packed.ordinal", packed.ordinal, "<u4", count, 0),
            phase=column("packed.phase", packed.phase, "<u1", count),
        )
    except BadColumns as fault:
        return refuse_all(count, fault.refusal)
    return Converted(Report(tuple(packed.keys), rows) if count else None, count, [])


def _amendment(item: placement_pb2.Amendment, classes: ClassNumbers) -> AmendItem | Refusal:
    for name in ("replaces", "handover", "deadline_us", "intent"):
        if getattr(item, name):
            return unimplemented(name)
    place = int(item.place)
    if place in (Place.SAME_NODE, Place.PREFER):
        return unimplemented("place")
    if place not in (Place.KEEP, Place.ANYWHERE):
        return bad("place", f"{place} is no place")
    if not 1 <= len(item.groups) <= GROUPS_MAX:
        return bad("groups", f"{len(item.groups)} groups, a unit has 1 to {GROUPS_MAX}")
    groups: list[GroupSpec] = []
    for g, group in enumerate(item.groups):
        made = _group(f"groups[{g}]", group, classes)
        if isinstance(made, Refusal):
            return made
        groups.append(made)
    return AmendItem(item.key, item.revision, tuple(groups), Place(place))


def _group(path: str, group: types_pb2.Group, classes: ClassNumbers) -> GroupSpec | Refusal:
    for field, _ in group.policy.ListFields():
        return unimplemented(f"{path}.policy.{field.name}")
    (spec,) = classes.specs([group.class_number])
    if spec is None:
        return class_refusal(path, classes.refusal(group.class_number))
    for name, text in (("pin", group.pin), ("role", group.role)):
        if len(text.encode()) > NAME_BYTES_MAX:
            return bad(f"{path}.{name}", f"limit {NAME_BYTES_MAX} bytes")
    count = group.count or 1
    minimum = group.min if group.HasField("min") else count
    return GroupSpec(spec, group.role, count, minimum, group.pin)


def _row_reports(items: Sequence[placement_pb2.ReplicaReport]) -> Converted:
    refused: Refusals = []
    rows: list[tuple[int, int, int, int]] = []
    keys: list[str] = []
    kept: list[int] = []
    for index, item in enumerate(items):
        group, phase = item.group, item.phase
        if group > U8_MAX:
            refused.append((index, bad("group", f"{group}: a unit has at most {GROUPS_MAX}")))
        elif not 0 <= phase <= U8_MAX:
            refused.append((index, bad("phase", f"{phase} is no phase")))
        else:
            keys.append(item.key)
            rows.append((item.revision, group, item.ordinal, phase))
            kept.append(index)
    if not rows:
        return Converted(None, len(items), refused)
    revision, groups, ordinal, phases = zip(*rows, strict=True)
    table = ReportRows.of(revision=revision, group=groups, ordinal=ordinal, phase=phases)
    return Converted(Report(tuple(keys), table), len(items), refused, kept)


def column(
    field: str, raw: bytes, dtype: str, length: int, default: int | None = None
) -> NDArray[Any]:
    """A column of exactly `length` entries; empty: the default everywhere. Raises BadColumns."""
    kind = np.dtype(dtype)
    if not raw and default is not None:
        return np.full(length, default, kind)
    if len(raw) != length * kind.itemsize:
        expected = f"{length} entries of {kind.itemsize}"
        raise BadColumns(field, f"{len(raw)} bytes, expected {expected}")
    return np.frombuffer(raw, kind).copy()


def class_refusal(path: str, refusal: Refusal) -> Refusal:
    """The refusal of a group at `path`, whose class is refused."""
    field = f"{path}.class.{refusal.field}" if refusal.field else f"{path}.class_number"
    return Refusal(refusal.status, field, refusal.reason)


def unimplemented(field: str) -> Refusal:
    """The refusal of a field that is in the contract but nothing acts on yet."""
    return Refusal(Status.UNIMPLEMENTED, field, "is not acted on yet: leave it unset")


def check_count(count: int, items_max: int) -> None:
    """Refuse a request that is too large, before anything is done per item. Raises Exhausted."""
    if count > items_max:
        raise Exhausted(f"{count} items in one request, limit {items_max}")


def bad(field: str, reason: str) -> Refusal:
    """The refusal of a field whose content is wrong."""
    return Refusal(Status.INVALID_ARGUMENT, field, reason)
