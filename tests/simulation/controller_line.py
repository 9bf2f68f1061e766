"""The rolling controller's line to the dispatcher: its shell's part, as a client like others.

A session is one connection: ordered both ways, quick, and cut off at any moment; what was on its
way then may or may not have arrived. `Watch` becomes a snapshot of units followed by their changes,
`Call` a request and its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cell.link import Hello
from cell.messages import Changes
from cell.reasons import Refusal, Status
from cell.release import DISPATCHER, Call, Called, Seen, Unwatch, Watch
from tests.simulation import wire
from tests.simulation.node import Node
from tests.simulation.world import MS, World

TICK_US = 50 * MS


class ControllerLine:
    """The controller's only port, and what stands behind it at the dispatcher."""

    def __init__(self, world: World, controller: Node, dispatcher: Node) -> None:
        self._world = world
        self._controller = controller
        self._dispatcher = dispatcher
        self._sessions = 0
        self._dispatcher_life = 0
        self._last_us = {"there": 0, "back": 0}
        self._watched: dict[str, int] = {}
        self.session = 0
        self.cut_until_us = 0
        self._tick()

    # As the controller's node sees it

    def start(self, hello: Hello) -> None:
        """The controller has started."""

    def stop(self) -> None:
        """The controller has crashed."""
        self._end()

    def send(self, body: Any) -> None:
        """Carry a message to the dispatcher."""
        packed, session = wire.pack(body), self.session
        self._carry("there", lambda: self._serve(session, wire.unpack(packed)))

    # Sessions

    def break_session(self) -> None:
        """The connection was reset; both learn it at once."""
        if self.session:
            self._end()
            self._controller.peer_down(DISPATCHER)

    def published(self, changes: Changes) -> None:
        """The dispatcher tells whoever watches."""
        if not self.session or not self._watched:
            return
        session = self.session
        for prefix in self._watched:
            rows = [i for i, key in enumerate(changes.keys) if key.startswith(prefix)]
            if rows:
                part = Changes(
                    tuple(changes.keys[i] for i in rows),
                    changes.rows.take(rows),
                    changes.nodes,
                    changes.resources,
                    changes.at_us,
                )
                self._back(session, part)

    def _tick(self) -> None:
        self._world.after(TICK_US, self._tick)
        is_cut = self._world.now_us < self.cut_until_us
        both_run = self._controller.is_running and self._dispatcher.is_running
        if self.session:
            if is_cut or not both_run or self._dispatcher.life != self._dispatcher_life:
                self.break_session()
        elif both_run and not is_cut and not self._controller.is_paused:
            self._sessions += 1
            self.session = self._sessions
            self._dispatcher_life = self._dispatcher.life
            term = self._dispatcher.term
            self._controller.peer_up(Hello(name=DISPATCHER, role="dispatcher", term=term))

    def _end(self) -> None:
        self.session = 0
        self._watched.clear()

    # The dispatcher's side

    def _serve(self, session: int, body: Any) -> None:
        if session != self.session or not self._dispatcher.is_running:
            return
        match body:
            case Watch(prefix=prefix):
                seen = Seen(prefix, tuple(self._dispatcher.core.units_whole(prefix)))
                self._dispatcher.behind(lambda: self._show(session, seen))
            case Unwatch(prefix=prefix):
                self._watched.pop(prefix, None)
            case Call(number=number, body=request):
                is_heard = self._dispatcher.ask(
                    request, lambda answer: self._back(session, Called(number, answer))
                )
                if not is_heard:
                    refusal = Refusal(Status.UNAVAILABLE, "", "the disk is full", 200)
                    self._back(session, Called(number, refusal))

    def _show(self, session: int, seen: Seen) -> None:
        """What is published behind this is what the snapshot does not show yet."""
        if session == self.session:
            self._watched[seen.prefix] = session
            self._back(session, seen)

    def _back(self, session: int, body: Any) -> None:
        packed = wire.pack(body)
        self._carry("back", lambda: self._deliver(session, packed))

    def _deliver(self, session: int, packed: wire.Packed) -> None:
        if session == self.session:
            self._controller.received(DISPATCHER, wire.unpack(packed))

    def _carry(self, way: str, action: Callable[[], None]) -> None:
        when_us = max(self._world.now_us + self._world.between(50, 600), self._last_us[way])
        self._last_us[way] = when_us
        self._world.at(when_us, action)
