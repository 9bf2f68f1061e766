"""The dispatcher's core: who waits, in what order, and who tries next.

It owns the unit table (`table.py`). Requests are checked in `requests.py` and `grouping/`, what they
and the binder's outcomes do to durable facts is `changes.py`, live and at restore alike; `waiting/`
has the queues, `routing.py` says who gets a unit, `flights.py` what is under way. Links: any number
of schedulers, one binder.
"""

from __future__ import annotations

from collections.abc import Iterable

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
from cell.messages import (
    ITEMS_MAX,
    Ability,
    Acks,
    Amend,
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
from cell.reasons import Reason, Refusal, Status, text
from dispatcher import assigning, requests, snapshot
from dispatcher.answers import Answers
from dispatcher.commands import Asked
from dispatcher.config import DispatcherConfig
from dispatcher.dictionary import Classes, Names
from dispatcher.flights import Flights
from dispatcher.grouping.gathering import Gathering
from dispatcher.lifecycle import Lifecycle
from dispatcher.news import News
from dispatcher.operations import Operations
from dispatcher.records import (
    Amended,
    Cancelled,
    Defs,
    Expired,
    Joined,
    Kept,
    KeptMarks,
    Record,
    Reported,
    Settled,
    Submitted,
    UidRows,
)
from dispatcher.routing import Router
from dispatcher.settling import Settling
from dispatcher.table import State, Table
from dispatcher.view import Views
from dispatcher.waiting.parked import SCHEDULER
from dispatcher.waiting.sets import Waiting

_US_PER_MS = 1_000
_ALL = 1 << 30


class DispatcherCore:
    """See the module. `restore` once, then `handle` events one by one."""

    def __init__(self, term: int, config: DispatcherConfig | None = None) -> None:
        self._term = term
        self._config = config = config or DispatcherConfig()
        self._table = table = Table(Classes(config.classes_max), Names(config.names_max))
        self._asked = Asked(table)
        self._waiting = Waiting(table, config)
        self._flights = Flights(table.units)
        self._router = Router(table)
        self._news = News(table)
        self._gathering = Gathering(table, config)
        self._views = Views(table, lambda: self._router.is_any_ready)
        parts = table, self._waiting
        self._lifecycle = Lifecycle(*parts, self._flights, self._router, self._news, config)
        self._answers = Answers(*parts, self._lifecycle, self._news)
        self._settling = Settling(*parts, self._lifecycle, self._asked, self._news)
        self._operations = Operations(*parts, self._lifecycle, self._asked, self._news)
        self._binder = ""
        self._is_mark_due = False
        self._acked = 0
        self._ack_at_us = 0

    # Views

    def unit(self, key: str) -> UnitView | None:
        """One unit with its replicas."""
        return self._views.unit(key)

    def units(self, prefix: str = "", word: str = "", count_max: int = 0) -> list[UnitView]:
        """Units in the order of their keys, without replicas; 0: all."""
        return self._views.units(prefix, word, count_max, is_whole=False)

    def units_whole(self, prefix: str = "") -> list[UnitView]:
        """Units in the order of their keys, with replicas."""
        return self._views.units(prefix, "", 0, is_whole=True)

    def summary(self) -> Summary:
        """Counts over all units."""
        return self._views.summary()

    # Restart

    def snapshot(self) -> list[Record]:
        """Records that stand for all so far."""
        return snapshot.snapshot_of(self._table, self._asked, self._gathering, self._settling.next)

    def restore(self, records: Iterable[Record]) -> None:
        """Take over the log of former lives; whatever is not bound waits, plans of it may exist."""
        self._lifecycle.is_restoring = True
        for record in records:
            self._apply(record)
        self._lifecycle.queue_all()
        self._news.cut(0)

    def _apply(self, record: Record) -> None:
        """What a record does to durable facts."""
        match record:
            case Submitted() | Amended() | Settled() | Joined() | KeptMarks():
                self._define(record.defs)
        match record:
            case Submitted():
                requests.replay(self._table, record)
            case Cancelled():
                self._operations.apply_cancel(record)
            case Amended():
                self._operations.apply_amend(record)
            case Reported():
                self._operations.apply_report(record)
            case Settled():
                self._settling.replay(record.at_us, record.next, record.rows)
            case Joined():
                self._lifecycle.review(record.at_us, self._gathering.apply(record))
            case Expired(rows=rows):
                handles = self._table.find(rows.uid_hi, rows.uid_lo)
                self._lifecycle.fail(record.at_us, handles, Reason.GANG_INCOMPLETE)
            case KeptMarks():
                snapshot.take_marks(self._table, self._asked, self._gathering, record)
                self._settling.next = record.next
            case Kept():
                snapshot.take_kept(self._table, record)

    def _define(self, defs: Defs) -> None:
        """Definitions of a log; those made in this life are known already."""
        for entry in defs.classes:
            if self._table.classes.is_other(entry.index, entry.encoded):
                self._table.classes.define(entry.index, entry.encoded)
        for name in defs.names:
            if self._table.names.is_other(name.index, name.name):
                self._table.names.define(name.index, name.name)

    # Events

    def handle(self, now_us: int, event: Event) -> list[Effect]:
        """The core's only way in; see `cell.effects`."""
        effects: list[Effect] = []
        match event:
            case PeerUp(peer, hello) if hello.role == "scheduler":
                self._lose_scheduler(now_us, peer)
                self._router.add(peer, hello)
                self._waiting.wake(now_us, SCHEDULER)
            case PeerUp(peer, hello) if hello.role == "binder":
                self._binder = peer
                self._settling.begin_session()
                self._asked.begin_session()
                self._is_mark_due = True
            case PeerDown(peer) if peer == self._binder:
                self._binder = ""
                self._asked.end_session()
            case PeerDown(peer):
                self._lose_scheduler(now_us, peer)
            case Received(peer, Ability() as ability):
                if peer in self._router.schedulers:
                    self._router.schedulers[peer].is_ready = ability.is_ready
            case Received(_, Unplaced() as unplaced):
                self._answers.unplaced(now_us, unplaced)
            case Received(peer, Settle() as settle) if peer == self._binder:
                effects += self._settle(now_us, settle)
            case Request(token, body):
                effects += self._request(now_us, token, body)
            case Tick():
                pass
            case _:
                raise ValueError(f"{type(event).__name__} is no event of a dispatcher now")
        return effects + self._go_on(now_us)

    def _lose_scheduler(self, now_us: int, peer: str) -> None:
        """Its units are tried by others, at their old age, as new attempts."""
        for flight in self._flights.of(peer):
            self._answers.again(now_us, self._flights.members(flight))
        self._router.drop(peer)

    def _request(self, now_us: int, token: int, body: object) -> list[Effect]:
        """Check, make durable, answer, tell."""
        if isinstance(body, Submit):
            return self._submit(now_us, token, body)
        items = getattr(body, "items", None) or getattr(body, "keys", None) or ()
        count = len(body.members) if isinstance(body, Join) else len(items)
        if count > ITEMS_MAX:
            reason = f"{count} items, limit {ITEMS_MAX}"
            return [Answer(token, Refusal(Status.INVALID_ARGUMENT, "items", reason))]
        record: Record | None = None
        match body:
            case Cancel():
                record, acks = self._operations.cancel(now_us, body)
            case Amend():
                record, acks = self._operations.amend(now_us, body)
            case Report():
                record, acks = self._operations.report(now_us, body)
            case Join():
                record, acks = self._gathering.join(now_us, body)
            case _:
                raise ValueError(f"{type(body).__name__} is no request of a dispatcher")
        if record is None:
            return [Answer(token, acks)]
        self._apply(record)
        return [Persist(record), Answer(token, acks)]

    def _submit(self, now_us: int, token: int, body: Submit) -> list[Effect]:
        try:
            accepted = requests.submit(self._table, self._config, now_us, body)
        except requests.Malformed as error:
            return [Answer(token, error.refusal)]
        answer = Answer(token, Acks(accepted.count, tuple(sorted(accepted.refused.items()))))
        if accepted.record is None:
            return [answer]
        self._waiting.activate(accepted.handles)
        return [Persist(accepted.record), answer]

    def _settle(self, now_us: int, settle: Settle) -> list[Effect]:
        """Outcomes: told at once, for they are durable at the binder; then our own record."""
        if settle.wakes:
            self._waiting.wake(now_us, settle.wakes)
        rows = self._settling.take(now_us, settle)
        if rows is None:
            return []
        if not self._ack_at_us:
            self._ack_at_us = now_us + self._config.ack_ms * _US_PER_MS
        effects = self._publish(now_us)
        defs = Defs(self._table.classes.cut(), self._table.names.cut())
        return [*effects, Persist(Settled(now_us, self._settling.next, rows, defs))]

    # What follows from any event

    def _go_on(self, now_us: int) -> list[Effect]:
        """Time passes: who is due tries, who has credit gets units, the binder hears of it."""
        effects = self._expire(now_us)
        self._void_overdue(now_us)
        due = self._waiting.advance(now_us)
        self._waiting.leave(due, State.COMMANDED)
        self._asked.repeat(due)
        self._park_unroutable(now_us)
        effects += self._dispatch(now_us)
        effects += self._command(now_us)
        effects += self._publish(now_us)
        at_us = self._next_at_us(now_us)
        return [*effects, WakeAt(at_us)] if at_us else effects

    def _expire(self, now_us: int) -> list[Effect]:
        """Gangs whose members did not come in time have failed."""
        if not 0 < self._gathering.next_at_us() <= now_us:
            return []
        handles = self._gathering.expired(now_us)
        self._gathering.purge()
        if not len(handles):
            return []
        units = self._table.units
        rows = UidRows(uid_hi=units.uid_hi[handles], uid_lo=units.uid_lo[handles])
        record = Expired(now_us, rows)
        self._apply(record)
        self._gathering.purge()
        return [Persist(record)]

    def _void_overdue(self, now_us: int) -> None:
        """The net below lost answers."""
        limit_us = self._config.flight_ms_max * _US_PER_MS
        oldest_us = self._flights.oldest_us()
        if oldest_us and now_us - oldest_us > limit_us:
            for flight in self._flights.older_than(now_us - limit_us):
                self._answers.again(now_us, self._flights.members(flight))

    def _park_unroutable(self, now_us: int) -> None:
        """Units whose profile nobody runs wait for a scheduler that does."""
        if not self._router.schedulers:
            return
        for route in self._waiting.active.routes():
            if not self._router.is_routable(route):
                handles = self._waiting.active.first(_ALL, {route})
                profile = ", ".join(sorted(self._table.routes.profiles[route]))
                line = text(Reason.UNKNOWN_PROFILE, profile)
                self._answers.park(now_us, handles, SCHEDULER, Reason.UNKNOWN_PROFILE, line)

    def _dispatch(self, now_us: int) -> list[Effect]:
        """Fill the schedulers' credits with units in order."""
        effects: list[Effect] = []
        while free := self._router.free():
            routes = self._router.routes(free)
            window = self._waiting.active.first(self._router.window(), routes)
            shares = self._router.share(window, free) if len(window) else []
            if not shares:
                break
            for scheduler, handles in shares:
                count = int(self._table.units.rows[handles].sum())
                units = self._table.units
                units.wake_seen[handles] = self._waiting.parked.wakes
                attempts = self._flights.begin(now_us, scheduler.name, handles, count)
                rows = assigning.rows_of(self._table, handles, attempts)
                scheduler.credits -= 1
                scheduler.load += count
                scheduler.fit_classes(len(self._table.classes.entries))
                body = assigning.message(self._term, rows, self._table, scheduler.is_sent)
                effects.append(Send(scheduler.name, body))
        return effects

    def _command(self, now_us: int) -> list[Effect]:
        """Commands and marks for the binder, when something is due."""
        following = self._settling.next
        is_due = self._is_mark_due or self._asked.is_due
        is_due |= following - self._acked >= self._config.ack_rows_max
        is_due |= 0 < self._ack_at_us <= now_us
        if not self._binder or not is_due:
            return []
        rows, classes = self._asked.cut()
        self._is_mark_due, self._ack_at_us, self._acked = False, 0, following
        floor, next_ = self._flights.floor, self._flights.next
        return [Send(self._binder, Command(self._term, floor, next_, following, rows, classes))]

    def _publish(self, now_us: int) -> list[Effect]:
        told = self._news.cut(now_us)
        return [] if told is None else [Publish(told)]

    def _next_at_us(self, now_us: int) -> int:
        """When the next Tick is wanted; 0 for never."""
        oldest_us = self._flights.oldest_us()
        times = (
            self._waiting.next_at_us(now_us),
            self._gathering.next_at_us(),
            self._ack_at_us if self._binder else 0,
            oldest_us + self._config.flight_ms_max * _US_PER_MS + 1 if oldest_us else 0,
        )
        return min((at_us for at_us in times if at_us), default=0)
