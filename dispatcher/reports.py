"""Report: what became of replicas on their nodes.

A replica that has a place may start, get ready, fail or be done; the last two give its room back,
and a failed replica fails its unit: what still waits of it is not tried any more, what has room
keeps it until it is reported or cancelled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.messages import Report
from cell.reasons import Reason, Refusal, Status
from dispatcher.codes import PHASES, Phase
from dispatcher.columns import I64s
from dispatcher.commands import Asked
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.records import PhaseRows, Reported
from dispatcher.requests import Malformed, Refused, check_count
from dispatcher.table import Table
from dispatcher.uids import find_keys

_REASON = np.zeros(PHASES, np.uint16)
_REASON[Phase.DONE] = Reason.REPORTED_DONE
_REASON[Phase.FAILED] = Reason.REPORTED_FAILED


class Reports:
    """See the module."""

    def __init__(self, table: Table, lifecycle: Lifecycle, asked: Asked, news: News) -> None:
        self._table = table
        self._lifecycle = lifecycle
        self._asked = asked
        self._news = news

    def take(self, now_us: int, body: Report) -> tuple[Refused, Reported | None]:
        """Apply a batch in order; returns who was refused, and the record."""
        count = len(body.keys)
        check_count("keys", count)
        if len(body.rows) != count:
            raise Malformed("rows", f"{len(body.rows)} rows for {count} keys")
        refused: Refused = {}
        handles = find_keys(self._table, body.keys)
        items = self._existing(body, handles, refused)
        records = []
        for part in self._without_doubles(body, handles, items):
            done = self._part(now_us, body, handles, part, refused)
            if len(done):
                records.append(self._rows(body, handles, done))
        return refused, Reported(now_us, PhaseRows.concat(records)) if records else None

    def is_open(self, body: Report) -> bool:
        """Whether the binder has still to settle the end of a replica that was reported."""
        handles = find_keys(self._table, body.keys)
        found, exists = self._table.replica_rows(
            np.maximum(handles, 0), body.rows.group, body.rows.ordinal
        )
        return bool(self._table.replicas.freeing[found[exists & (handles >= 0)]].any())

    def replay(self, record: Reported) -> None:
        """Apply a record, row by row in order."""
        rows = record.rows
        handles = self._table.find(rows.uid_hi, rows.uid_lo)
        for i in np.flatnonzero(handles >= 0).tolist():
            found, exists = self._table.replica_rows(
                handles[i : i + 1], rows.group[i : i + 1], rows.ordinal[i : i + 1]
            )
            if exists[0]:
                self._apply(record.at_us, handles[i : i + 1], found, rows.phase[i : i + 1])

    def _existing(self, body: Report, handles: I64s, refused: Refused) -> I64s:
        """Items that name a replica of the present revision, and a phase that can be reported."""
        units, rows = self._table.units, body.rows
        _refuse(refused, handles < 0, Status.NOT_FOUND, "key", "unknown unit")
        is_phase = (rows.phase >= Phase.STARTING) & (rows.phase <= Phase.FAILED)
        said = "is none of STARTING, READY, FAILED, DONE"
        _refuse(refused, ~is_phase, Status.INVALID_ARGUMENT, "phase", said)
        safe = np.maximum(handles, 0)
        is_observed = (handles >= 0) & (units.is_observed[safe] != 0)
        said = "is a unit of pods: what becomes of them is seen in the API server"
        _refuse(refused, is_observed, Status.FAILED_PRECONDITION, "key", said)
        is_other = (handles >= 0) & (rows.revision != 0)
        is_other &= rows.revision != units.revision[safe]
        _refuse(refused, is_other, Status.FAILED_PRECONDITION, "revision", "is not the present one")
        no_group = (handles >= 0) & (rows.group >= units.groups[safe])
        _refuse(refused, no_group, Status.INVALID_ARGUMENT, "group", "the unit has no such group")
        _, exists = self._table.replica_rows(safe, rows.group, rows.ordinal)
        missing = (handles >= 0) & ~no_group & ~exists
        _refuse(
            refused, missing, Status.INVALID_ARGUMENT, "ordinal", "the group has no such replica"
        )
        items = np.arange(len(handles), dtype=np.int64)
        is_ours = (handles >= 0) & ~is_observed
        valid: I64s = items[is_ours & is_phase & ~is_other & exists]
        return valid

    def _without_doubles(self, body: Report, handles: I64s, items: I64s) -> list[I64s]:
        """The items in parts that name each replica once, in order."""
        found, _ = self._table.replica_rows(
            handles[items], body.rows.group[items], body.rows.ordinal[items]
        )
        if len(np.unique(found)) == len(found):
            return [items] if len(items) else []
        parts: list[list[int]] = []
        times: dict[int, int] = {}
        for item, row in zip(items.tolist(), found.tolist(), strict=True):
            time = times[row] = times.get(row, 0) + 1
            if time > len(parts):
                parts.append([])
            parts[time - 1].append(item)
        return [np.array(part, np.int64) for part in parts]

    def _part(
        self, now_us: int, body: Report, handles: I64s, items: I64s, refused: Refused
    ) -> I64s:
        """Apply items that name each replica once; returns those that changed something."""
        table = self._table
        owner, wanted = handles[items], body.rows.phase[items]
        found, _ = table.replica_rows(owner, body.rows.group[items], body.rows.ordinal[items])
        phase = table.replicas.phase[found]
        # A report that was overtaken by a later one changes nothing: phases go forward only.
        is_same = (phase == wanted) | ((phase < Phase.DONE) & (phase > wanted))
        has_ended = ~is_same & (phase >= Phase.DONE)
        is_unplaced = ~is_same & (phase < Phase.BOUND)
        status = Status.FAILED_PRECONDITION
        _refuse(refused, has_ended, status, "phase", "the replica has ended", items)
        _refuse(refused, is_unplaced, status, "phase", "the replica is not bound", items)
        changed = ~is_same & ~has_ended & ~is_unplaced
        if changed.any():
            self._apply(now_us, owner[changed], found[changed], wanted[changed])
        done: I64s = items[changed]
        return done

    def _apply(self, now_us: int, owner: I64s, found: I64s, phase: NDArray[Any]) -> None:
        table = self._table
        table.replicas.phase[found] = phase
        reasons = _REASON[phase]
        ended = phase >= Phase.DONE
        failed = owner[phase == Phase.FAILED]
        table.units.is_failed[failed] = 1
        table.units.reason[failed] = Reason.REPORTED_FAILED
        self._news.replicas(found, reasons)
        if ended.any():
            self._asked.free(found[ended], reasons[ended])
            self._lifecycle.review(now_us, np.unique(owner[ended]))

    def _rows(self, body: Report, handles: I64s, items: I64s) -> PhaseRows:
        units, owner = self._table.units, handles[items]
        return PhaseRows(
            uid_hi=units.uid_hi[owner],
            uid_lo=units.uid_lo[owner],
            group=body.rows.group[items],
            ordinal=body.rows.ordinal[items],
            phase=body.rows.phase[items],
        )


def _refuse(
    refused: Refused,
    is_bad: NDArray[np.bool_],
    status: Status,
    field: str,
    reason: str,
    items: I64s | None = None,
) -> None:
    if is_bad.any():
        bad = np.flatnonzero(is_bad) if items is None else items[is_bad]
        for item in bad.tolist():
            refused.setdefault(item, Refusal(status, field, reason))
