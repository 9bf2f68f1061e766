"""One process of the system: a core, its log, its ports, and the shell's loop in simulated form.

The shell's law: effects are performed in order, everything behind a Persist waits until it is
durable, meanwhile the core takes further events. A crash may come between any two effects
(`ambush`); it forgets everything but the durable records, and `start` makes a new core from their
bytes. A paused process keeps its memory and its inbox, and hears, says and does nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from cell.effects import (
    Answer,
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
from cell.link import Hello
from tests.simulation import wire
from tests.simulation.store import Store
from tests.simulation.world import World


class Exit(Protocol):
    """A way to one peer, as its node sees it."""

    @property
    def session(self) -> int: ...
    def start(self, hello: Hello) -> None: ...
    def stop(self) -> None: ...
    def send(self, body: Any) -> None: ...


class Ear(Protocol):
    """Who listens to what goes into a node and what leaves it."""

    def given(self, node: Node, event: Any) -> None: ...
    def took(self, node: Node, event: Any, effects: list[Any]) -> None: ...
    def performed(self, node: Node, effect: Any) -> None: ...
    def started(self, node: Node) -> None: ...


class Node:
    """One process. `build(term, records)` makes its core, `home` does effects of other kinds."""

    def __init__(
        self,
        world: World,
        name: str,
        role: str,
        store: Store | None,
        build: Callable[[int, list[Any]], Any],
        ear: Ear,
    ) -> None:
        self.world = world
        self.name = name
        self.role = role
        self.store = store
        self._build = build
        self._ear = ear
        self.core: Any = None
        self.ports: dict[str, Exit] = {}
        self.hello_fields: dict[str, Any] = {}
        self.life = 0
        self.term = 0
        self.is_running = False
        self.paused_until_us = 0
        self.clock_offset_us = 0
        """How far its clock is off; changes between two lives only."""
        self.next_offset_us = 0
        self.home: Callable[[Any], None] | None = None
        self._outbox: deque[tuple[Any, int]] = deque()
        self._durable_ticket = 0
        self._is_performing = False
        self._ambushes: list[tuple[int, Callable[[], None]]] = []
        self._effects_done = 0
        self._wake_at_us = 0
        self._tokens = 0
        self._asked: dict[int, Callable[[Any], None]] = {}
        if store is not None:
            store.told = self._on_durable

    @property
    def now_us(self) -> int:
        """Its own clock."""
        return self.world.now_us + self.clock_offset_us

    # Life

    def start(self) -> None:
        """Start, or start again from what is durable."""
        self.life += 1
        self.clock_offset_us = self.next_offset_us
        records: list[Any] = []
        if self.store is not None:
            self.store.term += 1
            self.term = self.store.term
            records = self.store.restored()
        elif self.role != "scheduler":
            self.term = self.life
        self.core = self._build(self.term, records)
        self.is_running = True
        self.world.note(self.name, f"starts, term {self.term}, {len(records)} records")
        hello = Hello(
            name=self.name,
            role=self.role,
            term=self.term,
            dictionary=self.life,
            **self.hello_fields,
        )
        for port in self.ports.values():
            port.start(hello)
        self._ear.started(self)
        self.give(Tick())

    def crash(self) -> None:
        """Lose memory, effects not yet performed, and what is not durable."""
        self.world.note(self.name, f"crashes, {len(self._outbox)} effects not performed")
        self.life += 1
        self.is_running = False
        self.core = None
        self._outbox.clear()
        self._is_performing = False
        self._ambushes.clear()
        self._wake_at_us = 0
        self._asked.clear()
        self.paused_until_us = 0
        if self.store is not None:
            self.store.crash()
        for port in self.ports.values():
            port.stop()

    def pause(self, duration_us: int) -> None:
        """Stand still until the time is over."""
        if not self.is_paused:  # A longer pause would put what waits already behind what comes.
            self.paused_until_us = self.world.now_us + duration_us
        life = self.life
        self.world.at(self.paused_until_us, lambda: self._go_on(life))

    @property
    def is_paused(self) -> bool:
        """Whether the process stands still now."""
        return self.world.now_us < self.paused_until_us

    def ambush(self, effects: int, strike: Callable[[], None]) -> None:
        """Let a fault strike just before so many more effects are done."""
        self._ambushes.append((self._effects_done + effects, strike))

    def disarm(self) -> None:
        """No fault lies in wait any more."""
        self._ambushes.clear()

    def compact(self) -> None:
        """Have the log replaced by a snapshot of the core as it is now."""
        if self.store is not None and self.is_running:
            self._outbox.append((_Ticket(self.store.replace(self.core.snapshot())), 0))

    # Events in

    def peer_up(self, hello: Hello) -> None:
        """A session has begun."""
        self.give(PeerUp(hello.name, hello))

    def peer_down(self, peer: str) -> None:
        """A session has ended."""
        self.give(PeerDown(peer))

    def received(self, peer: str, body: Any) -> None:
        """A message has come."""
        self.give(Received(peer, body))

    def ask(self, body: Any, answered: Callable[[Any], None]) -> bool:
        """Put a request of a public API; `answered` may never be called. False: not even heard."""
        if not self.is_running or (self.store is not None and self.store.is_full):
            return False
        self._tokens += 1
        token = self.life << 32 | self._tokens
        self._asked[token] = answered
        self.give(Request(token, wire.unpack(wire.pack(body))))
        return True

    def behind(self, action: Callable[[], None]) -> None:
        """Call `action` once all effects so far are done; never, if a crash comes first."""
        self._outbox.append((action, 0))
        self._perform()

    def give(self, event: Any) -> None:
        """Give the core an event and take over its effects."""
        if not self.is_running:
            return
        if self.is_paused:
            life = self.life
            self.world.at(self.paused_until_us, lambda: self._give_late(life, event))
            return
        self.world.events_given += 1
        self.world.note(self.name, "takes", event)
        self._ear.given(self, event)
        effects = self.core.handle(self.now_us, event)
        self._ear.took(self, event, effects)
        for effect in effects:
            self._enqueue(effect)
        self._perform()

    def _give_late(self, life: int, event: Any) -> None:
        if life == self.life:
            self.give(event)

    # Effects out

    def _enqueue(self, effect: Any) -> None:
        match effect:
            case Persist(record=record):
                assert self.store is not None, f"{self.name} has no store"
                self.world.note(self.name, "writes", record)
                self._outbox.append((_Ticket(self.store.append(record)), 0))
            case WakeAt(at_us=at_us):
                self._ask_wake(at_us)
            case Send(peer=peer):
                # Bound to the session here: behind a record it could meet the peer's next one.
                session = self.ports[peer].session if peer in self.ports else 0
                self._outbox.append((effect, session))
            case _:
                self._outbox.append((effect, 0))

    def _on_durable(self, ticket: int) -> None:
        self._durable_ticket = ticket
        self._perform()

    def _go_on(self, life: int) -> None:
        if life == self.life:
            self._perform()

    def _perform(self) -> None:
        """Do what can be done now, in order."""
        if self._is_performing:
            return
        life = self.life
        self._is_performing = True
        while self._outbox and not self.is_paused:
            effect, session = self._outbox[0]
            if isinstance(effect, _Ticket) and effect.number > self._durable_ticket:
                break
            if self._is_ambushed():
                if life != self.life:
                    return
                continue
            self._outbox.popleft()
            self._perform_one(effect, session)
            if life != self.life:
                return
        self._is_performing = False

    def _is_ambushed(self) -> bool:
        """Count an effect; whether a fault struck in its place."""
        if not self._ambushes:
            return False
        self._effects_done += 1
        due = [strike for at, strike in self._ambushes if at <= self._effects_done]
        self._ambushes = [entry for entry in self._ambushes if entry[0] > self._effects_done]
        for strike in due:
            strike()
        return bool(due)

    def _perform_one(self, effect: Any, session: int) -> None:
        match effect:
            case _Ticket():
                pass
            case Send(peer=peer, body=body):
                if session and self.ports[peer].session == session:
                    self.world.note(self.name, f"sends to {peer}", body)
                    self._ear.performed(self, effect)
                    self.ports[peer].send(body)
            case Answer(token=token, body=body):
                self.world.note(self.name, "answers", body)
                self._ear.performed(self, effect)
                answered = self._asked.pop(token, None)
                if answered is not None:
                    answered(wire.unpack(wire.pack(body)))
            case Publish(body=body):
                self.world.note(self.name, "publishes", body)
                self._ear.performed(self, effect)
            case _ if callable(effect):
                effect()
            case _:
                assert self.home is not None, f"{self.name}: nobody performs {effect!r}"
                self.world.note(self.name, "asks its home", effect)
                self._ear.performed(self, effect)
                self.home(effect)

    def _ask_wake(self, at_us: int) -> None:
        if self._wake_at_us and self._wake_at_us <= at_us:
            return
        self._wake_at_us = max(at_us, self.now_us + 1)
        life, wanted_us = self.life, self._wake_at_us
        late_us = self.world.between(0, 500)
        self.world.at(
            wanted_us - self.clock_offset_us + late_us, lambda: self._wake(life, wanted_us)
        )

    def _wake(self, life: int, wanted_us: int) -> None:
        if life == self.life and wanted_us == self._wake_at_us:
            self._wake_at_us = 0
            self.give(Tick())


class _Ticket:
    """Stands in the outbox for a record: what is behind waits for it."""

    def __init__(self, number: int) -> None:
        self.number = number
