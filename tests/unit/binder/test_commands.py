"""What becomes of the dispatcher's commands, once and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from cell.messages import CordonNodes, RegisterNodes
from cell.node import NodeSpec
from cell.reasons import Reason, Wake
from cell.unit import CommandOp, Verdict
from tests.unit.binder.builders import (
    Binder,
    a_class,
    a_command,
    a_gang,
    a_node,
    a_row,
    wakes_of,
)

CANCEL, RELEASE, AMEND, FREE, CONFIRM = CommandOp
SMALL, LARGE = a_class(1000), a_class(3000)


@dataclass(frozen=True)
class Case:
    says: str
    commands: list[dict[str, int]]
    want: list[tuple[int, Verdict, Reason]]
    plans: list[list[dict[str, int]]] = field(default_factory=lambda: [[a_row()]])
    earlier: list[dict[str, int]] = field(default_factory=list)
    want_used: dict[str, int] = field(default_factory=dict)
    nodes: tuple[NodeSpec, ...] = (a_node("n0"), a_node("n1"))


AMENDED = (Verdict.AMENDED, Reason.NONE)
RELEASED = (Verdict.RELEASED, Reason.RELEASED)
CASES = [
    Case(
        "cancel frees every claim of the unit",
        [a_command(CANCEL)],
        [(1, Verdict.CANCELLED, Reason.CANCELLED)],
        plans=[a_gang(1, [0, 1])],
    ),
    Case(
        "cancel of a unit that was never seen is settled",
        [a_command(CANCEL, 9)],
        [(9, Verdict.CANCELLED, Reason.CANCELLED)],
        want_used={"n0": 1000},
    ),
    Case(
        "confirm says nothing of a claim that is there, be its revision older",
        [a_command(CONFIRM, ordinal=0), a_command(CONFIRM, ordinal=0, revision=2)],
        [],
        want_used={"n0": 1000},
    ),
    Case(
        "confirm tells of a claim that is not there",
        [a_command(CONFIRM, ordinal=1)],
        [(1, Verdict.FAILED, Reason.HOME_GONE)],
        want_used={"n0": 1000},
    ),
    Case(
        "release frees claims of lower revisions",
        [a_command(RELEASE, revision=2)],
        [(1, *RELEASED)],
    ),
    Case(
        "release leaves claims of its revision alone",
        [a_command(RELEASE, revision=2)],
        [(1, *RELEASED)],
        plans=[[a_row(revision=2)]],
        want_used={"n0": 1000},
    ),
    Case(
        "release of a cancelled unit says that it is cancelled",
        [a_command(CANCEL), a_command(RELEASE, revision=2)],
        [(1, Verdict.CANCELLED, Reason.CANCELLED)] * 2,
    ),
    Case(
        "amend swaps the class in place",
        [a_command(AMEND, revision=2, klass=1)],
        [(1, *AMENDED)],
        want_used={"n0": 3000},
    ),
    Case(
        "amend that does not fit changes nothing",
        [a_command(AMEND, revision=2, klass=1)],
        [(1, Verdict.REJECTED, Reason.CONFLICT)],
        plans=[[a_row()], [a_row(2), a_row(3)]],
        want_used={"n0": 3000},
    ),
    Case(
        "amend is all or nothing over the replicas of a unit",
        [a_command(AMEND, revision=2, klass=1)],
        [(1, Verdict.REJECTED, Reason.CONFLICT)],
        plans=[a_gang(1, [1, 0]), [a_row(2), a_row(3)]],
        want_used={"n0": 3000, "n1": 1000},
    ),
    Case(
        "amend asks for the difference only",
        [a_command(AMEND, revision=2, klass=0)],
        [(1, *AMENDED)],
        plans=[[a_row(klass=1)], [a_row(2)]],
        want_used={"n0": 2000},
    ),
    Case(
        "what one amendment gives back is there for the next",
        [a_command(AMEND, 1, revision=2, klass=0), a_command(AMEND, 2, revision=2, klass=1)],
        [(1, *AMENDED), (2, *AMENDED)],
        plans=[[a_row(1, klass=1)], [a_row(2)]],
        want_used={"n0": 4000},
    ),
    Case(
        "groups are amended each to its class",
        [
            a_command(AMEND, revision=2, group=0, klass=1),
            a_command(AMEND, revision=2, group=1, klass=0),
        ],
        [(1, *AMENDED)] * 2,
        plans=[[a_row(group=0), a_row(group=1, node=1)]],
        want_used={"n0": 3000, "n1": 1000},
    ),
    Case(
        "amend again is settled again",
        [a_command(AMEND, revision=2, klass=1)],
        [(1, *AMENDED)],
        earlier=[a_command(AMEND, revision=2, klass=1)],
        want_used={"n0": 3000},
    ),
    Case(
        "amend of an older revision is stale",
        [a_command(AMEND, revision=2, klass=0)],
        [(1, Verdict.STALE, Reason.STALE_REVISION)],
        earlier=[a_command(AMEND, revision=3, klass=1)],
        want_used={"n0": 3000},
    ),
    Case(
        "amend without a claim releases the unit for its new revision",
        [a_command(AMEND, revision=2, klass=1)],
        [(1, *RELEASED)],
        plans=[],
    ),
    Case(
        "amend of a cancelled unit says so",
        [a_command(AMEND, revision=2, klass=1)],
        [(1, Verdict.CANCELLED, Reason.CANCELLED)],
        earlier=[a_command(CANCEL)],
    ),
    Case(
        "amend to a class that was never sent is malformed",
        [a_command(AMEND, revision=2, klass=9)],
        [(1, Verdict.REJECTED, Reason.MALFORMED_PLAN)],
        want_used={"n0": 1000},
    ),
    Case(
        "amend in place is no new placement: a cordon does not refuse it",
        [a_command(AMEND, revision=2, klass=1)],
        [(1, *AMENDED)],
        want_used={"n0": 3000},
        nodes=(a_node("n0"),),
    ),
    Case(
        "free ends one replica with the command's reason",
        [a_command(FREE, ordinal=1)],
        [(1, Verdict.RELEASED, Reason.REPORTED_DONE)],
        plans=[a_gang(1, [0, 1])],
        want_used={"n0": 1000},
    ),
    Case(
        "free again is settled again",
        [a_command(FREE)],
        [(1, Verdict.RELEASED, Reason.REPORTED_DONE)],
        earlier=[a_command(FREE)],
    ),
    Case(
        "free of a revision that was amended since frees nothing",
        [a_command(FREE)],
        [(1, Verdict.STALE, Reason.STALE_REVISION)],
        earlier=[a_command(AMEND, revision=2, klass=0)],
        want_used={"n0": 1000},
    ),
    Case(
        "commands of one message see each other",
        [a_command(FREE, 1), a_command(AMEND, 2, revision=2, klass=1), a_command(CANCEL, 2)],
        [
            (1, Verdict.RELEASED, Reason.REPORTED_DONE),
            (2, *AMENDED),
            (2, Verdict.CANCELLED, Reason.CANCELLED),
        ],
        plans=[[a_row(1, klass=1), a_row(2)]],
    ),
    Case(
        "an unknown command is refused",
        [{**a_command(CANCEL), "op": 9}],
        [(1, Verdict.REJECTED, Reason.MALFORMED_PLAN)],
        want_used={"n0": 1000},
    ),
]


def prepared(case: Case) -> Binder:
    binder = Binder(case.nodes, [SMALL, LARGE])
    binder.command()
    for rows in case.plans:
        binder.plan(rows)
    if "cordon" in case.says:
        binder.ask(CordonNodes(("n0",), is_cordoned=True))
    if case.earlier:
        binder.command(*case.earlier)
    binder.settles = []
    return binder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_commands(case: Case) -> None:
    binder = prepared(case)
    binder.command(*case.commands)
    assert binder.verdicts() == case.want
    assert binder.used() == case.want_used


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_a_repeated_command_changes_nothing(case: Case) -> None:
    binder = prepared(case)
    binder.command(*case.commands)
    claims = binder.claims()
    binder.command(*case.commands)
    assert (binder.claims(), binder.used()) == (claims, case.want_used)


def test_the_reason_of_a_free_is_told_with_the_replica() -> None:
    binder = Binder([a_node()])
    binder.plan(a_gang(1, [0, 0]))
    binder.command(a_command(FREE, ordinal=1, reason=Reason.REPORTED_FAILED))
    assert binder.outcomes()[-1] == (1, Verdict.RELEASED, Reason.REPORTED_FAILED, 1, "n0")


def test_commands_of_an_older_dispatcher_are_not_followed() -> None:
    binder = Binder([a_node()])
    binder.plan([a_row()])
    binder.command(term=3)
    binder.command(a_command(CANCEL), term=2)
    assert binder.used() == {"n0": 1000}


@pytest.mark.parametrize(
    ("does", "want"),
    [
        (lambda b: b.command(a_command(CANCEL)), Wake.ROOM_FREED),
        (lambda b: b.command(a_command(FREE)), Wake.ROOM_FREED),
        (lambda b: b.command(a_command(RELEASE, revision=2)), Wake.ROOM_FREED),
        (lambda b: b.command(a_command(AMEND, revision=2, klass=0)), Wake.ROOM_FREED),
        (lambda b: b.command(a_command(CANCEL, 99)), Wake.NONE),
        (lambda b: b.plan([a_row(2)]), Wake.NONE),
        (lambda b: b.ask(RegisterNodes((a_node("n9"),))), Wake.NODE_ADDED),
        (lambda b: b.ask(RegisterNodes((a_node("n0", cpu=9000),))), Wake.NODE_CHANGED),
        (lambda b: b.ask(RegisterNodes((a_node("n0"),))), Wake.NONE),
        (lambda b: b.ask(CordonNodes(("n0",), is_cordoned=True)), Wake.NONE),
        (lambda b: b.ask(CordonNodes(("c0",), is_cordoned=False)), Wake.NODE_CHANGED),
    ],
)
def test_wakes(does: Any, want: Wake) -> None:
    """What frees room or changes nodes wakes parked units, behind the State that shows it."""
    binder = Binder([a_node("n0"), a_node("c0", unschedulable=True)], [SMALL, LARGE])
    binder.command()
    binder.plan([a_row(klass=1)])
    binder.deltas()
    binder.settles = []
    does(binder)
    assert wakes_of(binder.settles) == Wake.NONE, "before the deltas"
    binder.deltas()
    assert wakes_of(binder.settles) == want
