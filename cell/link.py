"""The link discipline: one ordered stream per peer over a transport that may lose, double or
reorder.

Used by the runtime's shell and by the simulator alike. A session begins with one Hello each way,
which names the peer as long as it lasts; frames are numbered, a doubled frame is dropped, a gap or
silence ends the session, and frames of an ended session are ignored. The dialer opens sessions;
numbers of sessions only grow per dialer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cell.names import is_name

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
HEARTBEAT_US = 100_000
SUSPECT_US = 400_000
DERIVED = "derived-outcomes"
"""Feature of a binder that derives its ledger at each start: outcomes of its former life that were
not acked are lost, so the dispatcher has what it knows confirmed at each session."""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """First message of a session, each way."""

    name: str
    role: str
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX
    features: tuple[str, ...] = ()
    term: int = 0
    """The sender's term (dispatcher, binder); 0 for a scheduler."""
    dictionary: int = 0
    """Names the dictionaries of this session: indices mean nothing in another."""
    partition: int = 0
    partitions: int = 1
    """Scheduler `partition` of `partitions` (a hint)."""
    profiles: tuple[str, ...] = ()
    """Profiles a scheduler runs."""
    grant: int = 0
    """Binder to dispatcher: the term under which it leads; 0 where its store gives it one."""
    address: str = ""
    """Where a dispatcher listens for clients: others are told when it leads."""


class Frame(msgspec.Struct, frozen=True):
    """What travels: a numbered body, or a heartbeat that repeats the last number sent."""

    session: int
    seq: int
    body: Any = None
    sent_at_us: int = 0


class Link:
    """One end of a link. All methods are pure state changes; the owner moves the frames.

    `receive` returns the bodies to deliver; the first is the peer's Hello. `is_up` turns True with
    it and False when the session ends; the owner compares it before and after and tells its core.
    """

    def __init__(self, hello: Hello, answer: Callable[[Hello], Hello] | None = None) -> None:
        """`answer` makes an acceptor's Hello of the dialer's, where it depends on that."""
        self._hello = hello
        self._answer = answer or (lambda theirs: hello)
        self.said = hello
        """The Hello that was sent."""
        self.session = 0
        self.is_up = False
        self._sent = 0
        self._received = 0
        self._heard_at_us = 0
        self._spoke_at_us = 0

    def open(self, now_us: int, session: int) -> Frame:
        """Dialer: begin session `session`, which must be above all before; returns the Hello to
        send.
        """
        self._begin(now_us, session)
        return self.frame(now_us, self._hello)

    def frame(self, now_us: int, body: Any) -> Frame:
        """The next frame of the session."""
        self._sent += 1
        self._spoke_at_us = now_us
        return Frame(self.session, self._sent, body, now_us)

    def receive(self, now_us: int, frame: Frame) -> tuple[list[Any], list[Frame]]:
        """Bodies to deliver and frames to answer with; ends the session on a gap.

        An acceptor takes a Hello of a higher session as the end of its present one: the owner must
        see the session change (compare `session`) and tell its core PeerDown first.
        """
        replies: list[Frame] = []
        if isinstance(frame.body, Hello) and frame.session > self.session:
            self._begin(now_us, frame.session)
            self.said = self._answer(frame.body)
            replies.append(self.frame(now_us, self.said))
        if frame.session != self.session or self._received < 0:
            return [], []
        self._heard_at_us = now_us
        expected = self._received + (frame.body is not None)
        if frame.body is not None and frame.seq <= self._received:
            return [], []
        if frame.seq > expected:
            self.end()
            return [], []
        if frame.body is None:
            return [], []
        self._received = frame.seq
        is_first = frame.seq == 1
        if is_first is not isinstance(frame.body, Hello) or (
            is_first and not self._is_acceptable(frame.body)
        ):
            self.end()
            return [], []
        self.is_up = True
        return [frame.body], replies

    def tick(self, now_us: int) -> Frame | None:
        """A heartbeat when one is due; ends a session whose peer was silent too long."""
        if self._received < 0 or self.session == 0:
            return None
        if now_us - self._heard_at_us >= SUSPECT_US:
            self.end()
            return None
        if now_us - self._spoke_at_us < HEARTBEAT_US:
            return None
        self._spoke_at_us = now_us
        return Frame(self.session, self._sent, None, now_us)

    def end(self) -> None:
        """End the session; later frames of it are ignored."""
        self.is_up = False
        self._received = -1

    @property
    def is_ended(self) -> bool:
        """Whether the dialer has to open a new session."""
        return self._received < 0 or self.session == 0

    def _begin(self, now_us: int, session: int) -> None:
        self.session = session
        self.is_up = False
        self._sent = self._received = 0
        self._heard_at_us = self._spoke_at_us = now_us

    def _is_acceptable(self, hello: Hello) -> bool:
        return (
            is_name(hello.name)
            and 0 <= hello.partition < hello.partitions
            and hello.protocol_min <= self._hello.protocol_max
            and self._hello.protocol_min <= hello.protocol_max
        )
