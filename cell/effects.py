"""Events that every core takes and effects that every core returns.

`handle(now_us, event)` is a core's only way in; `now_us` is microseconds, monotonic, near Unix
time. The shell performs effects in order, and everything behind a Persist waits until that record
is durable. A core never sees a message of an ended session: links (`cell.link`) deliver ordered
streams that may break at any moment, told by PeerUp and PeerDown.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cell.home import Call, Note, Tell
from cell.link import Hello


class PeerUp(msgspec.Struct, frozen=True):
    """A fresh session with a peer: nothing of the previous one is in flight any more."""

    peer: str
    hello: Hello


class PeerDown(msgspec.Struct, frozen=True):
    """The session ended (closed, silent, a gap): what was sent last may or may not have arrived."""

    peer: str


class Received(msgspec.Struct, frozen=True):
    """The next message of the peer's stream."""

    peer: str
    body: Any


class Request(msgspec.Struct, frozen=True):
    """A request of a public API. `token` names the answer's receiver, who may be gone by then."""

    token: int
    body: Any


class Tick(msgspec.Struct, frozen=True):
    """The time a WakeAt asked for has come (or has passed)."""


Event = PeerUp | PeerDown | Received | Request | Tick


class Persist(msgspec.Struct, frozen=True):
    """Append a record to the core's own log. Later effects wait for it to be durable."""

    record: Any


class Send(msgspec.Struct, frozen=True):
    """Send to a peer; dropped in silence when its session has ended (PeerDown tells)."""

    peer: str
    body: Any


class Answer(msgspec.Struct, frozen=True):
    """The answer to a Request."""

    token: int
    body: Any


class Publish(msgspec.Struct, frozen=True):
    """What changed, for whoever watches. Watchers that fall behind are cut off and list again."""

    body: Any


class WakeAt(msgspec.Struct, frozen=True):
    """Send Tick at this time; the earliest asked for counts. A time in the past means soon."""

    at_us: int


Effect = Persist | Send | Answer | Publish | WakeAt | Call | Note | Tell
