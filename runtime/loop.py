"""The shell of every core: an inbox, the core, its effects in order, and nothing else.

Services put events in; the shell drains the inbox, calls the core and performs effects first in,
first out. What must hold: nothing behind a Persist happens before that record is durable; a Send
goes into the session in which the core asked for it, or nowhere; an exception in a core ends the
process. Whoever waits for a record waits no longer than `wait_ms_max`.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from cell.effects import (
    Answer,
    Effect,
    PeerDown,
    PeerUp,
    Persist,
    Publish,
    Request,
    Send,
    Tick,
    WakeAt,
)
from cell.reasons import Refusal, Status
from runtime.clock import Clock
from runtime.config import WAIT_MS_MAX
from runtime.grpc_status import CallRefused
from runtime.log import Log
from runtime.store import Store, TermLost

DRAIN_US_MAX = 10_000
"""The inbox is left to the other callbacks of the loop after this time."""
CRASH_STATUS = 70
STORE_RETRY_AFTER_MS = 1000
T = TypeVar("T")


class Core(Protocol):
    """What every component's core offers its shell."""

    def handle(self, now_us: int, event: Any) -> list[Effect]:
        """Take one event; the effects are to be performed in order."""

    def snapshot(self) -> list[Any]:
        """Records that stand for all records so far."""


class Port(Protocol):
    """One session with one peer."""

    def send(self, body: Any) -> None:
        """Queue a message; dropped in silence when the session has ended."""


