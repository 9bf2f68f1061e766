"""Amend and Cancel: a new revision of a unit, or its end.

What must hold: no plan of an older revision, or of a cancelled unit, can be committed once the unit
has gone on. So when a plan may exist, the binder settles a command first (`Op`); a unit that was
never given out needs none.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.messages import Amend, AmendItem, Cancel
from cell.reasons import Reason, Refusal, Status
from cell.requirements import BadSpec
from cell.unit import GROUPS_MAX, REPLICAS_MAX, GroupSpec, Place
from dispatcher.codes import Op, Phase, State
from dispatcher.columns import I64s, offsets
from dispatcher.commands import Asked
from dispatcher.dictionary import NONE
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.records import (
    Amended,
    AmendRows,
    Cancelled,
    CancelRows,
    Defs,
    GroupRows,
)
from dispatcher.requests import NAME_BYTES_MAX, Refused, check_count
from dispatcher.table import Table
from dispatcher.uids import find_keys
from dispatcher.waiting.sets import Waiting


class _No(Exception):
    """An item is refused."""

    def __init__(self, status: Status, field: str, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(status, field, reason)


class _Step(msgspec.Struct):
    """An amendment that was accepted and changes something."""

    handle: int
    op: int
    groups: list[tuple[int, int, int, int, int]]
    """(klass, count, min, pin, role) per group."""


class Amendments:
    """See the module."""

    def __init__(
        self, table: Table, waiting: Waiting, lifecycle: Lifecycle, asked: Asked, news: News
    ) -> None:
        self._table = table
        self._waiting = waiting
        self._lifecycle = lifecycle
        self._asked = asked
        self._news = news

    # Cancel

    def cancel(self, now_us: int, body: Cancel) -> tuple[Refused, Cancelled | None]:
        """End units; returns who was refused, and the record."""
        check_count("keys", len(body.keys))
        found = find_keys(self._table, body.keys)
        refused = {i: _UNKNOWN for i in np.flatnonzero(found < 0).tolist()}
        return refused, self.end(now_us, np.unique(found[found >= 0]))

    def end(self, now_us: int, handles: I64s) -> Cancelled | None:
        """End units (each named once); the record, if any of them had not ended."""
        units = self._table.units
        handles = handles[units.state[handles] != State.FINISHED]
        handles = handles[units.op[handles] != Op.CANCEL]
        if not len(handles):
            return None
        is_over = (units.is_tried[handles] == 0) & (units.bound_us[handles] == 0)
        rows = CancelRows.of(
            uid_hi=units.uid_hi[handles], uid_lo=units.uid_lo[handles], is_over=is_over
        )
        self._cancel(now_us, handles, is_over)
        return Cancelled(now_us, rows)

    def replay_cancel(self, record: Cancelled) -> None:
        """Apply a record."""
        handles = self._table.find(record.rows.uid_hi, record.rows.uid_lo)
        known = handles >= 0
        self._cancel(record.at_us, handles[known], record.rows.is_over[known] != 0)

    def _cancel(self, now_us: int, handles: I64s, is_over: NDArray[np.bool_]) -> None:
        table = self._table
        ended, asked = handles[is_over], handles[~is_over]
        if len(ended):
            self._waiting.leave(ended, State.LOOSE)
            table.replicas.phase[table.all_replicas(ended)] = Phase.CANCELLED
            self._news.units(ended, Phase.CANCELLED, Reason.CANCELLED)
            self._lifecycle.review(now_us, ended)
        if len(asked):
            self._asked.ask(asked, Op.CANCEL)
            self._lifecycle.command(now_us, asked)
            table.whys[asked] = "being cancelled"

    # Amend

    def amend(self, now_us: int, body: Amend) -> tuple[Refused, Amended | None]:
        """Give units new revisions; returns who was refused, and the record."""
        check_count("items", len(body.items))
        refused: Refused = {}
        steps: list[_Step] = []
        found = find_keys(self._table, tuple(item.key for item in body.items)).tolist()
        for i, (handle, item) in enumerate(zip(found, body.items, strict=True)):
            try:
                step = self._step(handle, item)
            except _No as no:
                refused[i] = no.refusal
                continue
            if step is not None:
                self._apply(now_us, step)
                steps.append(step)
        return refused, self._record(now_us, steps) if steps else None

    def replay_amend(self, record: Amended) -> None:
        """Apply a record."""
        rows, groups = record.rows, record.groups
        counts = rows.groups.astype(np.int64)
        first = offsets(counts)
        handles = self._table.find(rows.uid_hi, rows.uid_lo)
        columns = (groups.klass, groups.count, groups.min, groups.pin, groups.role)
        for i in np.flatnonzero(handles >= 0).tolist():
            part = slice(int(first[i]), int(first[i] + counts[i]))
            content = list(zip(*(column[part].tolist() for column in columns), strict=True))
            self._apply(record.at_us, _Step(int(handles[i]), int(rows.op[i]), content))

    def _step(self, handle: int, item: AmendItem) -> _Step | None:
        """What an item means for its unit; None when it is what the unit is already."""
        units = self._table.units
        if handle < 0:
            raise _No(Status.NOT_FOUND, "key", "unknown unit")
        if item.place not in (Place.KEEP, Place.ANYWHERE):
            raise _No(Status.UNIMPLEMENTED, "place", f"{Place(item.place).name} is not built yet")
        groups = self._content(item.groups)
        present = int(units.revision[handle])
        if item.revision == present:
            rows, counts = _rows([groups])
            if self._table.digest_of(rows, counts)[0] == units.content[handle]:
                return None
            reason = f"revision {present} has other content"
            raise _No(Status.ALREADY_EXISTS, "revision", reason)
        if item.revision != present + 1:
            raise _No(Status.FAILED_PRECONDITION, "revision", f"the present one is {present}")
        self._check_amendable(handle)
        return _Step(handle, self._op(handle, item.place, groups), groups)

    def _check_amendable(self, handle: int) -> None:
        table = self._table
        if table.units.state[handle] == State.GATHERING:
            raise _No(Status.FAILED_PRECONDITION, "key", "the gang is not complete")
        if table.units.op[handle] == Op.CANCEL:
            raise _No(Status.FAILED_PRECONDITION, "key", "is being cancelled")
        phase = table.replicas.phase[table.all_replicas(np.array([handle], np.int64))]
        if table.units.state[handle] == State.FINISHED or (phase >= Phase.DONE).any():
            raise _No(Status.FAILED_PRECONDITION, "key", "replicas of it have ended")

    def _op(self, handle: int, place: Place, groups: list[tuple[int, int, int, int, int]]) -> int:
        table, one = self._table, np.array([handle], np.int64)
        has_claims = bool(table.is_claim(table.all_replicas(one)).any())
        if not has_claims:
            return Op.RELEASE if table.units.is_tried[handle] else Op.NONE
        if place is Place.ANYWHERE:
            return Op.RELEASE
        rows = table.group_rows(one)
        if len(groups) != len(rows):
            raise _No(Status.UNIMPLEMENTED, "groups", "their number cannot change in place")
        for i, row in enumerate(rows.tolist()):
            _, count, _, pin, _ = groups[i]
            if count < table.groups.count[row]:
                field = f"groups[{i}].count"
                raise _No(Status.UNIMPLEMENTED, field, "cannot shrink in place; place it anywhere")
            if pin != table.groups.pin[row]:
                field = f"groups[{i}].pin"
                raise _No(Status.FAILED_PRECONDITION, field, "cannot change in place")
        return Op.AMEND

    def _apply(self, now_us: int, step: _Step) -> None:
        table, one = self._table, np.array([step.handle], np.int64)
        self._lifecycle.land(one)
        self._waiting.leave(one, State.LOOSE)
        self._waiting.settle(now_us, one)
        kept = self._claims(one) if step.op == Op.AMEND else []
        table.drop_content(one)
        rows, counts = _rows([step.groups])
        table.set_content(one, rows, counts)
        table.units.revision[one] += 1
        if step.op != Op.AMEND:
            table.units.bound_us[one] = 0
        for group, ordinal, node in kept:
            row = int(table.units.replica_at[step.handle]) + ordinal
            row += int(table.groups.offset[int(table.units.group_at[step.handle]) + group])
            table.replicas.phase[row] = Phase.PLACING
            table.replicas.node[row] = node
        self._tell(one, step.op)
        if step.op == Op.NONE:
            self._lifecycle.review(now_us, one)
        else:
            self._asked.ask(one, step.op)
            self._lifecycle.command(now_us, one)

    def _claims(self, one: I64s) -> list[tuple[int, int, int]]:
        """(group, ordinal, node) of what holds room."""
        table = self._table
        rows = table.all_replicas(one)
        rows = rows[table.is_claim(rows)]
        group, ordinal = table.place_of(np.repeat(one, len(rows)), rows)
        nodes = table.replicas.node[rows]
        return list(zip(group.tolist(), ordinal.tolist(), nodes.tolist(), strict=True))

    def _tell(self, one: I64s, op: int) -> None:
        table = self._table
        table.units.reason[one] = Reason.NONE
        table.whys[one] = {Op.AMEND: "being amended in place", Op.RELEASE: "being released"}.get(
            op, ""
        )
        if op == Op.AMEND:
            rows = table.all_replicas(one)
            self._news.replicas(rows)
        else:
            self._news.units(one, Phase.WAITING)

    def _content(self, groups: tuple[GroupSpec, ...]) -> list[tuple[int, int, int, int, int]]:
        if not 0 < len(groups) <= GROUPS_MAX:
            raise _No(Status.INVALID_ARGUMENT, "groups", f"needs 1 to {GROUPS_MAX}")
        if sum(group.count for group in groups) > REPLICAS_MAX:
            reason = f"more than {REPLICAS_MAX} replicas"
            raise _No(Status.INVALID_ARGUMENT, "groups", reason)
        return [self._group(f"groups[{i}]", group) for i, group in enumerate(groups)]

    def _group(self, path: str, group: GroupSpec) -> tuple[int, int, int, int, int]:
        klass = self._table.classes.of(group.klass)
        fault = ("", "")
        if isinstance(klass, BadSpec):
            raise _No(Status.INVALID_ARGUMENT, f"{path}.class.{klass.field}", klass.reason)
        if group.count < 1:
            fault = ("count", f"{group.count} is below 1")
        elif not 0 <= group.min <= group.count:
            fault = ("min", f"{group.min} is outside 0 to the count {group.count}")
        elif len(group.pin.encode()) > NAME_BYTES_MAX:
            fault = ("pin", f"is above {NAME_BYTES_MAX} bytes")
        elif len(group.role.encode()) > NAME_BYTES_MAX:
            fault = ("role", f"is above {NAME_BYTES_MAX} bytes")
        if fault[0]:
            raise _No(Status.INVALID_ARGUMENT, f"{path}.{fault[0]}", fault[1])
        names = self._table.names
        pin = names.number(group.pin) if group.pin else NONE
        role = names.number(group.role) if group.role else NONE
        return klass, group.count, group.min, pin, role

    def _record(self, now_us: int, steps: list[_Step]) -> Amended:
        units = self._table.units
        handles = [step.handle for step in steps]
        rows, counts = _rows([step.groups for step in steps])
        amended = AmendRows.of(
            uid_hi=units.uid_hi[handles],
            uid_lo=units.uid_lo[handles],
            revision=units.revision[handles],
            op=[step.op for step in steps],
            groups=counts,
        )
        defs = Defs(self._table.classes.cut(), self._table.names.cut())
        return Amended(now_us, amended, rows, defs)


_UNKNOWN = Refusal(Status.NOT_FOUND, "key", "unknown unit")


def _rows(contents: list[list[tuple[int, int, int, int, int]]]) -> tuple[GroupRows, I64s]:
    """Groups of several units, and how many each has."""
    flat: Any = np.array([row for content in contents for row in content], np.int32).reshape(-1, 5)
    klass, count, minimum, pin, role = flat.T
    groups = GroupRows(klass=klass, count=count, min=minimum, pin=pin, role=role)
    return groups, np.array([len(content) for content in contents], np.int64)
