"""One process of the system: a core, its log, its ports, and the shell's loop in simulated form.

The shell's law: effects are performed in order, everything behind a Persist waits until it is
durable, meanwhile the core takes further events. Each effect is an event of the world by itself, so
a crash may come between any two. A crash forgets everything but the durable records; `start` makes
a new core from their bytes. A paused process keeps its memory and its inbox, and hears nothing.
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
from tests.simulation.network import Port
from tests.simulation.store import Store
from tests.simulation.world import World


class Core(Protocol):
    """What every core can do."""

    def handle(self, now_us: int, event: Any) -> list[Any]: ...


class Ear(Protocol):
    """Who listens to what leaves a node: the auditor and the actors."""

    def given(self, node: Node, event: Any) -> None: ...
    def performed(self, node: Node, effect: Any) -> None: ...
    def durable(self, node: Node, record: Any) -> None: ...
    def started(self, node: Node) -> None: ...


class Node:
    """One process. `build(term, records)` makes its core; `home` performs effects of other kinds."""

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
        self.ports: dict[str, Port] = {}
        self.hello_fields: dict[str, Any] = {}
        self.life = 0
        self.term = 0
        self.is_running = False
        self.paused_until_us = 0
        self.home: Callable[[Any], None] | None = None
        self._outbox: deque[tuple[Any, int]] = deque()
        self._is_performing = False
        self._wake_at_us = 0
        self._tokens = 0
        self._asked: dict[int, Callable[[Any], None]] = {}

    # Life

    def start(self) -> None:
        """Start, or start again from what is durable."""
        self.life += 1
        records: list[Any] = []
        if self.store is not None:
            self.store.term += 1
            self.term = self.store.term
            records = self.store.restored()
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
        self._wake_at_us = 0
        self._asked.clear()
        if self.store is not None:
            self.store.crash()
        for port in self.ports.values():
            port.stop()

    def pause(self, duration_us: int) -> None:
        """Stand still: nothing is heard, said or done until the time is over."""
        self.paused_until_us = self.world.now_us + duration_us

    @property
    def is_paused(self) -> bool:
        """Whether the process stands still now."""
        return self.world.now_us < self.paused_until_us

    # Events in

    def peer_up(self, hello: Hello) -> None:
        self.give(PeerUp(hello.name, hello))

    def peer_down(self, peer: str) -> None:
        self.give(PeerDown(peer))

    def received(self, peer: str, body: Any) -> None:
        self.give(Received(peer, body))

    def ask(self, body: Any, answered: Callable[[Any], None]) -> None:
        """Put a request of a public API; `answered` may never be called."""
        if not self.is_running or (self.store is not None and self.store.is_full):
            return
        self._tokens += 1
        token = self.life << 32 | self._tokens
        self._asked[token] = answered
        self.give(Request(token, wire.unpack(wire.pack(body))))

    def give(self, event: Any) -> None:
        """Give the core an event and take over its effects."""
        if not self.is_running:
            return
        now_us = self.world.now_us
        if self.is_paused:
            life = self.life
            self.world.at(self.paused_until_us, lambda: self._give_late(life, event))
            return
        self.world.events_given += 1
        self.world.note(self.name, "takes", event)
        self._ear.given(self, event)
        effects = self.core.handle(now_us, event)
        if effects:
            self._outbox.extend((effect, self._session_of(effect)) for effect in effects)
            self._perform_next()

    def _session_of(self, effect: Any) -> int:
        """The session a message is meant for: behind a slow write it may outlive it."""
        if not isinstance(effect, Send) or effect.peer not in self.ports:
            return 0
        return self.ports[effect.peer].session

    def _give_late(self, life: int, event: Any) -> None:
        if life == self.life:
            self.give(event)

    # Effects out

    def _perform_next(self) -> None:
        if self._is_performing or not self._outbox:
            return
        self._is_performing = True
        life = self.life
        delay_us = max(self.paused_until_us - self.world.now_us, 0) or self.world.between(0, 20)
        self.world.after(delay_us, lambda: self._perform(life))

    def _perform(self, life: int) -> None:
        if life != self.life:
            return
        effect, session = self._outbox.popleft()
        if isinstance(effect, Persist):
            assert self.store is not None, f"{self.name} has no store"
            record = effect.record
            self.store.append(record, lambda: self._persisted(life, record))
            return
        self._is_performing = False
        self._perform_at_once(effect, session)
        if life == self.life:
            self._perform_next()

    def _persisted(self, life: int, record: Any) -> None:
        if life != self.life:
            return
        self.world.note(self.name, "has durable", record)
        self._ear.durable(self, record)
        self._is_performing = False
        self._perform_next()

    def _perform_at_once(self, effect: Any, session: int) -> None:
        match effect:
            case Send(peer=peer, body=body):
                if peer in self.ports and self.ports[peer].session == session:
                    self._ear.performed(self, effect)
                    self.ports[peer].send(body)
            case WakeAt(at_us=at_us):
                self._ask_wake(at_us)
            case Answer(token=token, body=body):
                self._ear.performed(self, effect)
                self.world.note(self.name, "answers", effect)
                answered = self._asked.pop(token, None)
                if answered is not None:
                    answered(wire.unpack(wire.pack(body)))
            case Publish():
                self._ear.performed(self, effect)
            case _:
                assert self.home is not None, f"{self.name}: nobody performs {effect!r}"
                self._ear.performed(self, effect)
                self.home(effect)

    def _ask_wake(self, at_us: int) -> None:
        if self._wake_at_us and self._wake_at_us <= at_us:
            return
        self._wake_at_us = max(at_us, self.world.now_us + 1)
        life, wanted_us = self.life, self._wake_at_us
        late_us = self.world.between(0, 500)
        self.world.at(wanted_us + late_us, lambda: self._wake(life, wanted_us))

    def _wake(self, life: int, wanted_us: int) -> None:
        if life == self.life and wanted_us == self._wake_at_us:
            self._wake_at_us = 0
            self.give(Tick())
