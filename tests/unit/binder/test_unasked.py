"""What scores alone count: the ledger follows it, no rule reads it, and a restart keeps it."""

from __future__ import annotations

from binder.ledger import Ledger
from binder.records import Journal, NodeEntry
from binder.snapshot import parts_of, take_part
from binder.view import nodes_view
from cell.classes import ClassSpec, normalise
from cell.node import NodeSpec
from cell.node import normalise as node_form
from cell.unit import Verdict, uid_of

BEST_EFFORT = normalise(ClassSpec(unasked=(("cpu", 100), ("memory", 200 << 20))))
NODE = node_form(NodeSpec("n", (("cpu", 50), ("memory", 1))))


def a_ledger(replicas: int) -> Ledger:
    ledger = Ledger()
    ledger.apply(ledger.draft(Journal.empty(), (NodeEntry(0, 1, NODE),)))
    klass = ledger.classes.intern(BEST_EFFORT.encoded())
    for i in range(replicas):
        hi, lo = uid_of(f"u{i}")
        row = Journal.of(
            handle=[0],
            uid_hi=hi,
            uid_lo=lo,
            revision=1,
            attempt=0,
            verdict=Verdict.BOUND,
            reason=0,
            group=0,
            ordinal=0,
            node=0,
            argument=0,
            klass=klass,
        )
        ledger.apply(ledger.draft(row))
    return ledger


def used(ledger: Ledger) -> dict[str, int]:
    """Of the only node, as the stream tells it."""
    return dict(zip(ledger.nodes.resources, ledger.nodes.used()[0].tolist(), strict=True))


def test_it_is_told_to_schedulers_and_not_shown_as_room_that_is_used() -> None:
    ledger = a_ledger(3)
    assert used(ledger) == {
        "cpu": 0,
        "memory": 0,
        "pods": 3,
        "unasked:cpu": 300,
        "unasked:memory": 600 << 20,
    }
    (view,) = nodes_view(ledger, "")
    assert view.used == {"pods": 3}


def test_a_snapshot_keeps_it() -> None:
    ledger, restored = a_ledger(2), Ledger()
    for part in parts_of(ledger):
        take_part(restored, part)
    assert used(restored) == used(ledger)
