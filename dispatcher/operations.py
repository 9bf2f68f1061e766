"""Cancel, amend and report: checked item by item, made a record, and applied, live and at restore.

A request changes nothing until its record is made; `apply_*` take the record alone, so a replayed log
gives the same table. What the binder must follow is asked of it through `commands`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.classes import BadSpec
from cell.messages import Acks, Amend, AmendItem, Cancel, Report
from cell.reasons import Reason, Status
from cell.uid_index import ABSENT
from cell.unit import (
    GROUPS_MAX,
    REPLICAS_MAX,
    GroupSpec,
    Phase,
    Place,
    uid_of,
)
from dispatcher.columns import I64s, U64s
from dispatcher.commands import Asked, Op
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.records import (
    Amended,
    AmendRows,
    Cancelled,
    CancelRows,
    Defs,
    GroupRows,
    PhaseRows,
    Reported,
)
from dispatcher.refusals import Refusals
from dispatcher.table import State, Table
from dispatcher.waiting.sets import Waiting

REPORTED = (Phase.STARTING, Phase.READY, Phase.DONE, Phase.FAILED)


class Operations:
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

    def cancel(self, now_us: int, request: Cancel) -> tuple[Cancelled | None, Acks]:
        """Units that are not over end; those that are, or are ending, are acked again."""
        refusals, units = Refusals(), self._table.units
        hi, lo = uids_of(request.keys)
        handles = self._table.find(hi, lo)
        is_open = handles != ABSENT
        refusals.add_all(~is_open, Status.NOT_FOUND, "key", "unknown unit")
        known = handles[is_open]
        is_open[is_open] = (units.state[known] != State.FINISHED) & (units.op[known] != Op.CANCEL)
        is_open &= _is_first(hi, lo)
        acks = refusals.acks(len(handles))
        if not is_open.any():
            return None, acks
        handles = handles[is_open]
        is_over = (units.is_tried[handles] == 0) & (units.op[handles] == Op.NONE)
        rows = CancelRows(uid_hi=hi[is_open], uid_lo=lo[is_open], is_over=is_over.astype(np.uint8))
        return Cancelled(now_us, rows), acks

    def apply_cancel(self, record: Cancelled) -> None:
        """End at once what no plan can exist of; the binder ends the rest."""
        rows, table = record.rows, self._table
        handles = table.find(rows.uid_hi, rows.uid_lo)
        is_over = rows.is_over != 0
        over, others = handles[is_over], handles[~is_over]
        if len(over):
            self._leave(record.at_us, over)
            replicas = table.all_replicas(over)
            table.replicas.phase[replicas] = Phase.CANCELLED
            self._news.units(over, Phase.CANCELLED, Reason.CANCELLED)
            self._lifecycle.review(record.at_us, over)
        if len(others):
            self._asked.ask(others, Op.CANCEL)
            self._lifecycle.command(record.at_us, others)

    # Amend

    def amend(self, now_us: int, request: Amend) -> tuple[Amended | None, Acks]:
        """New revisions; the present one with equal content is acked again."""
        refusals, parts, seen = Refusals(), [], set()
        heads: list[tuple[int, ...]] = []
        for i, item in enumerate(request.items):
            found = self._amendment(i, item, refusals)
            if found is None:
                continue
            if item.key in seen:
                refusals.add(i, Status.FAILED_PRECONDITION, "key", "is amended twice in one batch")
                continue
            seen.add(item.key)
            op, groups = found
            heads.append((*uid_of(item.key), item.revision, op, len(groups)))
            parts.append(groups)
        acks = refusals.acks(len(request.items))
        if not heads:
            return None, acks
        names = ("uid_hi", "uid_lo", "revision", "op", "groups")
        columns = {name: [head[i] for head in heads] for i, name in enumerate(names)}
        defs = Defs(self._table.classes.cut(), self._table.names.cut())
        return Amended(now_us, AmendRows.of(**columns), GroupRows.concat(parts), defs), acks

    def apply_amend(self, record: Amended) -> None:
        """Give units their new revision: in place under AMEND, with fresh replicas otherwise."""
        rows, table, units = record.rows, self._table, self._table.units
        handles, counts = table.find(rows.uid_hi, rows.uid_lo), rows.groups.astype(np.int64)
        ends = np.cumsum(counts)
        for i, handle in enumerate(handles.tolist()):
            one, op = handles[i : i + 1], Op(int(rows.op[i]))
            groups = record.groups.take(slice(int(ends[i] - counts[i]), int(ends[i])))
            self._leave(record.at_us, one)
            units.revision[handle] = rows.revision[i]
            units.conflicts[handle] = 0
            if op is Op.AMEND:
                self._swap(handle, groups)
            else:
                table.drop_content(one)
                table.set_content(one, groups, counts[i : i + 1])
                units.bound_us[handle] = 0
                self._news.units(one, Phase.WAITING)
            if op is Op.NONE:
                units.op[handle] = Op.NONE
                self._lifecycle.review(record.at_us, one)
            else:
                self._asked.ask(one, op)
                self._lifecycle.command(record.at_us, one)

    def _swap(self, handle: int, groups: GroupRows) -> None:
        """Other classes and minima for the same replicas; claims are being amended from now on."""
        table, one = self._table, np.array([handle], np.int64)
        rows, count = table.group_rows(one), np.array([len(groups)], np.int64)
        for name in ("klass", "min", "pin", "role"):
            getattr(table.groups, name)[rows] = getattr(groups, name)
        table.units.klass[handle] = groups.klass[0]
        table.units.route[handle] = table.routes.of(groups.klass, count)[0]
        table.units.content[handle] = table.digest_of(groups, count)[0]
        replicas = table.all_replicas(one)
        claims = replicas[table.is_claim(replicas)]
        table.replicas.phase[claims] = Phase.PLACING
        self._news.replicas(claims)

    def _amendment(
        self, i: int, item: AmendItem, refusals: Refusals
    ) -> tuple[Op, GroupRows] | None:
        """What an item asks for; None when it is refused, or acked again."""
        groups = self._groups(i, item.groups, refusals)
        handle = self._handle(item.key)
        if groups is None:
            return None
        if handle == ABSENT:
            refusals.add(i, Status.NOT_FOUND, "key", "unknown unit")
            return None
        table, units = self._table, self._table.units
        revision, state = int(units.revision[handle]), State(int(units.state[handle]))
        content = int(table.digest_of(groups, np.array([len(groups)], np.int64))[0])
        is_over = state is State.FINISHED or units.op[handle] == Op.CANCEL
        is_over |= bool(units.is_failed[handle])
        if item.revision == revision and content == int(units.content[handle]) and not is_over:
            return None
        if item.place not in (Place.KEEP, Place.ANYWHERE):
            refusals.add(i, Status.UNIMPLEMENTED, "place", f"{item.place.name} is not acted on yet")
        elif is_over or state is State.GATHERING:
            reason = "the unit has ended or is not whole yet"
            refusals.add(i, Status.FAILED_PRECONDITION, "key", reason)
        elif item.revision != revision + 1:
            reason = f"{item.revision} is not the present one, {revision}, plus one"
            refusals.add(i, Status.FAILED_PRECONDITION, "revision", reason)
        else:
            return self._operation(i, item, handle, groups, refusals)
        return None

    def _operation(
        self, i: int, item: AmendItem, handle: int, groups: GroupRows, refusals: Refusals
    ) -> tuple[Op, GroupRows] | None:
        table, one = self._table, np.array([handle], np.int64)
        replicas = table.all_replicas(one)
        has_room = bool(table.is_claim(replicas).any())
        is_released = table.units.op[handle] == Op.RELEASE
        if item.place is Place.KEEP and has_room and not is_released:
            present = table.groups_of(one).count
            if len(present) != len(groups) or (present != groups.count).any():
                reason = "KEEP does not change the number of replicas of a unit that has room"
                refusals.add(i, Status.INVALID_ARGUMENT, "groups", reason)
                return None
            return Op.AMEND, groups
        return (Op.RELEASE if table.units.is_tried[handle] else Op.NONE), groups

    def _groups(self, i: int, specs: tuple[GroupSpec, ...], refusals: Refusals) -> GroupRows | None:
        """Groups in numbers of the log; None when one is refused."""
        total = sum(spec.count for spec in specs)
        if not 1 <= len(specs) <= GROUPS_MAX or total > REPLICAS_MAX:
            reason = f"{len(specs)} groups of {total} replicas, limits {GROUPS_MAX}, {REPLICAS_MAX}"
            refusals.add(i, Status.INVALID_ARGUMENT, "groups", reason)
            return None
        classes = []
        for g, spec in enumerate(specs):
            number = self._table.classes.of(spec.klass)
            if isinstance(number, BadSpec):
                field = f"groups[{g}].class.{number.field}"
                refusals.add(i, Status.INVALID_ARGUMENT, field, number.reason)
                return None
            if spec.count < 1 or not 0 <= spec.min <= spec.count:
                reason = f"count {spec.count} with minimum {spec.min}"
                refusals.add(i, Status.INVALID_ARGUMENT, f"groups[{g}].count", reason)
                return None
            classes.append(number)
        names = self._table.names
        return GroupRows.of(
            klass=classes,
            count=[spec.count for spec in specs],
            min=[spec.min for spec in specs],
            pin=names.numbers(tuple(spec.pin for spec in specs)),
            role=names.numbers(tuple(spec.role for spec in specs)),
        )

    # Report

    def report(self, now_us: int, request: Report) -> tuple[Reported | None, Acks]:
        """Phases that go forward become a record; those reached already are acked again."""
        rows, refusals, table = request.rows, Refusals(), self._table
        count = len(request.keys)
        if len(rows) != count:
            reason = f"{len(rows)} rows for {count} keys"
            refusals.add_all(np.ones(count, np.bool_), Status.INVALID_ARGUMENT, "rows", reason)
            return None, refusals.acks(count)
        hi, lo = uids_of(request.keys)
        handles = table.find(hi, lo)
        refusals.add_all(handles == ABSENT, Status.NOT_FOUND, "key", "unknown unit")
        if not table.end:
            return None, refusals.acks(count)
        known = np.maximum(handles, 0)
        replicas, exists = table.replica_rows(known, rows.group, rows.ordinal)
        is_reached = self._check_reports(rows, known, replicas, exists, refusals)
        is_news = ~refusals.mask(count) & ~is_reached
        last = _is_last(replicas, is_news)
        acks = refusals.acks(count)
        if not last.any():
            return None, acks
        record = PhaseRows(
            uid_hi=hi[last],
            uid_lo=lo[last],
            group=rows.group[last],
            ordinal=rows.ordinal[last],
            phase=_highest(replicas, rows.phase, is_news)[last],
        )
        return Reported(now_us, record), acks

    def _check_reports(
        self,
        rows: Any,
        known: I64s,
        replicas: I64s,
        exists: NDArray[np.bool_],
        refusals: Refusals,
    ) -> NDArray[np.bool_]:
        """Refuse what cannot be; returns which replicas have got that far already."""
        table, units = self._table, self._table.units
        refusals.add_all(
            ~np.isin(rows.phase, REPORTED),
            Status.INVALID_ARGUMENT,
            "phase",
            "is none of STARTING, READY, FAILED, DONE",
        )
        refusals.add_all(~exists, Status.NOT_FOUND, "ordinal", "the unit has no such replica")
        is_other = (rows.revision != 0) & (rows.revision != units.revision[known])
        reason = "is not the unit's present revision"
        refusals.add_all(is_other, Status.FAILED_PRECONDITION, "revision", reason)
        phase = table.replicas.phase[replicas]
        is_reached = (phase >= rows.phase) & (phase >= Phase.STARTING)
        is_idle = (phase >= Phase.BOUND) & (units.op[known] == Op.NONE)
        reason = "the replica is not bound"
        refusals.add_all(~is_reached & ~is_idle, Status.FAILED_PRECONDITION, "ordinal", reason)
        return is_reached

    def apply_report(self, record: Reported) -> None:
        """Replicas go forward; an end gives room back, a failure fails the unit."""
        rows, table = record.rows, self._table
        handles = table.find(rows.uid_hi, rows.uid_lo)
        replicas, _ = table.replica_rows(handles, rows.group, rows.ordinal)
        table.replicas.phase[replicas] = rows.phase
        reasons = np.zeros(len(rows), np.uint16)
        reasons[rows.phase == Phase.FAILED] = Reason.REPORTED_FAILED
        reasons[rows.phase == Phase.DONE] = Reason.REPORTED_DONE
        is_end = rows.phase >= Phase.DONE
        self._asked.free(replicas[is_end], reasons[is_end])
        failed = handles[rows.phase == Phase.FAILED]
        table.units.is_failed[failed] = 1
        table.units.reason[failed] = Reason.REPORTED_FAILED
        self._news.replicas(replicas, reasons)
        self._lifecycle.review(record.at_us, np.unique(handles[is_end]))

    def _handle(self, key: str) -> int:
        hi, lo = uids_of((key,))
        return int(self._table.find(hi, lo)[0])

    def _leave(self, now_us: int, handles: I64s) -> None:
        """Out of flight and queues: LOOSE."""
        self._lifecycle.land(handles)
        self._waiting.leave(handles, State.LOOSE)
        self._waiting.settle(now_us, handles)


def uids_of(keys: tuple[str, ...]) -> tuple[U64s, U64s]:
    """Uids of keys as columns."""
    uids = [uid_of(key) for key in keys]
    hi = np.array([hi for hi, _ in uids], np.uint64)
    return hi, np.array([lo for _, lo in uids], np.uint64)


def _is_first(hi: U64s, lo: U64s) -> NDArray[np.bool_]:
    """Which items name a uid that no earlier item names."""
    if len(np.unique(lo)) == len(lo):
        return np.ones(len(lo), np.bool_)
    seen: set[tuple[int, int]] = set()
    first = []
    for uid in zip(hi.tolist(), lo.tolist(), strict=True):
        first.append(uid not in seen)
        seen.add(uid)
    return np.array(first, np.bool_)


def _is_last(replicas: I64s, is_news: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which news is the last of its replica."""
    is_last = np.zeros(len(replicas), np.bool_)
    _, place = np.unique(replicas[is_news][::-1], return_index=True)
    chosen = np.flatnonzero(is_news)
    is_last[chosen[len(chosen) - 1 - place]] = True
    return is_last


def _highest(replicas: I64s, phase: NDArray[Any], is_news: NDArray[np.bool_]) -> NDArray[Any]:
    """Per item the furthest phase that the batch has of its replica."""
    _, place = np.unique(replicas, return_inverse=True)
    highest = np.zeros(int(place.max(initial=0)) + 1, np.uint8)
    np.maximum.at(highest, place[is_news], phase[is_news].astype(np.uint8))
    return highest[place]
