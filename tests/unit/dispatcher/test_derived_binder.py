"""A binder that derives its ledger at each start: what it may have lost is asked for, or begun
anew.

Each test names a race that seeds of the simulated second home have found.
"""

from __future__ import annotations

import pytest

from cell.effects import PeerUp
from cell.link import DERIVED, Hello
from cell.messages import Assign, Command
from cell.reasons import Reason
from cell.unit import CommandOp, Phase, UnitSpec, Verdict
from tests.unit.dispatcher.builders import Desk, a_group, a_unit


def a_desk(*units: UnitSpec) -> Desk:
    desk = Desk()
    meet(desk, 1)
    desk.scheduler()
    desk.submit(*units)
    return desk


def meet(desk: Desk, term: int) -> None:
    """A session with a binder of the second home."""
    hello = Hello(name="binder", role="binder", term=term, features=(DERIVED,))
    desk.give(PeerUp("binder", hello))


def asked(desk: Desk) -> list[tuple[int, int]]:
    """(group, ordinal) of the claims that the last event had confirmed."""
    return [
        (row["group"], row["ordinal"])
        for _, command in desk.sent(Command)
        for row in command.rows.rows()
        if row["op"] == CommandOp.CONFIRM
    ]


def phases(desk: Desk, key: str) -> list[str]:
    view = desk.core.unit(key)
    assert view is not None
    return [replica.phase.upper() for replica in view.replicas]


def test_every_claim_is_confirmed_at_each_session() -> None:
    desk = a_desk(a_unit("u", a_group(count=2, min=1)))
    desk.bind("u", 0)
    meet(desk, 1)
    assert asked(desk) == [(0, 0)]
    meet(desk, 2)
    assert asked(desk) == [(0, 0)]


def test_an_ordinary_binder_is_asked_nothing() -> None:
    desk = a_desk(a_unit("u"))
    desk.bind("u")
    desk.binder()
    assert asked(desk) == []


def test_attempts_are_void_once_another_binder_leads() -> None:
    """1. A plan is refused, and its watermark told. 2. The binder dies before the settlement
    leaves. 3. The scheduler has nothing to return, the next binder nothing to tell."""
    desk = a_desk(a_unit("u"))
    first = desk.assigned["u"]["attempt"]
    meet(desk, 1)
    assert desk.sent(Assign) == []
    meet(desk, 2)
    assert desk.assigned["u"]["attempt"] > first
    assert desk.command is not None
    assert desk.command.floor > first


@pytest.mark.parametrize(
    ("verdict", "reason", "want_phase"),
    [
        (Verdict.FAILED, Reason.HOME_GONE, Phase.FAILED),
        (Verdict.RELEASED, Reason.REPORTED_DONE, Phase.DONE),
    ],
)
def test_a_claim_that_ended_unseen_ends(
    verdict: Verdict, reason: Reason, want_phase: Phase
) -> None:
    desk = a_desk(a_unit("u"))
    desk.bind("u")
    meet(desk, 2)
    desk.settle(desk.outcome("u", verdict, reason=reason, ordinal=0))
    assert phases(desk, "u") == [want_phase.name]


def test_a_replica_that_was_accepted_but_never_bound_is_placed_anew() -> None:
    desk = a_desk(a_unit("u"))
    desk.settle(desk.outcome("u", Verdict.ACCEPTED))
    first = desk.assigned["u"]["attempt"]
    meet(desk, 2)
    assert asked(desk) == [(0, 0)]
    desk.settle(desk.outcome("u", Verdict.FAILED, reason=Reason.CONFLICT))
    assert desk.assigned["u"]["attempt"] > first
    assert phases(desk, "u") != [Phase.FAILED.name]
