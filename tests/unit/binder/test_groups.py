"""Gangs of units of one object each: who is to be seated, and what people are told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from binder.home.groups import Group, Member
from cell.home import GangPhase, HomeGang, HomeGroup, HomeUnit, ObjectState, ObjectView, Replica

MIN = 2


def a_member(uid: int, state: ObjectState = ObjectState.PENDING) -> Member:
    unit = HomeUnit(1, uid, f"ns/p{uid}/u", groups=(HomeGroup(b"klass"),), gang="ns/g")
    node = "n" if state is ObjectState.BOUND else ""
    return Member(unit, ObjectView(Replica(1, uid), uid, 1, state, node))


@dataclass(frozen=True)
class Case:
    name: str
    gang: HomeGang | None
    waiting: int
    want: int
    """How many are to be seated."""
    phase: GangPhase
    why: str = ""
    bound: int = 0


CASES = [
    Case("enough", HomeGang("ns/g", 1, MIN), 3, 2, GangPhase.PRE_SCHEDULING),
    Case(
        "too few",
        HomeGang("ns/g", 1, MIN),
        1,
        0,
        GangPhase.PENDING,
        "1 of 2 pods of its PodGroup can be placed",
    ),
    Case("one is bound", HomeGang("ns/g", 1, 3), 3, 2, GangPhase.PRE_SCHEDULING, bound=1),
    Case("none is needed", HomeGang("ns/g", 1, MIN), 1, 0, GangPhase.SCHEDULED, bound=2),
    Case("unknown", None, 3, 0, GangPhase.PENDING, "there is no PodGroup g"),
    Case(
        "late",
        HomeGang("ns/g", 1, MIN, deadline_us=5),
        3,
        0,
        GangPhase.TIMEOUT,
        "the time of its PodGroup is over",
    ),
    Case(
        "refused",
        HomeGang("ns/g", 1, MIN, refusal="spec.x is not supported"),
        3,
        0,
        GangPhase.PENDING,
        "its PodGroup cannot be placed: spec.x is not supported",
    ),
    Case(
        "refused when it was bound",
        HomeGang("ns/g", 1, MIN, phase=GangPhase.SCHEDULED, refusal="spec.x is not supported"),
        1,
        0,
        GangPhase.SCHEDULED,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_is_seated_and_what_is_told(case: Case) -> None:
    members = [a_member(i) for i in range(case.waiting)]
    members += [a_member(case.waiting + i, ObjectState.BOUND) for i in range(case.bound)]
    group = Group("ns/g", members={(1, m.unit.uid_lo): m for m in members})
    if case.gang is not None:
        group.put(case.gang)
    wanted = group.wanted(now_us=5)
    assert len(wanted) == case.want
    assert group.state().phase is case.phase
    if not wanted and not group.is_scheduled:
        assert group.why_held() == case.why
