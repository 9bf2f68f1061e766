"""Submit: a batch of units, validated as columns and turned into table rows.

Refused items are answered in band with field and reason; the others become durable together. A key
that is known is answered as it was the first time when the content is the same.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.messages import ITEMS_MAX, Submit
from cell.names import UNSHOWABLE, is_showable
from cell.reasons import Refusal, Status
from cell.requirements import BadSpec
from cell.unit import GROUPS_MAX, KEY_BYTES_MAX, NO_PIN, PRIORITY_MAX, REPLICAS_MAX
from dispatcher.columns import I64s, mix, offsets, ranges, sums
from dispatcher.config import DispatcherConfig
from dispatcher.dictionary import NONE
from dispatcher.records import Defs, GroupRows, Submitted, UnitRows
from dispatcher.table import Table

NAME_BYTES_MAX = 253
"""Bytes of a role, and of a node's name."""
Refused = dict[int, Refusal]


class Malformed(Exception):
    """A request whose columns do not fit together: refused as a whole."""

    def __init__(self, field: str, reason: str, status: Status = Status.INVALID_ARGUMENT) -> None:
        super().__init__(f"{field}: {reason}")
        self.refusal = Refusal(status, field, reason)


class Accepted(msgspec.Struct):
    """What became of a batch."""

    count: int
    refused: Refused
    handles: I64s
    record: Submitted | None


class Batch(msgspec.Struct):
    """Units to take, with classes and names as numbers of the log."""

    keys: NDArray[Any]
    uid_hi: NDArray[np.uint64]
    uid_lo: NDArray[np.uint64]
    priority: NDArray[np.int32]
    counts: I64s
    groups: GroupRows

    def take(self, chosen: I64s) -> Batch:
        """The chosen ones."""
        rows = ranges(offsets(self.counts)[chosen], self.counts[chosen])
        return Batch(
            self.keys[chosen],
            self.uid_hi[chosen],
            self.uid_lo[chosen],
            self.priority[chosen],
            self.counts[chosen],
            self.groups.take(rows),
        )


def submit(table: Table, config: DispatcherConfig, now_us: int, body: Submit) -> Accepted:
    """Validate a batch and add what is new. Raises Malformed."""
    batch, refused = check(table, body)
    if not len(batch.keys):
        return Accepted(0, {}, np.empty(0, np.int64), None)
    items = np.arange(len(batch.keys), dtype=np.int64)
    if refused:
        items = np.array([i for i in items.tolist() if i not in refused], np.int64)
    taken = [
        _take(table, config, now_us, batch, part, refused)
        for part in _without_doubles(batch, items)
        if len(part)
    ]
    taken = [(handles, record) for handles, record in taken if len(handles)]
    if not taken:
        return Accepted(len(batch.keys), refused, np.empty(0, np.int64), None)
    # Doubles within a batch are the same unit or refused: only the first part adds any.
    (handles, record), *_ = taken
    return Accepted(len(batch.keys), refused, handles, record)


def check(table: Table, body: Submit) -> tuple[Batch, Refused]:
    """A batch in the table's numbers, and which of its units are refused. Raises Malformed."""
    _check_shape(body)
    refused: Refused = {}
    return _batch(table, body, refused), refused


def replay(table: Table, record: Submitted) -> I64s:
    """Add the units of a record."""
    units = record.units
    table.age = record.age
    return table.add(
        texts(record.keys),
        units.uid_hi,
        units.uid_lo,
        units.priority,
        record.at_us,
        record.groups,
        units.groups.astype(np.int64),
    )


def check_count(field: str, count: int) -> None:
    """Refuse a request with too many items. Raises Malformed."""
    if count > ITEMS_MAX:
        reason = f"{count} items, limit {ITEMS_MAX}"
        raise Malformed(field, reason, Status.RESOURCE_EXHAUSTED)


def _check_shape(body: Submit) -> None:
    units, groups = len(body.keys), len(body.groups)
    check_count("keys", units)
    if len(body.units) != units:
        raise Malformed("units", f"{len(body.units)} rows for {units} keys")
    if int(body.units.groups.sum(dtype=np.int64)) != groups:
        raise Malformed("groups", f"{groups} rows, but the units say otherwise")
    if len(body.roles) not in (0, groups):
        raise Malformed("roles", f"{len(body.roles)} roles for {groups} groups")