class Shell:
    """One core in the running event loop; `store` is None for a core that keeps nothing."""

    def __init__(self, core: Core, clock: Clock, log: Log, store: Store | None = None) -> None:
        self.core = core
        self.clock = clock
        self.log = log
        self.wait_ms_max = WAIT_MS_MAX
        """Who waits for a record so long is told UNAVAILABLE."""
        self.store_fault = ""
        """Why records cannot be written at present; submissions are refused meanwhile."""
        self.on_publish: Callable[[Any], None] = lambda body: None
        self.on_call: Callable[[Any], None] | None = None
        """Performs effects of the core's home, if it has one outside."""
        self.on_health: Callable[[bool], None] = lambda is_well: None
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[tuple[Any, Port | None]] = deque()
        self._is_draining = False
        self._is_closed = False
        self._ports: dict[str, Port] = {}
        self._waiting: deque[int | Callable[[], None]] = deque()
        self._answers: dict[int, tuple[float, Callable[[Any], None]]] = {}
        """Until when it is waited for, by token: the first ends first."""
        self._is_expiring = False
        self._tokens = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_us = 0
        if store is not None:
            store.start(
                lambda ticket: self._from_thread(self._on_durable, ticket),
                lambda is_well, why: self._from_thread(self._on_store_health, is_well, why),
                lambda error: self._from_thread(self._crash, error),
            )

    def put(self, event: Any, port: Port | None = None) -> None:
        """Queue an event for the core; `port` is the session that a PeerUp begins."""
        if self._is_closed:
            return
        self._inbox.append((event, port))
        if not self._is_draining:
            self._is_draining = True
            self._loop.call_soon(self._drain)

    def close(self) -> None:
        """Let go of the core: it is told nothing any more. For a shell without a store."""
        self._is_closed = True
        self._inbox.clear()
        if self._timer is not None:
            self._timer.cancel()

    @property
    def store_refusal(self) -> Refusal | None:
        """Why nothing can be accepted at present."""
        return self._unwritten() if self.store_fault else None

    def _unwritten(self, outcome: str = "") -> Refusal:
        why = f"cannot be written: {self.store_fault}" if self.store_fault else "are written slowly"
        reason = f"records {why}{outcome}"
        return Refusal(Status.UNAVAILABLE, "", reason, STORE_RETRY_AFTER_MS)

    def request(self, body: Any, answer: Callable[[Any], None]) -> None:
        """Put a Request; `answer` is called with the body of its Answer, or with a Refusal when
        that came too late: what was asked for may still be done then."""
        self._tokens += 1
        self._answers[self._tokens] = (self._loop.time() + self.wait_ms_max / 1000, answer)
        self.put(Request(self._tokens, body))
        if not self._is_expiring:
            self._is_expiring = True
            self._loop.call_later(self.wait_ms_max / 1000, self._expire)

    def _expire(self) -> None:
        """Answer for those whose records come too late."""
        now = self._loop.time()
        while self._answers:
            token, (until, answer) = next(iter(self._answers.items()))
            if until > now:
                self._loop.call_later(until - now, self._expire)
                return
            del self._answers[token]
            answer(self._unwritten("; this may still be done when they are"))
        self._is_expiring = False

    async def ask(self, body: Any) -> Any:
        """Put a Request and wait for the body of its Answer; see `request`."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.request(body, lambda result: None if future.done() else future.set_result(result))
        return await future

    async def read(self, view: Callable[[], T], at_once: Callable[[], None] = lambda: None) -> T:
        """`view()` of the core between two events, once all that it may show is durable.

        `at_once` is called at that moment: published before it is what the view shows, published
        after it is what came later. Raises CallRefused, and what `at_once` raises.
        """
        shown = view()
        if not self._waiting:
            at_once()
            return shown
        durable: asyncio.Future[None] = self._loop.create_future()

        def show() -> None:
            if not durable.done():
                try:
                    at_once()
                    durable.set_result(None)
                except CallRefused as refused:
                    durable.set_exception(refused)

        self._waiting.append(show)
        try:
            await asyncio.wait_for(durable, self.wait_ms_max / 1000)
        except TimeoutError:
            raise CallRefused(self._unwritten()) from None
        return shown

    def _from_thread(self, call: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _drain(self) -> None:
        """Give the core what is in the inbox, for a limited time."""
        until_us = self.clock.now_us() + DRAIN_US_MAX
        try:
            while self._inbox:
                event, port = self._inbox.popleft()
                self._note_session(event, port)
                now_us = self.clock.now_us()
                for effect in self.core.handle(now_us, event):
                    self._enqueue(effect)
                if now_us >= until_us:
                    break
            self._compact_when_due()
        except Exception as error:
            self._crash(error)
        if self._inbox:
            self._loop.call_soon(self._drain)
        else:
            self._is_draining = False

    def _note_session(self, event: Any, port: Port | None) -> None:
        if isinstance(event, PeerUp) and port is not None:
            self._ports[event.peer] = port
        elif isinstance(event, PeerDown):
            self._ports.pop(event.peer, None)

    def _enqueue(self, effect: Effect) -> None:
        """Perform an effect, or queue it behind the records that are not durable yet."""
        if isinstance(effect, Persist):
            if self._store is not None:
                self._waiting.append(self._store.append(effect.record))
            return
        if isinstance(effect, Send):
            port = self._ports.get(effect.peer)
            if port is None:
                return
            if not self._waiting:
                port.send(effect.body)
                return
            # Bound to the session here: behind a record it could meet the peer's next one.
            body = effect.body
            self._waiting.append(lambda: port.send(body))
        elif isinstance(effect, WakeAt):
            self._wake_at(effect.at_us)
        elif self._waiting:
            self._waiting.append(lambda: self._perform(effect))
        else:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Answer(token=token, body=body):
                if waits := self._answers.pop(token, None):
                    waits[1](body)
            case Publish(body=body):
                self.on_publish(body)
            case _ if self.on_call is not None:
                self.on_call(effect)
            case _:
                raise TypeError(f"unknown effect {type(effect).__name__}")

    def _on_durable(self, ticket: int) -> None:
        try:
            self._release(ticket)
        except Exception as error:
            self._crash(error)

    def _release(self, ticket: int) -> None:
        """Perform what waited for records up to `ticket`, as far as the next record."""
        waiting = self._waiting
        while waiting:
            head = waiting[0]
            if isinstance(head, int):
                if head > ticket:
                    return
                waiting.popleft()
            else:
                waiting.popleft()
                head()

    def _wake_at(self, at_us: int) -> None:
        if self._timer is not None:
            if self._timer_at_us <= at_us:
                return
            self._timer.cancel()
        delay_us = max(0, at_us - self.clock.now_us())
        self._timer_at_us = at_us
        self._timer = self._loop.call_later(delay_us / 1e6, self._on_timer)

    def _on_timer(self) -> None:
        early_us = self._timer_at_us - self.clock.now_us()
        self._timer = None
        if early_us > 0:
            self._wake_at(self._timer_at_us)
        else:
            self.put(Tick())

    def _compact_when_due(self) -> None:
        if self._store is not None and self._store.is_compaction_due:
            self._waiting.append(self._store.compact(self.core.snapshot()))

    def _on_store_health(self, is_well: bool, why: str) -> None:
        self.store_fault = why
        if is_well:
            self.log.say("records are written again")
        else:
            self.log.error("records cannot be written, trying again", why=why)
        self.on_health(is_well)

    def _crash(self, error: BaseException) -> None:
        """A bug is a crash: state in memory is not to be trusted any more."""
        if isinstance(error, TermLost):
            self.log.error("another process took over", why=error)
        else:
            traceback.print_exception(error)
            self.log.error("the core failed", type=type(error).__name__, why=error)
        os._exit(CRASH_STATUS)
