"""The dispatcher's core: who waits, in what order, and who tries next.

Entry and table of contents. Clients' requests become rows of the unit table (`requests`,
`amendments`, `reports`, `grouping`); units wait in `waiting` and leave with schedulers
(`dispatching`, `routing`, `flights`); what the binder settles is applied by `settling`, what it is
asked stands in `commands`; `lifecycle` alone decides where a unit belongs.

What must hold: what is answered, and what follows from it, stands behind its record; outcomes are
published at once, being durable at the binder, and recorded before they are acked and before any
other record; a unit is in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cell.effects import (
    Answer,
    Effect,
    Event,
    PeerDown,
    PeerUp,
    Persist,
    Publish,
    Received,
    Request,
    Send,
    Tick,
    WakeAt,
)
from cell.home import Answered
from cell.link import DERIVED, Hello
from cell.messages import (
    Ability,
    Acks,
    Amend,
    Arrive,
    Cancel,
    Command,
    Join,
    Report,
    Settle,
    Submit,
    Summary,
    UnitView,
    Unplaced,
)
from cell.reasons import Refusal, Status, Wake
from cell.unit import uid_of
from dispatcher import requests
from dispatcher.amendments import Amendments
from dispatcher.arrivals import Arrivals
from dispatcher.codes import State
from dispatcher.commands import Asked
from dispatcher.config import DispatcherConfig
from dispatcher.dictionary import Classes, Names
from dispatcher.dispatching import Dispatch
from dispatcher.explaining import Lines
from dispatcher.flights import Flights
from dispatcher.forwarding import Forwarding
from dispatcher.grouping.gangs import Gangs, Seat
from dispatcher.lifecycle import Lifecycle
from dispatcher.memory import Memory
from dispatcher.news import News
from dispatcher.records import Defs, Record, Settled
from dispatcher.reports import Reports
from dispatcher.requests import Malformed, Refused
from dispatcher.routing import Router
from dispatcher.settling import Settling
from dispatcher.table import Table
from dispatcher.unplaced import Refusals
from dispatcher.view import Views
from dispatcher.waiting.parked import SCHEDULER
from dispatcher.waiting.sets import Waiting

_NOBODY = np.empty(0, np.int64)


class DispatcherCore:
    """The whole dispatcher. Build, `restore` once, then `handle` events one by one.

    Where units come from the home, by the binder, nothing `is_stored`: no records, and what clients
    ask for is asked of the home.
    """

    def __init__(
        self, term: int, config: DispatcherConfig | None = None, *, is_stored: bool = True
    ) -> None:
        self._term = term
        self._is_stored = is_stored
        self._config = config = config or DispatcherConfig()
        table = Table(Classes(config.classes_max), Names(config.names_max))
        self._table = table
        self._waiting = Waiting(table, config)
        self._flights = Flights(table.units)
        self._router = Router(table)
        self._news = news = News(table, config)
        self._asked = Asked(table)
        lifecycle = Lifecycle(table, self._waiting, self._flights, self._router, news, config)
        self._lifecycle = lifecycle
        self._settling = Settling(table, self._waiting, lifecycle, self._asked, news)
        self._amendments = Amendments(table, self._waiting, lifecycle, self._asked, news)
        self._reports = Reports(table, lifecycle, self._asked, news)
        self._gangs = Gangs(table, lifecycle, news, config)
        self._lines = Lines(table, is_wanted=not is_stored)
        self._refusals = Refusals(table, self._waiting, lifecycle, news, self._lines)
        self._dispatch = Dispatch(
            term,
            table,
            self._waiting,
            self._flights,
            self._router,
            lifecycle,
            self._refusals,
            news,
        )
        self._memory = Memory(
            table,
            lifecycle,
            self._asked,
            self._settling,
            self._amendments,
            self._reports,
            self._gangs,
        )
        self._arrivals = Arrivals(table, self._waiting, self._amendments, self._settling)
        self._forwarding = Forwarding(term, table, config, self._reports)
        self._views = Views(table, self._router)
        self._binder = ""
        self._binder_term = 0
        self._acked = 0
        self._owed_since_us = 0
        self._wake_at_us = 0
        self._records: list[Record] = []
        self._outcomes: list[Record] = []
        """Not written yet: they ride with the next record, at latest with the ack."""
        self._answers: list[Effect] = []
        self._fresh = _NOBODY

    # Life

    def restore(self, records: Iterable[Record]) -> None:
        """Take over the records of a former life, in their order."""
        self._memory.restore(records)
        self._acked = self._settling.next
        self._news.cut(0)
        self._asked.end_session()

    def snapshot(self) -> list[Record]:
        """Records that stand for all records so far."""
        return list(self._memory.snapshot())

    def handle(self, now_us: int, event: Event | Answered) -> list[Effect]:
        """Take one event; the effects are to be done in order."""
        # 1. The event changes facts.
        self._sweep()
        self._take(now_us, event)
        # 2. Time changes facts.
        self._pass_time(now_us)
        # 3. Units leave with schedulers, as far as these have credit.
        assigns = self._dispatch.fill(now_us)
        # 4. Everybody is told, in the order that keeps promises.
        effects = self._tell(now_us, assigns, is_known_elsewhere=isinstance(event, Received))
        # 5. The next time something is due.
        return effects + self._wake(now_us)

    # Views

    def unit(self, key: str) -> UnitView | None:
        """One unit with its replicas."""
        return self._views.unit(key)

    def units(self, prefix: str = "", word: str = "", count_max: int = 0) -> list[UnitView]:
        """Units in order of keys, without replicas; word "" is any, 0 is all."""
        return self._views.units(prefix, word, count_max)

    def units_whole(self, prefix: str = "") -> list[UnitView]:
        """Units in order of keys, with replicas."""
        return self._views.units_whole(prefix)

    def summary(self) -> Summary:
        """Counts over all units."""
        return self._views.summary()

    def seats(self, key: str) -> list[Seat]:
        """(group, ordinal, member) of a gang whose members came one by one, once it is whole."""
        return self._gangs.seats(uid_of(key))

    # Events

    def _take(self, now_us: int, event: Event | Answered) -> None:
        match event:
            case Request():
                self._answers = self._ask(now_us, event)
            case Answered():
                self._answers = self._forwarding.answered(event)
            case Received(body=Settle() as settle, peer=peer) if peer == self._binder:
                self._on_settle(now_us, settle)
            case Received(body=Arrive() as arrive, peer=peer) if peer == self._binder:
                self._on_arrive(now_us, arrive)
            case Received(body=Unplaced() as unplaced):
                self._refusals.take(now_us, unplaced)
            case Received(body=Ability(is_ready=is_ready), peer=peer):
                if peer in self._router.schedulers:
                    self._router.schedulers[peer].is_ready = is_ready
                    if is_ready:
                        # Its tables are new: what its former ones assumed is forgotten.
                        self._waiting.wake(now_us, Wake.ROOM_FREED)
            case PeerUp(peer=peer, hello=hello):
                self._end(now_us, peer)
                self._greet(now_us, peer, hello)
            case PeerDown(peer=peer):
                self._end(now_us, peer)
            case Tick():
                self._wake_at_us = 0

    def _greet(self, now_us: int, peer: str, hello: Hello) -> None:
        if hello.role == "binder":
            self._begin_binder(now_us, peer, hello)
        elif hello.role == "scheduler":
            self._router.add(peer, hello)
            self._waiting.parked.wake(SCHEDULER)

    def _ask(self, now_us: int, asked: Request) -> list[Effect]:
        """The answer to a client, or what has to be asked of the home before."""
        if not self._is_stored:
            return self._forwarding.take(now_us, asked.token, asked.body)
        return [Answer(asked.token, self._answer(now_us, asked.body))]

    def _answer(self, now_us: int, body: Any) -> Acks | Refusal:
        refused: Refused
        record: Record | None
        try:
            match body:
                case Submit():
                    batch = requests.submit(self._table, self._config, now_us, body)
                    count, refused, record = batch.count, batch.refused, batch.record
                    self._waiting.activate(batch.handles)
                    self._fresh = batch.handles
                case Cancel():
                    count = len(body.keys)
                    refused, record = self._amendments.cancel(now_us, body)
                case Amend():
                    count = len(body.items)
                    refused, record = self._amendments.amend(now_us, body)
                case Report():
                    count = len(body.keys)
                    refused, record = self._reports.take(now_us, body)
                case Join():
                    count = len(body.members)
                    refused, record = self._gangs.join(now_us, body)
                case _:
                    name = type(body).__name__
                    return Refusal(Status.UNIMPLEMENTED, name, "is no request of this service")
        except Malformed as error:
            return error.refusal
        if record is not None:
            self._records.append(record)
        return Acks(count, tuple(sorted(refused.items())))

    def _on_arrive(self, now_us: int, arrive: Arrive) -> None:
        self._fresh = self._arrivals.take(now_us, arrive)
        if arrive.next:
            self._lose_flights(now_us)
        self._answers += self._forwarding.settled()

    def _on_settle(self, now_us: int, settle: Settle) -> None:
        if settle.wakes:
            self._waiting.wake(now_us, settle.wakes, (self._binder_term, settle.generation))
        if self._settling.is_room_assumed_in(settle):
            self._waiting.wake(now_us, Wake.ROOM_FREED)
        rows = self._settling.take(now_us, settle)
        self._answers += self._forwarding.settled()
        if rows is None:
            return
        defs = Defs(self._table.classes.cut(), self._table.names.cut())
        self._outcomes.append(Settled(now_us, self._settling.next, rows, defs))
        self._owed_since_us = self._owed_since_us or now_us

    def _begin_binder(self, now_us: int, peer: str, hello: Hello) -> None:
        self._binder = peer
        self._settling.begin_session()
        self._asked.begin_session()
        self._lines.begin_session()
        if DERIVED in hello.features:
            self._follow_derived(now_us, hello.term)
        self._binder_term = hello.term
        # A session begins with our marks, so that the binder knows them before any plan.
        self._acked = -1

    def _follow_derived(self, now_us: int, term: int) -> None:
        """What a former life of this binder settled and we did not ack is lost with it: claims are
        confirmed, and attempts under way are void.

        1. A plan is refused, its watermark told. 2. The binder dies before the settlement leaves.
        3. The scheduler has nothing to return, the next binder nothing to tell.
        """
        claims = self._table.all_replicas(self._table.known())
        self._asked.confirm(claims[self._table.is_claim(claims)])
        if term != self._binder_term:
            self._lose_flights(now_us)

    def _lose_flights(self, now_us: int) -> None:
        """All attempts under way are void: what was settled of them may never be told.

        1. A session with the binder breaks, before we have acked what stood for outcomes. 2. A plan
        is refused. 3. A new session begins with what stands for all outcomes so far: claims.
        """
        self._dispatch.lose(now_us, self._flights.older_than(now_us + 1))

    def _end(self, now_us: int, peer: str) -> None:
        """A session is over, or was without our being told."""
        if peer == self._binder:
            self._binder = ""
            self._arrivals.end_session()
        elif peer in self._router.schedulers:
            self._router.drop(peer)
            self._dispatch.lose(now_us, self._flights.of(peer))

    def _pass_time(self, now_us: int) -> None:
        expired = self._gangs.expire(now_us)
        if expired is not None:
            self._records.append(expired)
        again = self._waiting.advance(now_us)
        if len(again):
            self._waiting.leave(again, State.COMMANDED)
            self._asked.repeat(again)
        limit_us = now_us - self._config.flight_ms_max * 1_000
        self._dispatch.lose(now_us, self._flights.older_than(limit_us))

    # Effects

    def _tell(
        self, now_us: int, assigns: list[Effect], *, is_known_elsewhere: bool
    ) -> list[Effect]:
        """Effects in order: what rests on our record behind it, what does not before it."""
        if len(self._fresh):
            self._news.later(now_us, self._fresh)
            self._fresh = _NOBODY
        changes = self._news.cut(now_us)
        news: list[Effect] = [] if changes is None else [Publish(changes)]
        answers, commands = self._answers, self._commands(now_us)
        persists: list[Effect] = []
        if self._records or commands:
            if self._is_stored:
                persists = [Persist(record) for record in (*self._outcomes, *self._records)]
            self._outcomes, self._records = [], []
        self._answers = []
        lines = self._explanations()
        if is_known_elsewhere:
            return [*news, *assigns, *persists, *answers, *commands, *lines]
        return [*persists, *answers, *news, *assigns, *commands, *lines]

    def _explanations(self) -> list[Effect]:
        """Why units wait, behind all that somebody waits for."""
        parts = self._lines.cut()
        return [Send(self._binder, part) for part in parts] if self._binder else []

    def _commands(self, now_us: int) -> list[Effect]:
        """Commands, and the ack of what is durable behind the records of this call."""
        if not self._binder:
            self._asked.end_session()
            return []
        config, owed = self._config, self._settling.next - self._acked
        is_late = self._owed_since_us + config.ack_ms * 1_000 <= now_us
        is_ack_due = owed > 0 and (is_late or owed >= config.ack_rows_max or self._acked < 0)
        if not self._asked.is_due and not is_ack_due:
            return []
        rows, classes = self._asked.cut()
        if not len(rows) and not is_ack_due:
            return []
        self._acked, self._owed_since_us = self._settling.next, 0
        marks = (self._term, self._flights.floor, self._flights.next, self._acked)
        return [Send(self._binder, Command(*marks, rows, classes))]

    def _wake(self, now_us: int) -> list[Effect]:
        """Ask for a Tick when one is wanted earlier than was asked for."""
        times = [self._waiting.next_at_us(now_us), self._gangs.next_at_us()]
        times.append(self._news.next_at_us())
        if self._owed_since_us and self._binder:
            times.append(self._owed_since_us + self._config.ack_ms * 1_000)
        oldest_us = self._flights.oldest_us()
        if oldest_us:
            times.append(oldest_us + self._config.flight_ms_max * 1_000 + 1)
        at_us = min((at_us for at_us in times if at_us), default=0)
        if not at_us or 0 < self._wake_at_us <= at_us:
            return []
        self._wake_at_us = at_us
        return [WakeAt(at_us)]

    def _sweep(self) -> None:
        """Drop classes and names that no unit has, once there are too many."""
        table = self._table
        self._gangs.sweep()
        if not table.classes.is_sweep_due and not table.names.is_sweep_due:
            return
        known = table.known()
        groups = table.group_rows(known)
        if table.classes.is_sweep_due:
            is_used = np.zeros(len(table.classes.entries), np.bool_)
            is_used[table.groups.klass[groups]] = True
            dropped = table.classes.sweep(is_used)
            self._router.forget_classes(dropped)
            self._asked.forget_classes(dropped)
        if table.names.is_sweep_due:
            nodes = table.replicas.node[table.all_replicas(known)]
            in_use = (table.groups.pin[groups], table.groups.role[groups], nodes)
            table.names.sweep(self._settling.mark_nodes(np.concatenate(in_use)))