def _batch(table: Table, body: Submit, refused: Refused) -> Batch:
    counts = body.units.groups.astype(np.int64)
    classes = [table.classes.of(spec) for spec in body.classes]
    numbers = np.array([c if isinstance(c, int) else NONE for c in classes] or [NONE], np.int32)
    klass = body.groups.klass
    inside = klass < len(classes)
    number = numbers[np.where(inside, klass, 0)]
    _refuse_units(body, counts, refused)
    _refuse_groups(body, counts, classes, number, refused)
    pin_names = tuple(name if len(name) <= NAME_BYTES_MAX else "" for name in body.pins)
    pins = np.append(table.names.numbers(pin_names), np.int32(NONE))
    pin = body.groups.pin
    if body.roles:
        roles = table.names.numbers(
            tuple(role if len(role) <= NAME_BYTES_MAX else "" for role in body.roles)
        )
    else:
        roles = np.full(len(klass), NONE, np.int32)
    return Batch(
        keys=texts(body.keys),
        uid_hi=body.units.uid_hi,
        uid_lo=body.units.uid_lo,
        priority=body.units.priority,
        counts=counts,
        groups=GroupRows(
            klass=np.maximum(number, 0),
            count=body.groups.count.astype(np.int32),
            min=body.groups.min.astype(np.int32),
            pin=pins[np.where((pin >= 0) & (pin < len(body.pins)), pin, -1)],
            role=roles,
        ),
    )


def _refuse_units(body: Submit, counts: I64s, refused: Refused) -> None:
    """What is wrong with units themselves; one whose groups are wrong too is told this."""
    keys, priority = body.keys, body.units.priority
    if keys and (max(map(len, keys)) * 4 > KEY_BYTES_MAX or not min(map(len, keys))):
        for i, key in enumerate(keys):
            if not key or len(key.encode()) > KEY_BYTES_MAX:
                _refuse(refused, i, "key", f"needs 1 to {KEY_BYTES_MAX} bytes")
    if not is_showable("".join(keys)):
        for i, key in enumerate(keys):
            if not is_showable(key):
                _refuse(refused, i, "key", UNSHOWABLE)
    far = np.abs(priority.astype(np.int64)) > PRIORITY_MAX
    _refuse_all(refused, far, "priority", f"is outside ±{PRIORITY_MAX:,}")
    _refuse_all(refused, counts == 0, "groups", "needs at least one")
    _refuse_all(refused, counts > GROUPS_MAX, "groups", f"has more than {GROUPS_MAX}")
    replicas = sums(body.groups.count, counts)
    _refuse_all(refused, replicas > REPLICAS_MAX, "groups", f"more than {REPLICAS_MAX} replicas")


def _refuse_groups(
    body: Submit,
    counts: I64s,
    classes: list[int | BadSpec],
    number: NDArray[np.int32],
    refused: Refused,
) -> None:
    """What is wrong with groups, told of the first such group of each unit."""
    groups = body.groups
    is_bad = (number < 0) | (groups.klass >= len(classes)) | (groups.count == 0)
    is_bad |= (groups.min > groups.count) | (groups.pin < NO_PIN) | (groups.pin >= len(body.pins))
    if body.pins:
        short = np.array([0 < len(name.encode()) <= NAME_BYTES_MAX for name in body.pins])
        is_bad |= (groups.pin >= 0) & ~short[np.clip(groups.pin, 0, len(short) - 1)]
    if body.roles and max(map(len, body.roles)) * 4 > NAME_BYTES_MAX:
        is_bad |= np.array([len(role.encode()) > NAME_BYTES_MAX for role in body.roles])
    if not is_bad.any():
        return
    owner = np.repeat(np.arange(len(counts)), counts)
    first = offsets(counts)
    for row in np.flatnonzero(is_bad).tolist():
        unit = int(owner[row])
        field, reason = _fault(body, classes, row)
        _refuse(refused, unit, f"groups[{row - int(first[unit])}].{field}", reason)


def _fault(body: Submit, classes: list[int | BadSpec], row: int) -> tuple[str, str]:
    """(field, reason) of a group that is refused."""
    groups = body.groups
    klass, count, pin = int(groups.klass[row]), int(groups.count[row]), int(groups.pin[row])
    if klass >= len(classes):
        return "class", f"{klass} names no class"
    fault = classes[klass]
    if isinstance(fault, BadSpec):
        return f"class.{fault.field}", fault.reason
    if count == 0:
        return "count", "is 0"
    if int(groups.min[row]) > count:
        return "min", f"{int(groups.min[row])} is above the count {count}"
    if not NO_PIN <= pin < len(body.pins):
        return "pin", f"{pin} names no pin"
    if pin >= 0 and not 0 < len(body.pins[pin].encode()) <= NAME_BYTES_MAX:
        return "pin", f"needs 1 to {NAME_BYTES_MAX} bytes"
    return "role", f"is above {NAME_BYTES_MAX} bytes"


