"""Snapshots: all that is durable of the dispatcher as records, and back."""

from __future__ import annotations

import numpy as np

from dispatcher.columns import I64s
from dispatcher.commands import Asked
from dispatcher.grouping.gathering import Gang, Gathering
from dispatcher.records import Defs, Kept, KeptMarks, KeptReplicas, KeptUnits, Record
from dispatcher.table import State, Table

UNITS_PER_RECORD = 10_000


def snapshot_of(
    table: Table, asked: Asked, gathering: Gathering, next_outcome: int
) -> list[Record]:
    """Records that stand for all so far."""
    gathering.purge()
    marks = KeptMarks(
        age=table.age,
        finished=table.finished_count,
        next=next_outcome,
        defs=Defs(table.classes.whole(), table.names.whole()),
        orphans=asked.orphans,
        gangs=tuple((g.deadline_us, tuple(g.members.values())) for g in gathering.gangs.values()),
    )
    known = table.known()
    parts = [known[i : i + UNITS_PER_RECORD] for i in range(0, len(known), UNITS_PER_RECORD)]
    return [marks, *(_kept(table, part) for part in parts)]


def take_marks(table: Table, asked: Asked, gathering: Gathering, marks: KeptMarks) -> None:
    """The first record of a snapshot."""
    table.age, table.finished_count = marks.age, marks.finished
    for hi, lo in zip(marks.orphans.uid_hi.tolist(), marks.orphans.uid_lo.tolist(), strict=True):
        asked.adopt((hi, lo))
    for deadline_us, members in marks.gangs:
        gathering.gangs[members[0].gang] = Gang(deadline_us, {m.name: m for m in members})


def take_kept(table: Table, kept: Kept) -> None:
    """A part of a snapshot."""
    rows, age = kept.units, table.age
    keys = np.empty(len(kept.keys), object)
    keys[:] = kept.keys
    counts = rows.groups.astype(np.int64)
    handles = table.add(keys, rows.uid_hi, rows.uid_lo, rows.priority, 0, kept.groups, counts)
    table.age = age
    units = table.units
    for name in ("age", "revision", "digest", "op", "is_failed", "finished"):
        getattr(units, name)[handles] = getattr(rows, name)
    units.submitted_us[handles], units.bound_us[handles] = rows.submitted_us, rows.bound_us
    replicas = table.all_replicas(handles)
    for name in ("phase", "node", "freeing"):
        getattr(table.replicas, name)[replicas] = getattr(kept.replicas, name)
    units.state[handles[rows.is_gathering != 0]] = State.GATHERING
    over = handles[rows.finished != 0]
    units.state[over] = State.FINISHED
    table.live_count -= len(over)
    table.finished.extend(over.tolist())


def _kept(table: Table, handles: I64s) -> Kept:
    units, replicas = table.units, table.all_replicas(handles)
    names = ("uid_hi", "uid_lo", "priority", "age", "revision", "digest", "op", "is_failed")
    columns = {name: getattr(units, name)[handles] for name in names}
    is_over = units.state[handles] == State.FINISHED
    return Kept(
        keys=tuple(table.keys[handles].tolist()),
        units=KeptUnits(
            **columns,
            groups=units.groups[handles].astype(np.uint8),
            is_gathering=(units.state[handles] == State.GATHERING).astype(np.uint8),
            finished=np.where(is_over, units.finished[handles], np.uint64(0)),
            submitted_us=units.submitted_us[handles],
            bound_us=units.bound_us[handles],
        ),
        groups=table.groups_of(handles),
        replicas=KeptReplicas(
            phase=table.replicas.phase[replicas],
            node=table.replicas.node[replicas],
            freeing=table.replicas.freeing[replicas],
        ),
    )
