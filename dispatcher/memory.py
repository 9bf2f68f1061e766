"""Records in, records out: what a former life wrote, and a snapshot that stands for all of it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dispatcher import requests
from dispatcher.amendments import Amendments
from dispatcher.codes import Op, State
from dispatcher.columns import I64s
from dispatcher.commands import Asked
from dispatcher.grouping.gangs import Gangs
from dispatcher.lifecycle import Lifecycle
from dispatcher.records import (
    Amended,
    Cancelled,
    Defs,
    Expired,
    Joined,
    Kept,
    KeptMarks,
    KeptReplicas,
    KeptUnits,
    Record,
    Reported,
    Settled,
    Submitted,
)
from dispatcher.reports import Reports
from dispatcher.settling import Settling
from dispatcher.table import Table

UNITS_PER_RECORD = 50_000


class Memory:
    """See the module."""

    def __init__(
        self,
        table: Table,
        lifecycle: Lifecycle,
        asked: Asked,
        settling: Settling,
        amendments: Amendments,
        reports: Reports,
        gangs: Gangs,
    ) -> None:
        self._table = table
        self._lifecycle = lifecycle
        self._asked = asked
        self._settling = settling
        self._amendments = amendments
        self._reports = reports
        self._gangs = gangs

    def restore(self, records: Iterable[Record]) -> None:
        """Take over records in their order; then everything that waits is active."""
        self._lifecycle.is_restoring = True
        for record in records:
            self._replay(record)
        self._lifecycle.queue_all()
        self._table.classes.cut()
        self._table.names.cut()

    def snapshot(self) -> list[Record]:
        """Records that stand for everything so far, in a form that depends on nothing else."""
        table = self._table
        known = table.known()
        marks = KeptMarks(
            age=table.age,
            finished=table.finished_count,
            next=self._settling.next,
            defs=Defs(table.classes.whole(), table.names.whole()),
            orphans=self._asked.orphans,
            gangs=self._gangs.kept(),
        )
        parts = range(0, len(known), UNITS_PER_RECORD)
        return [marks, *(self._kept(known[at : at + UNITS_PER_RECORD]) for at in parts)]

    def _replay(self, record: Record) -> None:
        if isinstance(record, Settled) and record.next <= self._settling.next:
            # Outcomes that were not written yet when a snapshot was taken which has them.
            return
        if isinstance(record, Submitted | Amended | Settled | Joined | KeptMarks):
            self._define(record.defs)
        match record:
            case Submitted():
                requests.replay(self._table, record)
            case Cancelled():
                self._amendments.replay_cancel(record)
            case Amended():
                self._amendments.replay_amend(record)
            case Reported():
                self._reports.replay(record)
            case Settled(at_us=at_us, next=following, rows=rows):
                self._settling.replay(at_us, following, rows)
            case Joined():
                self._gangs.replay_join(record)
            case Expired():
                self._gangs.replay_expired(record)
            case KeptMarks():
                self._take_marks(record)
            case Kept():
                self._take_kept(record)

    def _define(self, defs: Defs) -> None:
        for entry in defs.classes:
            self._table.classes.define(entry.index, entry.encoded)
        for name in defs.names:
            self._table.names.define(name.index, name.name)

    def _take_marks(self, marks: KeptMarks) -> None:
        self._table.age = marks.age
        self._table.finished_count = marks.finished
        self._settling.next = marks.next
        orphans = marks.orphans
        for hi, lo in zip(orphans.uid_hi.tolist(), orphans.uid_lo.tolist(), strict=True):
            self._asked.adopt((hi, lo))
        self._gangs.take_kept(marks.gangs)

    def _take_kept(self, kept: Kept) -> None:
        table, rows = self._table, kept.units
        age = table.age
        handles = table.add(
            np.array([*kept.keys, None], object)[:-1],
            rows.uid_hi,
            rows.uid_lo,
            rows.priority,
            0,
            kept.groups,
            rows.groups.astype(np.int64),
        )
        table.age = age
        units = table.units
        for name in ("age", "revision", "digest", "op", "is_failed", "finished", "reason"):
            getattr(units, name)[handles] = getattr(rows, name)
        units.submitted_us[handles] = rows.submitted_us
        units.bound_us[handles] = rows.bound_us
        replicas = table.all_replicas(handles)
        for name in ("phase", "node", "freeing"):
            getattr(table.replicas, name)[replicas] = getattr(kept.replicas, name)
        is_over = rows.finished != 0
        table.take_finished(handles[is_over])
        units.state[handles[rows.is_gathering != 0]] = State.GATHERING
        units.state[handles[(rows.op != Op.NONE) & ~is_over]] = State.COMMANDED
        self._lifecycle.review(0, handles[units.state[handles] == State.LOOSE])

    def _kept(self, handles: I64s) -> Kept:
        table, units = self._table, self._table.units
        replicas = table.all_replicas(handles)
        phase = table.replicas.phase[replicas]
        rows = KeptUnits(
            uid_hi=units.uid_hi[handles],
            uid_lo=units.uid_lo[handles],
            priority=units.priority[handles],
            age=units.age[handles],
            revision=units.revision[handles],
            groups=units.groups[handles].astype(np.uint8),
            digest=units.digest[handles],
            op=units.op[handles],
            is_failed=units.is_failed[handles],
            is_gathering=(units.state[handles] == State.GATHERING).astype(np.uint8),
            finished=units.finished[handles],
            submitted_us=units.submitted_us[handles],
            bound_us=units.bound_us[handles],
            reason=np.where(units.is_failed[handles] != 0, units.reason[handles], 0).astype(
                np.uint16
            ),
        )
        kept = KeptReplicas(
            phase=phase,
            node=table.replicas.node[replicas],
            freeing=table.replicas.freeing[replicas],
        )
        return Kept(tuple(table.keys[handles].tolist()), rows, table.groups_of(handles), kept)
