"""What a run believes of its units after a story told by Watch."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from godel.v1 import placement_pb2
from loadtest.tally import Tally
from tests.unit.loadtest.builders import (
    WHOLE_UNIT,
    a_change,
    a_view,
    a_workload,
    in_columns,
    in_rows,
    in_snapshot,
)


@dataclass(frozen=True)
class Case:
    """A gang of 3 with a minimum of 2 and what is told of it."""

    told: list[placement_pb2.WatchReply]
    want_placed: bool = False
    want_ended: bool = False
    want_held: int = 0
    want_lost: int = 0
    want_placed_at_s: float | None = field(default=None)


BOUND_0 = a_change("BOUND", ordinal=0)
BOUND_1 = a_change("BOUND", ordinal=1)
FAILED_1 = a_change("FAILED", ordinal=1)
WAITING = a_change("WAITING", ordinal=WHOLE_UNIT)

CASES = {
    "one of two is not placed": Case([in_rows(BOUND_0)], want_held=1),
    "both are placed, in columns": Case(
        [in_columns(BOUND_0, BOUND_1)], want_placed=True, want_held=2, want_placed_at_s=0
    ),
    "a doubled change counts once": Case([in_rows(BOUND_0, BOUND_0)], want_held=1),
    "over two replies the later is the time": Case(
        [in_rows(BOUND_0), in_rows(BOUND_1)], want_placed=True, want_held=2, want_placed_at_s=1
    ),
    "the whole unit at once": Case(
        [in_columns(a_change("BOUND", ordinal=WHOLE_UNIT))],
        want_placed=True,
        want_held=3,
        want_placed_at_s=0,
    ),
    "a failed replica is no longer held": Case(
        [in_rows(BOUND_0, BOUND_1), in_rows(FAILED_1)],
        want_held=1,
        want_lost=1,
        want_placed_at_s=0,
    ),
    "placed again keeps the first time": Case(
        [in_rows(BOUND_0, BOUND_1), in_rows(WAITING), in_rows(BOUND_0, BOUND_1)],
        want_placed=True,
        want_held=2,
        want_lost=1,
        want_placed_at_s=0,
    ),
    "ready and done still count": Case(
        [in_rows(BOUND_0, BOUND_1), in_rows(a_change("READY")), in_rows(a_change("DONE"))],
        want_placed=True,
        want_held=2,
        want_placed_at_s=0,
    ),
    "cancelled ends it": Case(
        [in_rows(BOUND_0), in_rows(a_change("CANCELLED", ordinal=WHOLE_UNIT))], want_ended=True
    ),
    "a snapshot replaces what was known": Case(
        [in_rows(BOUND_0, BOUND_1), in_snapshot(a_view("WAITING", "WAITING", "WAITING"))],
        want_lost=1,
        want_placed_at_s=0,
    ),
    "a snapshot shows what was missed": Case(
        [in_rows(BOUND_0), in_snapshot(a_view("RUNNING", "READY", "STARTING"))],
        want_placed=True,
        want_held=2,
        want_placed_at_s=1,
    ),
    "a snapshot shows a failure": Case([in_snapshot(a_view("FAILED"))], want_ended=True),
    "of other units nothing is kept": Case([in_rows(a_change("BOUND", key="other"))]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_tally_after_a_story(case: Case) -> None:
    tally = Tally(a_workload(count=3, least=2))

    for second, reply in enumerate(case.told):
        tally.apply(reply, float(second))

    assert bool(tally.is_placed[0]) is case.want_placed
    assert bool(tally.is_ended[0]) is case.want_ended
    assert tally.replicas_held == case.want_held
    assert tally.lost == case.want_lost
    at_s = tally.placed_at_s[0]
    assert (None if np.isnan(at_s) else at_s) == case.want_placed_at_s


def test_pending_is_what_was_accepted_and_has_neither_room_nor_an_end() -> None:
    tally = Tally(a_workload(("a", "b", "c", "d", "e")))
    tally.acked(np.array([0, 1, 2, 3]), refused=[3])

    tally.apply(in_rows(a_change("BOUND", key="b")), 0.0)
    tally.apply(in_rows(a_change("FAILED", key="c", ordinal=WHOLE_UNIT)), 0.0)

    assert tally.pending.tolist() == [0]
    assert tally.is_refused.tolist() == [False, False, False, True, False]
