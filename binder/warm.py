"""Kernels compiled, or loaded from their cache, before the first plan: one life of a small binder.

Called by the service before it says that it is ready.
"""

from __future__ import annotations

from binder.core import BinderCore
from cell.classes import ClassSpec
from cell.effects import Event, PeerUp, Received, Request, Tick
from cell.link import Hello
from cell.messages import ClassDef, Command, Plan, RegisterNodes, RemoveNodes
from cell.node import NodeSpec
from cell.reasons import Reason
from cell.unit import CommandOp, Commands, PlanOp, PlanRows


def warm_up() -> None:
    """Run every kernel once, with the types that messages bring."""
    core = BinderCore(1)
    classes = (ClassDef(0, ClassSpec(demand=(("cpu", 1),)).encoded()),)
    node = NodeSpec("a", (("cpu", 8),))
    events: list[Event] = [
        PeerUp("s", Hello(name="s", role="scheduler")),
        PeerUp("d", Hello(name="d", role="dispatcher", term=1)),
        Request(1, RegisterNodes((node,))),
        Received("s", Plan(1, 0, 0, _rows(), classes)),
        Received("s", Plan(1, 4, 0, _rows())),
        Received("d", Command(1, 0, 9, 0, _commands(), classes)),
        Request(2, RemoveNodes(("a",))),
        Received("d", Command(1, 9, 9, 99, Commands.empty())),
        Tick(),
    ]
    for event in events:
        core.handle(0, event)
    BinderCore(2).restore(core.snapshot())


def _rows() -> PlanRows:
    return PlanRows.of(
        op=[PlanOp.BIND] * 4,
        handle=[1, 2, 2, 3],
        uid_hi=[1, 2, 2, 3],
        uid_lo=[1, 2, 2, 3],
        revision=1,
        attempt=1,
        group=0,
        ordinal=[0, 0, 1, 0],
        klass=0,
        min=[1, 2, 2, 1],
        node=0,
        incarnation=1,
    )


def _commands() -> Commands:
    return Commands.of(
        op=[CommandOp.AMEND, CommandOp.FREE, CommandOp.RELEASE, CommandOp.CANCEL],
        handle=1,
        uid_hi=[1, 1, 2, 3],
        uid_lo=[1, 1, 2, 3],
        revision=2,
        group=0,
        ordinal=0,
        klass=0,
        reason=Reason.REPORTED_DONE,
    )
