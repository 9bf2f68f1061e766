"""What becomes of a plan's units: one rule per case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from binder.kernels import claims as claim_kernels
from binder.kernels import judge
from cell.classes import ClassSpec
from cell.messages import ClaimState, CordonNodes, RemoveNodes
from cell.node import NodeSpec, Taint
from cell.reasons import Reason
from cell.unit import CommandOp, PlanOp, Verdict
from tests.unit.binder.builders import (
    TOLERANT,
    Binder,
    a_class,
    a_command,
    a_gang,
    a_node,
    a_row,
)

BOUND, REJECTED, STALE = Verdict.BOUND, Verdict.REJECTED, Verdict.STALE
MALFORMED = (REJECTED, Reason.MALFORMED_PLAN)
OTHER_ZONE = a_class(selector=(("zone", "b"),))
Before = list[tuple[str, Any]]


@dataclass(frozen=True)
class Case:
    says: str
    rows: list[dict[str, int]]
    want: list[tuple[int, Verdict, Reason]]
    nodes: tuple[NodeSpec, ...] = (a_node("n0"), a_node("n1"))
    classes: tuple[ClassSpec, ...] = (a_class(),)
    before: Before = field(default_factory=list)
    """What happened before: plans, commands, requests."""
    term: int = 1


CASES = [
    Case("a single with room is bound", [a_row()], [(1, BOUND, Reason.NONE)]),
    Case(
        "room is charged row by row",
        [a_row(uid, node=0) for uid in (1, 2)],
        [(1, BOUND, Reason.NONE), (2, REJECTED, Reason.CONFLICT)],
        nodes=(a_node(cpu=1500),),
    ),
    Case(
        "room that is taken is a conflict",
        [a_row(2)],
        [(2, REJECTED, Reason.CONFLICT)],
        nodes=(a_node(cpu=1500),),
        before=[("plan", [a_row(1)])],
    ),
    Case(
        "pod slots are room",
        [a_row(1), a_row(2)],
        [(1, BOUND, Reason.NONE), (2, REJECTED, Reason.CONFLICT)],
        nodes=(NodeSpec("n0", (("cpu", 64_000), ("pods", 1))),),
    ),
    Case(
        "a resource that no node has is no room",
        [a_row()],
        [(1, REJECTED, Reason.CONFLICT)],
        classes=(ClassSpec(demand=(("gpu", 1),)),),
    ),
    Case(
        "a gang is bound whole",
        a_gang(1, [0, 1]),
        [(1, BOUND, Reason.NONE)] * 2,
    ),
    Case(
        "a gang short of its minimum gets nothing, and what it took is there for the next",
        [*a_gang(1, [0, 0]), a_row(2)],
        [(1, REJECTED, Reason.CONFLICT), (2, BOUND, Reason.NONE)],
        nodes=(a_node(cpu=1500),),
    ),
    Case(
        "replicas above the minimum are elastic",
        a_gang(1, [0, 0, 1], minimum=2),
        [(1, BOUND, Reason.NONE)] * 2,
        nodes=(a_node("n0", cpu=1500), a_node("n1")),
    ),
    Case(
        "an elastic unit that gets nothing at all is refused",
        [a_row(min=0)],
        [(1, REJECTED, Reason.CONFLICT)],
        nodes=(a_node(cpu=500),),
    ),
    Case(
        "minima count per group",
        [a_row(group=0), a_row(group=1, node=1), a_row(group=1, ordinal=1, node=1)],
        [(1, REJECTED, Reason.CONFLICT)],
        nodes=(a_node("n0", cpu=500), a_node("n1")),
    ),
    Case(
        "a plan with fewer rows than the minimum is refused",
        a_gang(1, [0, 1], minimum=3),
        [(1, REJECTED, Reason.GANG_MINIMUM)],
    ),
    Case(
        "a cordoned node refuses",
        [a_row()],
        [(1, REJECTED, Reason.UNSCHEDULABLE)],
        before=[("ask", CordonNodes(("n0",), is_cordoned=True))],
    ),
    Case(
        "a cordon can be tolerated",
        [a_row()],
        [(1, BOUND, Reason.NONE)],
        classes=(a_class(tolerations=TOLERANT),),
        before=[("ask", CordonNodes(("n0",), is_cordoned=True))],
    ),
    Case(
        "a taint refuses",
        [a_row()],
        [(1, REJECTED, Reason.TAINT)],
        nodes=(a_node(taints=(Taint("gpu", "", "NoSchedule"),)),),
    ),
    Case(
        "a selector refuses",
        [a_row(klass=1)],
        [(1, REJECTED, Reason.NODE_SELECTOR)],
        nodes=(a_node(labels=(("zone", "a"),)),),
        classes=(a_class(), OTHER_ZONE),
    ),
    Case(
        "a removed node is gone",
        [a_row()],
        [(1, REJECTED, Reason.NODE_GONE)],
        before=[("ask", RemoveNodes(("n0",)))],
    ),
    Case(
        "a node of another incarnation is gone",
        [a_row(incarnation=2)],
        [(1, REJECTED, Reason.NODE_GONE)],
    ),
    Case(
        "an attempt below the floor is void",
        [a_row(attempt=4), a_row(2, attempt=5)],
        [(1, STALE, Reason.STALE_ATTEMPT), (2, BOUND, Reason.NONE)],
        before=[("marks", {"floor": 5})],
    ),
    Case(
        "an attempt of an older dispatcher term is void",
        [a_row(attempt=9)],
        [(1, STALE, Reason.STALE_ATTEMPT)],
        before=[("marks", {"term": 2, "floor": 0})],
    ),
    Case(
        "a newer dispatcher term's floor is not known yet",
        [a_row(attempt=1)],
        [(1, BOUND, Reason.NONE)],
        before=[("marks", {"floor": 5})],
        term=2,
    ),
    Case(
        "a cancelled unit is refused",
        [a_row()],
        [(1, Verdict.CANCELLED, Reason.CANCELLED)],
        before=[("command", [a_command(CommandOp.CANCEL)])],
    ),
    Case(
        "a revision below a released one is refused",
        [a_row(revision=1), a_row(2, revision=1)],
        [(1, STALE, Reason.STALE_REVISION), (2, BOUND, Reason.NONE)],
        before=[("command", [a_command(CommandOp.RELEASE, revision=2)])],
    ),
    Case(
        "a replica that is bound is so already, and the winner is named",
        [a_row(attempt=7, node=1)],
        [(1, Verdict.ALREADY, Reason.ALREADY_BOUND)],
        before=[("plan", [a_row(attempt=3)])],
    ),
    Case(
        "what is bound counts for the minimum of a later plan",
        a_gang(1, [1, 1, 1]),
        [(1, Verdict.ALREADY, Reason.ALREADY_BOUND)] * 2 + [(1, BOUND, Reason.NONE)],
        before=[("plan", a_gang(1, [0, 0]))],
    ),
    Case(
        "a replica with a claim of an older revision is not placed twice",
        [a_row(revision=2, node=1)],
        [(1, REJECTED, Reason.ALREADY_BOUND)],
        before=[("plan", [a_row()])],
    ),
    Case(
        "a replica that has ended is not placed again",
        [a_row(attempt=2)],
        [(1, STALE, Reason.STALE_ATTEMPT)],
        before=[("plan", [a_row()]), ("command", [a_command(CommandOp.FREE)])],
    ),
    Case(
        "a replica that has ended is placed at a newer revision",
        [a_row(revision=2)],
        [(1, BOUND, Reason.NONE)],
        before=[("plan", [a_row()]), ("command", [a_command(CommandOp.FREE)])],
    ),
    Case("an unknown class is malformed", [a_row(klass=7)], [(1, *MALFORMED)]),
    Case("a class index beyond all bounds is malformed", [a_row(klass=1 << 31)], [(1, *MALFORMED)]),
    Case("an unknown node is malformed", [a_row(node=2)], [(1, *MALFORMED)]),
    Case("an op that is not BIND is malformed", [a_row(op=PlanOp.HOLD)], [(1, *MALFORMED)]),
    Case(
        "a unit whose rows are not consecutive is malformed",
        [a_row(1), a_row(2), a_row(1, ordinal=1)],
        [(1, *MALFORMED), (2, BOUND, Reason.NONE), (1, *MALFORMED)],
    ),
    Case(
        "a replica named twice is malformed",
        [a_row(1), a_row(1, ordinal=1), a_row(1)],
        [(1, *MALFORMED)],
    ),
    Case(
        "replicas may come in any order",
        [a_row(1, ordinal=1), a_row(1, ordinal=0)],
        [(1, BOUND, Reason.NONE)] * 2,
    ),
    Case(
        "rows of one unit of two attempts are malformed",
        [a_row(1, attempt=1), a_row(1, ordinal=1, attempt=2)],
        [(1, *MALFORMED)],
    ),
    Case(
        "a malformed unit disturbs no other",
        [a_row(1, node=9), a_row(2, klass=9), a_row(3)],
        [(1, *MALFORMED), (2, *MALFORMED), (3, BOUND, Reason.NONE)],
    ),
]


def prepared(case: Case) -> Binder:
    binder = Binder(case.nodes, case.classes)
    binder.command()
    for kind, what in case.before:
        match kind:
            case "plan":
                binder.plan(what)
            case "command":
                binder.command(*what)
            case "marks":
                binder.command(**what)
            case "ask":
                binder.ask(what)
    return binder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_verdicts(case: Case) -> None:
    binder = prepared(case)
    binder.settles = []
    binder.plan(case.rows, term=case.term)
    assert binder.verdicts() == case.want


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_the_same_plan_again_takes_no_more_room(case: Case) -> None:
    binder = prepared(case)
    binder.plan(case.rows, term=case.term)
    used, claims = binder.used(), binder.claims()
    binder.plan(case.rows, term=case.term)
    assert (binder.used(), binder.claims()) == (used, claims)


def test_already_names_the_winner() -> None:
    binder = Binder([a_node("n0"), a_node("n1")])
    binder.command()
    binder.plan([a_row(attempt=3, node=0)])
    binder.plan([a_row(attempt=7, node=1)])
    row = binder.settles[-1].rows.rows()[0]
    assert (row["attempt"], row["node"], row["ordinal"]) == (3, 0, 0)


def test_a_conflict_names_the_node_that_refused() -> None:
    binder = Binder([a_node("n0"), a_node("n1", cpu=500)])
    binder.command()
    binder.plan(a_gang(1, [0, 1]))
    assert binder.outcomes() == [(1, REJECTED, Reason.CONFLICT, -1, "n1")]


def test_classes_beyond_the_kept_masks_are_judged_all_the_same() -> None:
    from binder.config import BinderConfig

    classes = [a_class(cpu, selector=(("zone", "a"),)) for cpu in range(1, 9)]
    binder = Binder(
        [a_node("n0", labels=(("zone", "a"),)), a_node("n1")],
        classes,
        BinderConfig(masks_max=2),
    )
    binder.command()
    for klass in range(8):
        binder.plan([a_row(100 + klass, klass=klass), a_row(200 + klass, klass=klass, node=1)])
    assert [told[1] for told in binder.verdicts()] == [BOUND, REJECTED] * 8


def test_a_class_that_cannot_be_decoded_is_malformed_and_no_exception() -> None:
    from cell.messages import ClassDef

    binder = Binder([a_node()])
    binder.command()
    bad = (ClassDef(0, b"\xff"), ClassDef(1 << 40, b""), ClassDef(2, a_class(cpu=-5).encoded()))
    binder.plan([a_row(1, klass=0), a_row(2, klass=2)], classes=bad)
    assert binder.verdicts() == [(1, *MALFORMED), (2, *MALFORMED)]


def test_kernels_read_the_contract_s_numbers() -> None:
    for name in ("ACCEPTED", "BOUND", "FAILED", "ALREADY", "STALE"):
        assert getattr(claim_kernels, f"V_{name}") == Verdict[name]
    for name in ("CANCELLED", "REJECTED", "RELEASED", "AMENDED"):
        assert getattr(claim_kernels, f"V_{name}") == Verdict[name]
    for name in ("HELD", "COMMITTING", "BOUND", "TERMINATING", "FREE"):
        assert getattr(claim_kernels, name) == getattr(ClaimState, name)
    for name in ("CONFLICT", "STALE_ATTEMPT", "STALE_REVISION", "ALREADY_BOUND"):
        assert getattr(judge, f"R_{name}") == Reason[name]
