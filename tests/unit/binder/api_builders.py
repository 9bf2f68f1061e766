"""A binder on the API-server home whose calls are answered by hand, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from binder.config import BinderConfig
from binder.home.apiserver import ApiServerBinder
from cell.effects import Effect, PeerUp, Publish, Received, Send, Tick, WakeAt
from cell.home import (
    Answered,
    Call,
    Code,
    ObjectState,
    ObjectView,
    RecordView,
    Relist,
    Relisted,
    Replica,
    Watched,
)
from cell.link import Hello
from cell.messages import ClaimState, Command, LedgerChanges, Plan, Settle
from cell.node import NodeSpec
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT, Commands, PlanRows, Verdict
from tests.unit.binder.builders import a_class, a_node, columns, definitions

STATES = {
    ClaimState.COMMITTING: "committing",
    ClaimState.BOUND: "bound",
    ClaimState.TERMINATING: "terminating",
}


def a_pod(
    uid: int = 1,
    ordinal: int = 0,
    *,
    node: str = "",
    state: ObjectState | None = None,
    version: int = 1,
    **fields: Any,
) -> ObjectView:
    """An object of a unit, bound when it has a node; its own uid is 1000 times the unit's."""
    shown = state if state is not None else ObjectState.BOUND if node else ObjectState.PENDING
    defaults = {"object": uid * 1000 + ordinal, "klass": a_class().encoded()}
    replica = Replica(uid, uid, 0, ordinal)
    made = {**defaults, **fields}
    return ObjectView(replica=replica, version=version, state=shown, node=node, **made)


class ApiBinder:
    """See the module. `calls` are those not answered yet, `wrote` the last record that was."""

    def __init__(
        self,
        pods: Sequence[ObjectView] = (),
        nodes: Sequence[NodeSpec] = (a_node("n0"), a_node("n1")),
        records: Sequence[RecordView] = (),
        term: int = 1,
        **config: int,
    ) -> None:
        self.core = ApiServerBinder(term, BinderConfig(**config))
        self.core.restore([])
        self.now_us = 1_000_000
        self.calls: list[Any] = []
        self.settles: list[Settle] = []
        self.names: list[str] = []
        self.published: list[LedgerChanges] = []
        self.wake_at_us = 0
        self.planned = 0
        self.handle(PeerUp("s0", Hello(name="s0", role="scheduler")))
        self.handle(PeerUp("dispatcher", Hello(name="dispatcher", role="dispatcher", term=1)))
        self.handle(Tick())
        self.relist(pods, nodes, records)

    def relist(
        self,
        pods: Sequence[ObjectView] = (),
        nodes: Sequence[NodeSpec] = (a_node("n0"), a_node("n1")),
        records: Sequence[RecordView] = (),
    ) -> None:
        """Answer the Relist that is open."""
        call = self.take(Relist)
        self.handle(Relisted(call.call, tuple(pods), tuple(nodes), tuple(records)))

    def handle(self, event: Any) -> None:
        """Give the core an event and keep what it returns."""
        self.perform(event, self.core.handle(self.now_us, event))

    def perform(self, event: Any, effects: list[Effect]) -> None:
        """Keep what the core returned."""
        for effect in effects:
            match effect:
                case Send(body=Settle() as settle):
                    self.names += settle.nodes
                    self.settles.append(settle)
                case Publish(body=changes):
                    self.published.append(changes)
                case WakeAt(at_us=at_us):
                    self.wake_at_us = at_us
                case call if isinstance(call, Call):
                    self.calls.append(call)

    def take(self, kind: type) -> Any:
        """The oldest open call of a kind."""
        call = next(call for call in self.calls if isinstance(call, kind))
        self.calls.remove(call)
        return call

    def answer(self, kind: type, code: Code = Code.OK, **fields: Any) -> Any:
        """Answer the oldest open call of a kind; returns the call."""
        call = self.take(kind)
        self.handle(Answered(call.call, code, **fields))
        return call

    def show(self, *pods: ObjectView, **fields: Any) -> None:
        """The watch shows these."""
        self.handle(Watched(pods, **fields))

    def plan(self, rows: Sequence[dict[str, int]]) -> None:
        """A plan of the scheduler."""
        first, self.planned = self.planned, self.planned + len(rows)
        defined = definitions([a_class()])
        self.handle(Received("s0", Plan(1, first, 0, columns(PlanRows, rows), defined)))

    def command(self, *rows: dict[str, int]) -> None:
        """Commands of the dispatcher."""
        table = columns(Commands, rows)
        self.handle(Received("dispatcher", Command(1, 0, 100, 0, table, definitions([a_class()]))))

    def ack(self, number: int) -> None:
        """The dispatcher has outcomes below `number`, and no attempt under way."""
        marks = Command(1, 100, 100, number, Commands.empty())
        self.handle(Received("dispatcher", marks))

    def wait(self, duration_ms: int) -> None:
        """Let time pass, and the Tick come."""
        self.now_us += duration_ms * 1000
        self.handle(Tick())

    def kinds(self) -> list[str]:
        """The open calls by kind."""
        return [type(call).__name__ for call in self.calls]

    def told(self) -> list[tuple[int, Verdict, Reason, int]]:
        """All outcomes so far: uid, verdict, reason, ordinal (-1: the whole unit)."""
        return [
            (
                row["uid_lo"],
                Verdict(row["verdict"]),
                Reason(row["reason"]),
                -1 if row["ordinal"] == WHOLE_UNIT else row["ordinal"],
            )
            for settle in self.settles
            for row in settle.rows.rows()
        ]

    def verdicts(self) -> list[Verdict]:
        """Only what the verdicts were."""
        return [told[1] for told in self.told()]

    def claims(self) -> dict[tuple[int, int], tuple[str, str]]:
        """(uid, ordinal) → (node, state)."""
        view = self.core.ledger()
        return {
            (row["uid_lo"], row["ordinal"]): (view.nodes[row["node"]], STATES[row["state"]])
            for row in view.claims.rows()
        }

    def used(self) -> dict[str, int]:
        """cpu used per node, where any is."""
        return {v.name: v.used["cpu"] for v in self.core.nodes() if v.used.get("cpu")}
