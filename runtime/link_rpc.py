"""Links over gRPC: `cell.link.Link` on one bidirectional stream per session, both ends.

Services build one `Dialer` per peer they call and one `LinkServicer`; both put PeerUp, Received and
PeerDown into the shell. What must hold: a stream carries one session; frames go out in the order of
`send`; a broken or silent stream is told as one PeerDown and dialled again with backoff.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Protocol

import grpc
import msgspec

from cell.columns import BadTable
from cell.effects import PeerDown, PeerUp, Received
from cell.link import HEARTBEAT_US, Frame, Hello, Link
from godel.v1 import link_pb2, link_pb2_grpc
from runtime.clock import Clock
from runtime.codec import decode_frame, encode_frame
from runtime.config import LinkLimits
from runtime.log import Log
from runtime.loop import Port, Shell
from runtime.targets import targets
from runtime.tls import BadTls, Identity, channel, peer_names

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 0.3
"""Short: a standby that has taken over is to be found soon."""
TICK_SECONDS = HEARTBEAT_US / 2e6
LAST_WRITE_SECONDS_MAX = 1.0
"""What a session that ends gives the write under way."""
MESSAGE_BYTES_MAX = 256 << 20
"""Of one message to a client, and of a link unless configured."""
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
)

DISPATCHER = "dispatcher"
GRANTED_KEY = "godel-granted"
"""Trailing metadata of a refusal: another dispatcher leads, by the word of who grants that."""
BROKEN = (grpc.RpcError, grpc.aio.InternalError)
"""What reads and writes raise when the connection is gone."""
END = grpc.aio.EOF  # type: ignore[attr-defined]
Write = Callable[[link_pb2.Frame], Awaitable[Any]]
Read = Callable[[], Awaitable[Any]]


def received(options: Iterable[tuple[str, Any]], bytes_max: int) -> tuple[tuple[str, Any], ...]:
    """The options with a limit of the messages that come."""
    return tuple({**dict(options), "grpc.max_receive_message_length": bytes_max}.items())


class Inbox(Protocol):
    """What sessions tell of their peers: a shell, or what stands before one."""

    clock: Clock
    log: Log

    def put(self, event: Any, port: Port | None = None) -> None:
        """Queue an event; `port` is the session that a PeerUp begins."""


class Grants(Protocol):
    """Gives out dispatchers' terms."""

    def grant(self, now_us: int, term: int, *, is_taken: bool) -> int:
        """The term of one that had `term`; 0 while another leads, or may."""

    def lose(self, now_us: int) -> None:
        """The dispatcher that leads has no session any more."""