def _without_doubles(batch: Batch, items: I64s) -> list[I64s]:
    """The items in parts that name each unit once, in order."""
    lo = batch.uid_lo[items]
    if len(np.unique(lo)) == len(lo):
        return [items]
    parts: list[list[int]] = []
    times: dict[str, int] = {}
    for item in items.tolist():
        key = batch.keys[item]
        time = times[key] = times.get(key, 0) + 1
        if time > len(parts):
            parts.append([])
        parts[time - 1].append(item)
    return [np.array(part, np.int64) for part in parts]


def _take(
    table: Table,
    config: DispatcherConfig,
    now_us: int,
    whole: Batch,
    items: I64s,
    refused: Refused,
) -> tuple[I64s, Submitted | None]:
    """Add the new ones of items that name each unit once."""
    batch = whole if len(items) == len(whole.keys) else whole.take(items)
    known = table.find(batch.uid_hi, batch.uid_lo)
    is_known = known >= 0
    if is_known.any():
        digest = mix(table.digest_of(batch.groups, batch.counts), batch.priority)
        other = is_known & (digest != table.units.digest[known])
        for item in items[other].tolist():
            reason = "is in use for a unit with other content"
            refused[item] = Refusal(Status.ALREADY_EXISTS, "key", reason)
    is_new = ~is_known
    is_new &= ~refuse_over_limit(table, config, batch, is_new, items, refused)
    if not is_new.any():
        return np.empty(0, np.int64), None
    if not is_new.all():
        batch = batch.take(np.flatnonzero(is_new))
    return add(table, now_us, batch)


def add(table: Table, now_us: int, batch: Batch) -> tuple[I64s, Submitted]:
    """Add new units, and the record of it."""
    age = table.age
    handles = table.add(
        batch.keys,
        batch.uid_hi,
        batch.uid_lo,
        batch.priority,
        now_us,
        batch.groups,
        batch.counts,
    )
    units = UnitRows(
        uid_hi=batch.uid_hi,
        uid_lo=batch.uid_lo,
        priority=batch.priority,
        groups=batch.counts.astype(np.uint8),
        digest=table.units.digest[handles],
    )
    defs = Defs(table.classes.cut(), table.names.cut())
    return handles, Submitted(now_us, age, tuple(batch.keys.tolist()), units, batch.groups, defs)


def refuse_over_limit(
    table: Table,
    config: DispatcherConfig,
    batch: Batch,
    is_new: NDArray[np.bool_],
    items: I64s,
    refused: Refused,
) -> NDArray[np.bool_]:
    """Which new units there is no room for; `items` are the batch's numbers in `refused`."""
    over = is_new & _over_limit(table, config, batch, is_new)
    for item in items[over].tolist():
        limit = f"{config.units_max} units or {config.replicas_max} replicas are waiting or running"
        refused[item] = Refusal(Status.RESOURCE_EXHAUSTED, "units", limit, config.retry_after_ms)
    return over


def _over_limit(
    table: Table, config: DispatcherConfig, batch: Batch, is_new: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which units come after the room here is used up, in order."""
    room = config.replicas_max - table.replica_count
    if table.live_count + len(is_new) <= config.units_max and int(batch.groups.count.sum()) <= room:
        return np.zeros(len(is_new), np.bool_)
    units = np.cumsum(is_new) + table.live_count
    replicas = np.cumsum(np.where(is_new, sums(batch.groups.count, batch.counts), 0))
    return (units > config.units_max) | (replicas + table.replica_count > config.replicas_max)


def _refuse(refused: Refused, item: int, field: str, reason: str) -> None:
    refused.setdefault(item, Refusal(Status.INVALID_ARGUMENT, field, reason))


def _refuse_all(refused: Refused, is_bad: NDArray[np.bool_], field: str, reason: str) -> None:
    if is_bad.any():
        for item in np.flatnonzero(is_bad).tolist():
            _refuse(refused, item, field, reason)


def texts(keys: tuple[str, ...]) -> NDArray[Any]:
    """Texts as a column."""
    made = np.empty(len(keys), object)
    made[:] = keys
    return made
