"""The binder's core: plans, commands and node requests in; commits, settlements and State out.

It owns the ledger (`ledger.py`): who has what room, which nodes exist. Plans are judged in
`evaluate.py`, commands in `commands.py`, requests in `requests.py`; the home makes what they say
durable; `streams.py` says it on. Links: any number of schedulers, one dispatcher.
"""

from __future__ import annotations

from collections.abc import Iterable

from binder import commands
from binder.classes import Masks
from binder.config import BinderConfig
from binder.evaluate import evaluate
from binder.home.embedded import EmbeddedHome
from binder.home.port import Home
from binder.ledger import Ledger
from binder.records import Marks, Record
from binder.requests import NodeRequest, answer_of, ask, too_many
from binder.streams import DispatcherStream, SchedulerStreams
from binder.view import ledger_view, nodes_view
from cell.effects import (
    Answer,
    Effect,
    Event,
    PeerDown,
    PeerUp,
    Received,
    Request,
    Tick,
    WakeAt,
)
from cell.home import Answered, Answers, HomeEvent, LeaseLost, Relisted, Watched, WatchLost
from cell.messages import (
    Command,
    Explain,
    LedgerChanges,
    NodeView,
    Plan,
)

_US_PER_MS = 1000


class BinderCore:
    """See the module. `restore` once, then `handle` events one by one."""

    def __init__(
        self, term: int, config: BinderConfig | None = None, home: type[Home] = EmbeddedHome
    ) -> None:
        self._term = term
        self._config = config or BinderConfig()
        self._ledger = Ledger()
        self._masks = Masks(
            self._ledger.nodes.statics, self._ledger.classes, self._config.masks_max
        )
        self._schedulers = SchedulerStreams(self._ledger, term)
        self._dispatcher = DispatcherStream(self._ledger, self._config.settle_rows_max)
        self._home = home(term, self._config, self._ledger, self._dispatcher)
        self._delta_at_us = 0

    def restore(self, records: Iterable[Record]) -> None:
        """Take over the records of former lives, in their order."""
        self._home.restore(records)

    def snapshot(self) -> list[Record]:
        """Records that stand for all so far."""
        return self._home.snapshot()

    def nodes(self, prefix: str = "") -> list[NodeView]:
        """Present nodes in name order."""
        return nodes_view(self._ledger, prefix)

    def ledger(self) -> LedgerChanges:
        """All claims as if just published."""
        return ledger_view(self._ledger, self._term)

    def handle(self, now_us: int, event: Event | HomeEvent) -> list[Effect]:
        """The core's only way in; see `cell.effects`."""
        match event:
            case PeerUp(peer, hello) if hello.role == "scheduler":
                effects = self._schedulers.open(peer)
            case PeerUp(peer, hello) if hello.role == "dispatcher":
                effects = self._home.open_dispatcher(peer, hello.term)
            case PeerDown(peer):
                effects = self._lose(peer)
            case Received(peer, Plan() as plan):
                effects = self._take_plan(now_us, peer, plan)
            case Received(peer, Command() as command):
                effects = self._take_command(now_us, peer, command)
            case Received(peer, Explain() as explain) if peer == self._dispatcher.peer:
                effects = self._home.explain(explain)
            case Request(token, body):
                effects = self._answer(token, body)
            case Tick():
                effects = self._tick(now_us)
            case Answered() | Answers() | Watched() | WatchLost() | Relisted() | LeaseLost():
                effects = self._home.handle(now_us, event)
            case Received() | PeerUp():
                # Another process's mistake: nothing of ours depends on it.
                effects = []
            case _:
                raise ValueError(f"{type(event).__name__} is no event of a binder")
        return effects + self._wakes(now_us)

    def _take_plan(self, now_us: int, peer: str, plan: Plan) -> list[Effect]:
        """Judge, commit, settle; a loser gets its fresh rows at once."""
        session = self._schedulers.sessions.get(peer)
        if session is None:
            return []
        session.classes.learn(plan.classes)
        session.evaluated = max(session.evaluated, plan.first + len(plan.rows))
        if not len(plan.rows):
            return []
        klass = session.classes.local(plan.rows.klass)
        judged = evaluate(self._ledger, self._masks, plan.term, plan.rows, klass)
        effects = self._home.take_plan(now_us, judged)
        if judged.is_lost:
            effects += self._schedulers.delta(peer)
        return effects

    def _take_command(self, now_us: int, peer: str, command: Command) -> list[Effect]:
        """Follow the marks, then run by run: judge and commit."""
        if peer != self._dispatcher.peer or command.term < self._ledger.marks.term:
            return []
        classes = self._dispatcher.classes
        classes.learn(command.classes)
        self._ledger.mark(Marks(command.term, command.floor, command.next, command.ack))
        effects: list[Effect] = []
        for run in commands.runs_of(command.rows) if len(command.rows) else []:
            effects += self._home.take_commands(now_us, run, classes.local(run.klass))
        return effects

    def _answer(self, token: int, request: object) -> list[Effect]:
        """Node requests: commit what changes, then ack."""
        if not isinstance(request, NodeRequest):
            raise ValueError(f"{type(request).__name__} is no request of a binder")
        refusal = self._home.refusal() or too_many(request)
        if refusal is not None:
            return [Answer(token, refusal)]
        asked = ask(self._ledger, request)
        effects: list[Effect] = []
        if asked.entries:
            self._dispatcher.wakes |= asked.wakes
            effects += self._home.take_nodes(asked)
        return [*effects, Answer(token, answer_of(request, asked))]

    def _lose(self, peer: str) -> list[Effect]:
        self._schedulers.close(peer)
        if peer == self._dispatcher.peer:
            self._dispatcher.close()
        return []

    def _tick(self, now_us: int) -> list[Effect]:
        """Snapshots go on; deltas and wakes leave when they are due."""
        effects = self._home.tick(now_us) + self._schedulers.chunks()
        if self._delta_at_us and now_us >= self._delta_at_us:
            self._delta_at_us = 0
            effects += self._schedulers.deltas()
            effects += self._dispatcher.wake()
        elif self._delta_at_us:
            # This Tick was the home's, and the earliest asked for is all that a shell keeps.
            effects.append(WakeAt(self._delta_at_us))
        return effects

    def _wakes(self, now_us: int) -> list[Effect]:
        """Ask for the next Tick; what is to be told is gathered for `delta_ms`."""
        effects: list[Effect] = []
        if self._home.wake_at_us:
            effects.append(WakeAt(self._home.wake_at_us))
        if self._schedulers.is_snapshotting:
            return [*effects, WakeAt(now_us)]
        is_due = self._schedulers.is_behind or bool(
            self._dispatcher.peer and self._dispatcher.wakes
        )
        if not is_due or self._delta_at_us:
            return effects
        self._delta_at_us = now_us + self._config.delta_ms * _US_PER_MS
        return [*effects, WakeAt(self._delta_at_us)]
