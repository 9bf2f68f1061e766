"""Links over mutual TLS: a peer is who its certificate says, and nobody else gets a session."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from cell.effects import PeerUp
from cell.link import Hello
from runtime.authority import write
from runtime.clock import Clock
from runtime.config import ListenerTls
from runtime.link_rpc import Dialer, LinkServicer
from runtime.log import Log
from runtime.loop import Shell
from runtime.servers import Listener
from runtime.tls import needed_to_dial
from tests.unit.runtime.papers import EXPIRED_DAYS, Papers
from tests.unit.runtime.test_link_rpc import End, running, ups

WAIT_SECONDS = 20.0
PEERS = ("scheduler", "dispatcher")


class Lines(io.StringIO):
    """A log that lets the test wait for a line."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    def flush(self) -> None:
        """A line is whole."""
        self._written.set()

    async def until(self, *words: str) -> None:
        """Wait until a line has all the words."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not any(
                all(word in line for word in words) for line in self.getvalue().splitlines()
            ):
                self._written.clear()
                await self._written.wait()


class Side:
    """A core, and the shell around it with its log."""

    def __init__(self) -> None:
        self.core = End()
        self.lines = Lines()
        self.shell = Shell(self.core, Clock(), Log("test", self.lines))


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


@asynccontextmanager
async def a_binder(side: Side, tls: ListenerTls, port: int) -> AsyncIterator[LinkServicer]:
    """A binder's link listener, which calls itself `binder`."""
    servicer = LinkServicer(
        side.shell,
        lambda: Hello(name="binder", role="binder", term=4),
        frozenset({"scheduler", "dispatcher"}),
    )
    listener = Listener(
        f"127.0.0.1:{port}", [], [servicer.add_to], tls=tls, section="tls.link", log=side.shell.log
    )
    await listener.start()
    try:
        yield servicer
    finally:
        await listener.stop()


def a_dialer(
    side: Side, tls: ListenerTls, port: int, name: str = "scheduler-0", role: str = "scheduler"
) -> Dialer:
    """Someone with these certificates who says that this is their name."""
    target = f"127.0.0.1:{port}"
    return Dialer(
        side.shell,
        target,
        lambda: Hello(name=name, role=role),
        "binder",
        identity=needed_to_dial(target, tls, "tls.link"),
    )


def scheduler(papers: Papers, days: int = 1) -> ListenerTls:
    return papers.of("scheduler", "scheduler-0", "scheduler-1", days=days)


def open_key(tls: ListenerTls) -> bytes:
    return Path(tls.key).read_bytes()


@dataclass(frozen=True)
class Case:
    """Who dials whom: `papers` are those of the binder's authority."""

    name: str
    dialer: Callable[[Papers, Papers], ListenerTls]
    want_dialer: tuple[str, ...]
    """Words of one line of its log."""
    want_binder: tuple[str, ...] = ()
    binder: Callable[[Papers, Papers], ListenerTls] = lambda ours, _: ours.of("binder", peers=PEERS)
    says: tuple[str, str] = ("scheduler-0", "scheduler")


