"""A simulated network under `cell.link`: frames are lost, doubled, delayed, reordered or cut off.

A `Wire` joins two ports. Without faults it is ordered and quick. `Port` is one end: it owns the
Link, moves its frames, keeps the sessions going (the dialer opens them) and tells its node's core
PeerUp, PeerDown and Received.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cell.link import Frame, Hello, Link
from tests.simulation import wire
from tests.simulation.world import MS, World

TICK_US = 50 * MS
REDIAL_US = 60 * MS


class Luck:
    """How bad the network is: ratios of frames that meet each fault. Calm when all are zero."""

    def __init__(self) -> None:
        self.lost = 0.0
        self.doubled = 0.0
        self.delayed = 0.0
        self.reordered = 0.0

    def calm(self) -> None:
        """No faults from now on."""
        self.lost = self.doubled = self.delayed = self.reordered = 0.0


class Owner(Protocol):
    """What a port needs of its node."""

    name: str
    is_running: bool
    paused_until_us: int

    @property
    def now_us(self) -> int: ...
    @property
    def is_paused(self) -> bool: ...
    def peer_up(self, hello: Hello) -> None: ...
    def peer_down(self, peer: str) -> None: ...
    def received(self, peer: str, body: Any) -> None: ...


class Port:
    """One end of a wire."""

    def __init__(self, world: World, owner: Owner, peer: str, *, is_dialer: bool) -> None:
        self._world = world
        self.owner = owner
        self.peer = peer
        self._is_dialer = is_dialer
        self._next_session = 1
        self.link: Link | None = None
        self.transmit: Callable[[Frame], None] = lambda frame: None
        self._redial_at_us = 0
        self._told_session = 0

    @property
    def session(self) -> int:
        """The session that the node was last told of, 0 after its end."""
        return self._told_session

    def start(self, hello: Hello) -> None:
        """The node has started: a fresh link."""
        self.link = Link(hello)
        self._redial_at_us = self.owner.now_us

    def stop(self) -> None:
        """The node has crashed."""
        self.link = None
        self._told_session = 0

    def send(self, body: Any) -> None:
        """Send in the session that the node knows of, if it has not ended."""
        link = self.link
        if link is not None and link.is_up and link.session == self._told_session:
            self.transmit(link.frame(self.owner.now_us, wire.pack(body)))

    def break_session(self) -> None:
        """The connection was reset: this end learns it at once, or when it goes on after a pause:
        told in between it would come behind the greeting of the next session.
        """
        if self.owner.is_paused:
            self._world.at(self.owner.paused_until_us, self.break_session)
            return
        if self.link is not None and self.link.is_up:
            self.link.end()
            self._tell_down()

    def tick(self) -> None:
        """Heartbeats, suspicion, and dialling again."""
        link, now_us = self.link, self.owner.now_us
        if link is None or self.owner.is_paused:
            return
        was_up = link.is_up
        frame = link.tick(now_us)
        if was_up and not link.is_up:
            self._tell_down()
        if frame is not None:
            self.transmit(frame)
        if self._is_dialer and link.is_ended and now_us >= self._redial_at_us:
            self._redial_at_us = now_us + REDIAL_US
            self.transmit(link.open(now_us, self._next_session))
            self._next_session += 1

    def arrive(self, frame: Frame) -> None:
        """A frame of the peer has come."""
        link = self.link
        if link is None:
            return
        if self.owner.is_paused:
            self._world.at(self.owner.paused_until_us, lambda: self.arrive(frame))
            return
        was_up, session = link.is_up, link.session
        bodies, replies = link.receive(self.owner.now_us, frame)
        # The end of a session may be told by the next one's beginning alone: both happen.
        is_next = link.is_up and link.session != session
        if was_up and (not link.is_up or (is_next and self._world.chance(0.5))):
            self._tell_down()
        for reply in replies:
            self.transmit(reply)
        for body in bodies:
            if isinstance(body, Hello):
                self._told_session = link.session
                self.owner.peer_up(body)
            else:
                self.owner.received(self.peer, wire.unpack(body))

    def _tell_down(self) -> None:
        self._told_session = 0
        self.owner.peer_down(self.peer)


class Wire:
    """Two ports and what lies between."""

    def __init__(self, world: World, luck: Luck, one: Port, other: Port) -> None:
        self.name = f"{other.peer}-{one.peer}"
        self._world = world
        self._luck = luck
        self.ports = (one, other)
        self.cut_until_us = 0
        self._last_us = {id(one): 0, id(other): 0}
        one.transmit = lambda frame: self._carry(frame, other)
        other.transmit = lambda frame: self._carry(frame, one)
        self._tick()

    def break_session(self) -> None:
        """Reset the connection at both ends."""
        for port in self.ports:
            port.break_session()

    def _tick(self) -> None:
        for port in self.ports:
            port.tick()
        self._world.after(TICK_US, self._tick)

    def _carry(self, frame: Frame, to: Port) -> None:
        world, luck = self._world, self._luck
        if world.now_us < self.cut_until_us:
            return
        if luck.lost and world.chance(luck.lost):
            world.fault("frame lost", to.peer)
            return
        self._deliver(frame, to)
        if luck.doubled and world.chance(luck.doubled):
            world.fault("frame doubled", to.peer)
            self._deliver(frame, to)

    def _deliver(self, frame: Frame, to: Port) -> None:
        world, luck = self._world, self._luck
        when_us = world.now_us + world.between(50, 600)
        if luck.delayed and world.chance(luck.delayed):
            world.fault("frame delayed", to.peer)
            when_us += world.between(5 * MS, 300 * MS)
        if luck.reordered and world.chance(luck.reordered):
            world.fault("frame reordered", to.peer)
            when_us += world.between(100, 3_000)
        else:
            when_us = max(when_us, self._last_us[id(to)])
            self._last_us[id(to)] = when_us
        world.at(when_us, lambda: to.arrive(frame))
