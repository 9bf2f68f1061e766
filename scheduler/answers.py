"""What a scheduler says: plans for what was placed, answers for units that got nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.messages import Unplaced
from cell.reasons import Reason, Wake
from cell.unit import Assignments, NoFits, PlanOp, PlanRows, Shortfalls
from scheduler.explain import Explainer, Explanation
from scheduler.kernels.layout import NO_ROW, Placements
from scheduler.queue import Queued, unit_starts
from scheduler.tables import NodeTables


def plan_rows(queued: Queued, out: Placements, tables: NodeTables) -> PlanRows:
    """The rows of a plan, in order of placement; classes are local numbers."""
    rows, row = queued.rows, out.row
    return PlanRows(
        op=np.full(len(row), PlanOp.BIND, np.uint8),
        handle=rows.handle[row],
        uid_hi=rows.uid_hi[row],
        uid_lo=rows.uid_lo[row],
        revision=rows.revision[row],
        attempt=rows.attempt[row],
        group=rows.group[row],
        ordinal=rows.first[row] + out.nth.astype(np.uint32),
        klass=queued.batch.klass[row].astype(np.uint32),
        min=queued.least[row],
        node=out.node.astype(np.uint32),
        incarnation=tables.incarnations[out.node],
    )


def unplaced(
    queued: Queued, out: Placements, units: slice, explainer: Explainer
) -> Unplaced | None:
    """Answers for the units of the range that got nothing; like ones are explained once."""
    batch, short = queued.batch, out.short[units]
    short = short[short != NO_ROW]
    if not len(short):
        return None
    klass, pin = batch.klass[short].tolist(), batch.pin[short].tolist()
    got = out.got[short].tolist()
    numbers: dict[tuple[int, int, int], int] = {}
    which = [numbers.setdefault(key, len(numbers)) for key in zip(klass, pin, got, strict=True)]
    explained = [explainer.unit(*key) for key in numbers]
    return _told(queued.rows, short, np.array(which), explained)


def unready(rows: Assignments | PlanRows) -> NoFits:
    """Answers that give units back untried: to be given out again at once, elsewhere or here."""
    first = unit_starts(rows)[:-1]
    return _no_fits(rows, first, reason=Reason.SCHEDULER_UNREADY, argument=0, wakes=Wake.NONE)


def _told(
    rows: Assignments, first: NDArray[np.int32], which: NDArray[np.int64], said: list[Explanation]
) -> Unplaced:
    """Answers for the units at rows `first`, of which the i-th has explanation which[i]."""
    names = {"": 0}
    reason = np.array([e.reason for e in said])
    argument = np.array([_argument(e, names) for e in said])
    wakes = np.array([e.wakes for e in said])
    answer, column = _spread(which, np.array([len(e.refused) for e in said]))
    refused = [entry for e in said for entry in e.refused]
    shortfalls = Shortfalls.of(
        answer=answer,
        reason=np.array([r.reason for r in refused], np.uint16)[column],
        resource=np.array([_number(r.resource, names) for r in refused], np.uint16)[column],
        nodes=np.array([r.nodes for r in refused], np.uint32)[column],
    )
    fits = _no_fits(rows, first, reason=reason[which], argument=argument[which], wakes=wakes[which])
    return Unplaced(fits, shortfalls, tuple(names))


def _no_fits(rows: Assignments | PlanRows, first: NDArray[np.generic], **columns: object) -> NoFits:
    return NoFits.of(
        handle=rows.handle[first],
        uid_hi=rows.uid_hi[first],
        uid_lo=rows.uid_lo[first],
        attempt=rows.attempt[first],
        **columns,
    )


def _spread(
    which: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For ragged rows counted by `counts`: owner and source index of which[0]'s, which[1]'s, ..."""
    lengths = counts[which]
    ends = np.cumsum(lengths)
    owner = np.repeat(np.arange(len(which)), lengths)
    begins = (np.cumsum(counts) - counts)[which]
    return owner, np.arange(len(owner)) + np.repeat(begins - (ends - lengths), lengths)


def _argument(explanation: Explanation, names: dict[str, int]) -> int:
    """Names travel as numbers, counts as they are."""
    argument = explanation.argument
    return argument if isinstance(argument, int) else _number(argument, names)


def _number(name: str, names: dict[str, int]) -> int:
    """A name's number in the message; 0 where there is none."""
    return names.setdefault(name, len(names))