CASES = [
    Case("no certificate", lambda ours, _: ListenerTls(), ("no link", "UNAVAILABLE")),
    Case("a foreign one", lambda _, theirs: scheduler(theirs), ("no link", "UNAVAILABLE")),
    Case(
        "an expired one",
        lambda ours, _: scheduler(ours, EXPIRED_DAYS),
        ("no link", "UNAVAILABLE"),
    ),
    Case(
        "one that is not listed",
        lambda ours, _: ours.of("client"),
        ("no link", "PERMISSION_DENIED", "peer client is not on the list"),
        ("a peer is not listed", "peer=client"),
        says=("client", "scheduler"),
    ),
    Case(
        "the name of another scheduler",
        lambda ours, _: scheduler(ours),
        ("no link", "has a certificate of"),
        ("is not who it says", "scheduler scheduler-2", "scheduler,scheduler-0,scheduler-1"),
        says=("scheduler-2", "scheduler"),
    ),
    Case(
        "the role of another service",
        lambda ours, _: scheduler(ours),
        ("no link", "has a certificate of"),
        ("is not who it says", "dispatcher scheduler-0"),
        says=("scheduler-0", "dispatcher"),
    ),
    Case(
        "a binder with an expired certificate",
        lambda ours, _: scheduler(ours),
        ("no link", "certificate has expired"),
        binder=lambda ours, _: ours.of("binder", peers=PEERS, days=EXPIRED_DAYS),
    ),
    Case(
        "a binder that is none",
        lambda ours, _: scheduler(ours),
        ("no link", "UNAVAILABLE"),
        binder=lambda ours, _: ours.of("dispatcher", peers=PEERS),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_who_is_not_who_it_should_be_gets_no_session(
    case: Case, papers: Papers, tmp_path: Path, unused_tcp_port: int
) -> None:
    theirs = Papers(tmp_path / "theirs")
    binder, dialer = Side(), Side()
    one = a_dialer(dialer, case.dialer(papers, theirs), unused_tcp_port, *case.says)
    async with (
        a_binder(binder, case.binder(papers, theirs), unused_tcp_port),
        running(one.run()),
    ):
        await dialer.lines.until(*case.want_dialer)
        if case.want_binder:
            await binder.lines.until(*case.want_binder)
    assert ups(dialer.core.events) == []
    assert ups(binder.core.events) == []


async def test_a_scheduler_with_its_own_certificate_has_a_session(
    papers: Papers, unused_tcp_port: int
) -> None:
    binder, dialer = Side(), Side()
    one = a_dialer(dialer, scheduler(papers), unused_tcp_port)
    async with (
        a_binder(binder, papers.of("binder", peers=PEERS), unused_tcp_port),
        running(one.run()),
    ):
        await binder.core.heard(lambda events: bool(ups(events)))
        await dialer.core.heard(lambda events: bool(ups(events)))
    assert ups(binder.core.events)[0].peer == "scheduler-0"


async def test_the_next_session_uses_the_new_authority_and_certificates(
    papers: Papers, tmp_path: Path, unused_tcp_port: int
) -> None:
    binder, dialer = Side(), Side()
    theirs, ours = papers.of("binder", peers=PEERS), scheduler(papers)
    one = a_dialer(dialer, ours, unused_tcp_port)
    async with a_binder(binder, theirs, unused_tcp_port) as servicer, running(one.run()):
        await binder.core.heard(lambda events: len(ups(events)) == 1)
        papers.authority = Papers(tmp_path).authority
        assert (papers.of("binder", peers=PEERS), scheduler(papers)) == (theirs, ours)
        servicer._sessions["scheduler-0"].end("for the test")
        await binder.core.heard(lambda events: len(ups(events)) == 2)
    assert isinstance(dialer.core.events[0], PeerUp)


async def test_a_name_of_several_is_dialled_until_one_of_them_takes_the_link(
    papers: Papers, unused_tcp_port_factory: Callable[[], int]
) -> None:
    closed, taking, dialer = Side(), Side(), Side()
    ports = unused_tcp_port_factory(), unused_tcp_port_factory()
    tls = papers.of("binder", peers=PEERS)
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    identity = needed_to_dial(target, scheduler(papers), "tls.link")
    one = Dialer(
        dialer.shell,
        target,
        lambda: Hello(name="scheduler-0", role="scheduler"),
        "binder",
        identity=identity,
    )
    async with (
        a_binder(closed, msgspec.structs.replace(tls, peers=("nobody",)), ports[0]),
        a_binder(taking, tls, ports[1]),
        running(one.run()),
    ):
        await taking.core.heard(lambda events: bool(ups(events)))
    assert ups(closed.core.events) == []


async def test_a_dialer_whose_files_are_gone_says_so_and_goes_on(
    papers: Papers, unused_tcp_port: int
) -> None:
    binder, dialer = Side(), Side()
    ours = scheduler(papers)
    one = a_dialer(dialer, ours, unused_tcp_port)
    key, content = Path(ours.key), open_key(ours)
    os.unlink(key)
    async with (
        a_binder(binder, papers.of("binder", peers=PEERS), unused_tcp_port),
        running(one.run()),
    ):
        await dialer.lines.until("no link", "tls.link.key")
        write(key, content)
        await binder.core.heard(lambda events: bool(ups(events)))