class Session:
    """One session: moves the frames of a Link, tells the shell, and is its Port for the peer.

    `names` are those that the peer's certificate proves (None: there is none); its Hello must give
    a name and a role among them.
    """

    def __init__(
        self,
        shell: Inbox,
        link: Link,
        roles: frozenset[str],
        limits: LinkLimits,
        names: frozenset[str] | None = None,
    ) -> None:
        self._shell = shell
        self._link = link
        self._roles = roles
        self._names = names
        self._frames_max = limits.outbox_frames_max
        self._outbox: deque[Frame] = deque()
        self._is_filled = asyncio.Event()
        self.peer = ""
        self.hello = Hello(name="", role="")
        self.session = 0
        self.why_ended = ""
        self.is_refused = False
        self.broken: grpc.aio.AioRpcError | None = None
        """How the peer, or gRPC for it, ended the call."""
        self.on_hello: Callable[[Session], None] = lambda session: None

    def send(self, body: Any) -> None:
        """Queue a message; dropped when the session has ended."""
        if not self.why_ended:
            self.put(self._link.frame(self._shell.clock.now_us(), body))

    def put(self, frame: Frame) -> None:
        """Queue a frame."""
        if len(self._outbox) >= self._frames_max:
            self.end(f"the peer left {self._frames_max} frames unread")
            return
        self._outbox.append(frame)
        self._is_filled.set()

    async def run(self, read: Read, write: Write) -> None:
        """Move frames until the session ends, and tell the shell when it has."""
        writer = asyncio.ensure_future(self._write_all(write))
        reader = asyncio.ensure_future(self._read_all(read))
        tasks = [writer, reader, asyncio.ensure_future(self._tick())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.end("closed")
            # gRPC cannot end a call whose write was cancelled half way: the peer would hang.
            await asyncio.wait([writer], timeout=LAST_WRITE_SECONDS_MAX)
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, grpc.aio.AioRpcError):
                    self.broken = ended
                elif isinstance(ended, Exception) and not isinstance(ended, BROKEN):
                    self._shell.log.error("a link failed", peer=self.peer, why=repr(ended))

    def refuse(self, why: str) -> None:
        """End the session before it has begun: another is served in the place of this peer."""
        self.is_refused = True
        self.peer = ""
        self.end(why)

    def end(self, why: str) -> None:
        """End the session; the shell learns it once."""
        if self.why_ended:
            return
        self.why_ended = why
        self._link.end()
        self._is_filled.set()
        if self.peer:
            self._shell.log.say("link down", peer=self.peer, session=self.session, why=why)
            self._shell.put(PeerDown(self.peer))

    async def _read_all(self, read: Read) -> None:
        while not self.why_ended:
            wire = await read()
            if wire is END:
                self.end("closed by the peer")
                return
            self._receive(wire)

    def _receive(self, wire: link_pb2.Frame) -> None:
        try:
            frame = decode_frame(wire)
        except (BadTable, ValueError) as error:
            self.end(f"malformed: {error}")
            return
        bodies, replies = self._link.receive(self._shell.clock.now_us(), frame)
        for reply in replies:
            self.put(reply)
        for body in bodies:
            if isinstance(body, Hello):
                self._greet(body)
            elif self.peer:
                self._shell.put(Received(self.peer, body))
        if self._link.is_ended:
            self.end("a gap, or a Hello that cannot be taken")

    def _greet(self, hello: Hello) -> None:
        if hello.role not in self._roles:
            self.end(f"a {hello.role} has no business here")
            return
        if self._names is not None and not {hello.name, hello.role} <= self._names:
            proved = ",".join(sorted(self._names))
            why = f"{hello.role} {hello.name} has a certificate of {proved}"
            self._shell.log.error("a peer is not who it says", why=why)
            self.end(why)
            return
        self.peer, self.hello = hello.name, hello
        self.session = self._link.session
        self.on_hello(self)
        if not self.why_ended:
            self._shell.log.say("link up", peer=self.peer, role=hello.role, session=self.session)
            self._shell.put(PeerUp(self.peer, self.hello), self)

    async def _write_all(self, write: Write) -> None:
        outbox = self._outbox
        while not self.why_ended:
            if not outbox:
                self._is_filled.clear()
                await self._is_filled.wait()
            while outbox and not self.why_ended:
                await write(encode_frame(outbox.popleft()))

    async def _tick(self) -> None:
        """Heartbeats. After our own stall the peer's frames may lie unread: no verdict then."""
        last_us = self._shell.clock.now_us()
        while not self.why_ended:
            await asyncio.sleep(TICK_SECONDS)
            now_us = self._shell.clock.now_us()
            is_stalled = now_us - last_us > 2 * HEARTBEAT_US
            last_us = now_us
            if is_stalled:
                continue
            beat = self._link.tick(now_us)
            if beat is not None:
                self.put(beat)
            if self._link.is_ended:
                self.end("silent")


class Dialer:
    """Keeps a link to one peer open, which one of several addresses has (`targets`): they are
    tried in turn, from the first on after each session. `hello` is made anew for each session.

    With an identity the peer must prove `role` by its certificate, and have no other name.
    """

    def __init__(
        self,
        shell: Inbox,
        target: str,
        hello: Callable[[], Hello],
        role: str,
        limits: LinkLimits | None = None,
        identity: Identity | None = None,
    ) -> None:
        self._shell = shell
        self._target = target
        self._hello = hello
        self._role = role
        self._limits = limits or LinkLimits()
        self._identity = identity
        self._session = 0
        self._told = ""
        self.on_refused: Callable[[str, bool], None] = lambda why, is_another_granted: None
        """Told why a peer did not begin a session."""

    async def run(self) -> None:
        """Dial for ever."""
        wait = BACKOFF_SECONDS_MIN
        options = received(CHANNEL_OPTIONS, self._limits.message_bytes_max)
        while True:
            is_met = False
            try:
                for target in await targets(self._target):
                    opened = channel(target, options, self._identity, self._role)
                    async with opened:
                        is_met = await self._hold(link_pb2_grpc.LinkStub(opened))
                    if is_met:
                        break
            except BadTls as error:
                self._tell(str(error))
            wait = BACKOFF_SECONDS_MIN if is_met else min(2 * wait, BACKOFF_SECONDS_MAX)
            await asyncio.sleep(wait)

    async def _hold(self, stub: Any) -> bool:
        """One session from start to end; returns whether the peer answered."""
        now_us = self._shell.clock.now_us()
        self._session = max(self._session + 1, now_us)
        hello = msgspec.structs.replace(self._hello(), dictionary=self._session)
        link = Link(hello)
        roles = frozenset((self._role,))
        names = None if self._identity is None else roles
        session = Session(self._shell, link, roles, self._limits, names)
        session.put(link.open(now_us, self._session))
        call = stub.Connect()
        try:
            await session.run(call.read, call.write)
        finally:
            call.cancel()
        self._refused(session)
        return bool(session.peer)

    def _refused(self, session: Session) -> None:
        """Tell who did not answer, and why."""
        broken = None if session.peer else session.broken
        if broken is None:
            self._tell("")
            return
        self._tell(f"{broken.code().name}: {broken.details()}")
        trailing: Any = broken.trailing_metadata() or ()
        self.on_refused(broken.details() or "", any(key == GRANTED_KEY for key, _ in trailing))

    def _tell(self, fault: str) -> None:
        """Say once why nobody is reached."""
        if fault and fault != self._told:
            self._shell.log.say("no link", to=self._role, target=self._target, why=fault)
        self._told = fault


