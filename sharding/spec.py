"""Whether a rollingset's spec can be released at all: bounds, names, and what is not supported yet.

`checked` is the only way to a spec that the core keeps. Every refusal names the field.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cell.classes import normalise
from cell.messages import ITEMS_MAX
from cell.names import UNSHOWABLE, is_showable
from cell.reasons import Refusal, Status
from cell.release import ReleaseColumn, RollingsetSpec
from cell.requirements import BadSpec
from cell.settings import Natural, Positive
from cell.unit import GROUPS_MAX, KEY_BYTES_MAX, PRIORITY_MAX, REPLICAS_MAX, GroupSpec, Place
from sharding.rolling import share_ceil, share_floor


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Named limits of a rolling controller."""

    rollingsets_max: Positive = 1000
    rows_max: Positive = 1000
    columns_max: Annotated[int, msgspec.Meta(ge=1, le=GROUPS_MAX)] = GROUPS_MAX
    replicas_per_row_max: Annotated[int, msgspec.Meta(ge=1, le=REPLICAS_MAX)] = REPLICAS_MAX
    name_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=KEY_BYTES_MAX - 22)] = 200
    """Of a rollingset or a column; keys of units are longer by row and incarnation."""
    versions_max: Positive = 16
    call_items_max: Annotated[int, msgspec.Meta(ge=1, le=ITEMS_MAX)] = 500
    """Items of one Call."""
    retry_ms_min: Positive = 100
    recover_backoff_ms_min: Positive = 1000
    recover_backoff_ms_max: Positive = 60_000
    steady_ms: Natural = 60_000
    """A row that served this long has its recovery backoff forgotten."""


class Refused(Exception):
    """A request that is refused; carries the answer."""

    def __init__(self, status: Status, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.refusal = Refusal(status, field, reason)


def checked(spec: RollingsetSpec, limits: Limits) -> RollingsetSpec:
    """The spec with canonical classes. Raises Refused with the culprit's field."""
    _check_name("name", spec.name, limits.name_bytes_max)
    _check_range("rows", spec.rows, 0, limits.rows_max)
    _check_range("priority", spec.priority, -PRIORITY_MAX, PRIORITY_MAX)
    if spec.place not in (Place.KEEP, Place.ANYWHERE):
        raise Refused(Status.UNIMPLEMENTED, "place", f"{spec.place.name} is not supported yet")
    _check_budgets(spec)
    return msgspec.structs.replace(spec, columns=_columns(spec.columns, limits))


def check_change(old: RollingsetSpec, new: RollingsetSpec) -> None:
    """Whether a rollingset may go from `old` to `new`. Raises Refused."""
    if new.priority != old.priority:
        raise Refused(Status.UNIMPLEMENTED, "priority", "cannot be changed yet")
    if [(c.name, c.count) for c in new.columns] != [(c.name, c.count) for c in old.columns]:
        reason = "names and counts of columns cannot be changed yet, only their classes"
        raise Refused(Status.UNIMPLEMENTED, "columns", reason)


def groups_of(columns: tuple[ReleaseColumn, ...]) -> tuple[GroupSpec, ...]:
    """The replica groups of one row: a gang, so every group needs all its replicas."""
    return tuple(GroupSpec(c.klass, c.name, c.count, c.count) for c in columns)


def _check_name(field: str, name: str, bytes_max: int) -> None:
    if not name:
        raise Refused(Status.INVALID_ARGUMENT, field, "is empty")
    if len(name.encode()) > bytes_max:
        reason = f"{len(name.encode())} bytes, limit {bytes_max}"
        raise Refused(Status.INVALID_ARGUMENT, field, reason)
    if "/" in name:
        raise Refused(Status.INVALID_ARGUMENT, field, "has a slash")
    if not is_showable(name):
        raise Refused(Status.INVALID_ARGUMENT, field, UNSHOWABLE)


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        reason = f"{value} is not between {low} and {high}"
        raise Refused(Status.INVALID_ARGUMENT, field, reason)


def _check_budgets(spec: RollingsetSpec) -> None:
    field = "max_unavailable"
    try:
        unavailable = share_floor(spec.max_unavailable, spec.rows)
        field = "max_surge"
        surge = share_ceil(spec.max_surge, max(spec.rows, 1))
        field = "keep"
        share_ceil(spec.keep, spec.rows)
    except ValueError as error:
        raise Refused(Status.INVALID_ARGUMENT, field, str(error)) from None
    if surge:
        raise Refused(Status.UNIMPLEMENTED, "max_surge", "surge is not supported yet, use 0")
    if spec.rows and not unavailable:
        reason = (
            f"{spec.max_unavailable} of {spec.rows} rows is less than one row, "
            "and without surge no row could ever be released: use 1 or more"
        )
        raise Refused(Status.INVALID_ARGUMENT, "max_unavailable", reason)


def _columns(columns: tuple[ReleaseColumn, ...], limits: Limits) -> tuple[ReleaseColumn, ...]:
    _check_range("columns", len(columns), 1, limits.columns_max)
    names: set[str] = set()
    canonical = []
    for i, column in enumerate(columns):
        field = f"columns[{i}]"
        _check_name(f"{field}.name", column.name, limits.name_bytes_max)
        if column.name in names:
            raise Refused(Status.INVALID_ARGUMENT, f"{field}.name", "named twice")
        names.add(column.name)
        _check_range(f"{field}.count", column.count, 1, limits.replicas_per_row_max)
        try:
            canonical.append(msgspec.structs.replace(column, klass=normalise(column.klass)))
        except BadSpec as error:
            path = f"{field}.class.{error.field}"
            raise Refused(Status.INVALID_ARGUMENT, path, error.reason) from None
    _check_range("columns", sum(c.count for c in columns), 1, limits.replicas_per_row_max)
    return tuple(canonical)