class LinkServicer(link_pb2_grpc.LinkServicer):
    """Takes links of peers with the given roles; a newer session of a peer ends its older one.

    With `grants` one dispatcher at a time is taken, under the term that it is granted.
    """

    def __init__(
        self,
        shell: Shell,
        hello: Callable[[], Hello],
        roles: frozenset[str],
        limits: LinkLimits | None = None,
        grants: Grants | None = None,
    ) -> None:
        self._shell = shell
        self._hello = hello
        self._roles = roles
        self._limits = limits or LinkLimits()
        self._grants = grants
        self._sessions: dict[str, Session] = {}
        self._dictionaries = 0

    def add_to(self, server: Any) -> None:
        """Register with a server: one of the `add` of a Listener."""
        link_pb2_grpc.add_LinkServicer_to_server(self, server)

    async def Connect(  # type: ignore[override]
        self, request_iterator: AsyncIterator[link_pb2.Frame], context: Any
    ) -> None:
        """One session."""
        self._dictionaries = max(self._dictionaries + 1, self._shell.clock.now_us())
        hello = msgspec.structs.replace(self._hello(), dictionary=self._dictionaries)
        names = peer_names(context)
        link = Link(hello, lambda theirs: self._answer(hello, theirs))
        session = Session(self._shell, link, self._roles, self._limits, names)
        session.on_hello = lambda session: self._admit(session, link.said)
        await session.run(context.read, context.write)
        if self._sessions.get(session.peer) is session:
            del self._sessions[session.peer]
            if self._grants is not None and session.hello.role == DISPATCHER:
                self._grants.lose(self._shell.clock.now_us())
        if session.is_refused:
            trailing = ((GRANTED_KEY, "1"),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, session.why_ended, trailing)
        if session.why_ended and not session.peer:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, session.why_ended)

    def _answer(self, ours: Hello, theirs: Hello) -> Hello:
        if self._grants is None or theirs.role != DISPATCHER:
            return ours
        now_us, is_taken = self._shell.clock.now_us(), self._leading() is not None
        grant = self._grants.grant(now_us, theirs.term, is_taken=is_taken)
        return msgspec.structs.replace(ours, grant=grant)

    def _admit(self, session: Session, said: Hello) -> None:
        """Take a session whose peer may be here, under the term that it was granted."""
        if self._grants is not None and session.hello.role == DISPATCHER:
            leading = self._leading()
            if not said.grant:
                who = "another" if leading is None else leading.hello.name
                where = "" if leading is None else f", clients at {leading.hello.address}"
                session.refuse(f"{who} leads{where}")
                return
            session.hello = msgspec.structs.replace(session.hello, term=said.grant)
        self._replace(session)

    def _leading(self) -> Session | None:
        """The session of the dispatcher that leads."""
        taken = (s for s in self._sessions.values() if s.hello.role == DISPATCHER)
        return next((session for session in taken if not session.why_ended), None)

    def _replace(self, session: Session) -> None:
        older = self._sessions.get(session.peer)
        if older is not None:
            if older.session >= session.session:
                session.peer = ""
                session.end("a newer session of this peer is open")
                return
            older.end("replaced by a newer session")
        self._sessions[session.peer] = session
