"""Mutual TLS over real sockets: who gets through, what must be set, how certificates rotate."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.authority import write
from runtime.config import ListenerTls
from runtime.log import Log
from runtime.servers import Listener, check_address
from runtime.tls import BadTls, Identity, channel, needed_to_dial
from tests.unit.runtime.papers import EXPIRED_DAYS, Papers

Code = grpc.StatusCode
WAIT_SECONDS = 20.0
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
PEERS = ("scheduler", "client")


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


class Running:
    """A binder's listener on loopback, and what it logged."""

    def __init__(self, address: str, log: io.StringIO) -> None:
        self.address = address
        self._log = log

    def logged(self) -> list[str]:
        """Facts with their fields."""
        return [line.split(": ", 1)[1] for line in self._log.getvalue().splitlines()]

    async def code(self, identity: Identity | None, role: str = "binder") -> grpc.StatusCode:
        """How a call on a new connection ends."""
        async with channel(self.address, OPTIONS, identity, role) as opened:
            return await code_of(opened)


async def code_of(opened: grpc.aio.Channel) -> grpc.StatusCode:
    stub: Any = health_pb2_grpc.HealthStub(opened)
    call = stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)
    code: grpc.StatusCode = await call.code()
    return code


@asynccontextmanager
async def a_listener(tls: ListenerTls, port: int, local: str = "") -> AsyncIterator[Running]:
    log = io.StringIO()
    address = f"127.0.0.1:{port}"
    listener = Listener(address, [], [], tls=tls, log=Log("binder", log), local=local)
    await listener.start()
    try:
        yield Running(address, log)
    finally:
        await listener.stop()


def identity(tls: ListenerTls) -> Identity:
    """What a peer dials with."""
    return Identity(tls, "tls.link")


@dataclass(frozen=True)
class Peer:
    """Who calls; `papers` are those of the listener's authority."""

    name: str
    identity: Callable[[Papers, Papers], Identity | None]
    want: grpc.StatusCode
    role: str = "binder"
    want_logged: str = ""


def bare(papers: Papers) -> Identity:
    """An identity that believes in the authority, but shows nothing."""

    class Bare(Identity):
        def channel(self) -> grpc.ChannelCredentials:
            return grpc.ssl_channel_credentials(papers.authority.pem)

    return Bare(ListenerTls(), "")


PEERS_TRIED = [
    Peer("one on the list", lambda ours, _: identity(ours.of("client")), Code.OK),
    Peer(
        "one by another of its names",
        lambda ours, _: identity(ours.of("scheduler-0", "scheduler")),
        Code.OK,
    ),
    Peer(
        "one that is not on the list",
        lambda ours, _: identity(ours.of("intruder", "scheduler-0")),
        Code.PERMISSION_DENIED,
        want_logged="peer=intruder,scheduler-0",
    ),
    Peer(
        "one with a prefix of a listed name",
        lambda ours, _: identity(ours.of("client.example")),
        Code.PERMISSION_DENIED,
        want_logged="peer=client.example",
    ),
    Peer("one without TLS", lambda ours, _: None, Code.UNAVAILABLE),
    Peer("one without a certificate", lambda ours, _: bare(ours), Code.UNAVAILABLE),
    Peer(
        "one with an expired certificate",
        lambda ours, _: identity(ours.of("client", days=EXPIRED_DAYS)),
        Code.UNAVAILABLE,
    ),
    Peer(
        "one of a foreign authority that both believe in",
        lambda ours, theirs: identity(
            replace_authority(theirs.of("client"), ours.of("scheduler").authority)
        ),
        Code.UNAVAILABLE,
    ),
    Peer(
        "one that believes in a foreign authority",
        lambda ours, theirs: identity(
            replace_authority(ours.of("client"), theirs.of("scheduler").authority)
        ),
        Code.UNAVAILABLE,
    ),
    Peer(
        "one that wants somebody else",
        lambda ours, _: identity(ours.of("client")),
        Code.UNAVAILABLE,
        role="dispatcher",
    ),
]


def replace_authority(tls: ListenerTls, authority: str) -> ListenerTls:
    return msgspec.structs.replace(tls, authority=authority)


@pytest.mark.parametrize("peer", PEERS_TRIED, ids=[peer.name for peer in PEERS_TRIED])
async def test_only_listed_peers_with_a_valid_certificate_get_through(
    peer: Peer, papers: Papers, tmp_path: Path, unused_tcp_port: int
) -> None:
    tls = papers.of("binder", peers=PEERS)
    async with a_listener(tls, unused_tcp_port) as running:
        shown = peer.identity(papers, Papers(tmp_path / "theirs"))
        assert await running.code(shown, peer.role) is peer.want
    logged = running.logged()
    assert [peer.want_logged in line for line in logged] == [True] * bool(peer.want_logged)


async def test_on_its_local_socket_a_listener_asks_for_nothing(
    papers: Papers, tmp_path: Path, unused_tcp_port: int
) -> None:
    local = f"unix:{tmp_path}/x.sock"
    async with (
        a_listener(papers.of("binder", peers=PEERS), unused_tcp_port, local),
        channel(local, OPTIONS, None, "binder") as opened,
    ):
        assert await code_of(opened) is Code.OK


async def test_a_new_authority_and_certificates_are_used_for_the_next_connection(
    papers: Papers, tmp_path: Path, unused_tcp_port: int
) -> None:
    tls, client = papers.of("binder", peers=PEERS), papers.of("client")
    async with (
        a_listener(tls, unused_tcp_port) as running,
        channel(running.address, OPTIONS, identity(client), "binder") as before,
    ):
        assert await code_of(before) is Code.OK
        old = Papers(tmp_path / "old")
        old.authority = papers.authority
        papers.authority = Papers(tmp_path).authority
        assert papers.of("binder", peers=PEERS) == tls
        assert papers.of("client") == client
        assert await running.code(identity(old.of("client"))) is Code.UNAVAILABLE
        assert await running.code(identity(client)) is Code.OK
        assert await code_of(before) is Code.OK


async def test_both_authorities_are_believed_while_a_file_holds_both(
    papers: Papers, tmp_path: Path, unused_tcp_port: int
) -> None:
    tls = papers.of("binder", peers=PEERS)
    newer = Papers(tmp_path / "newer")
    write(Path(tls.authority), papers.authority.pem + newer.authority.pem)
    async with a_listener(tls, unused_tcp_port) as running:
        for each in (papers.of("client"), newer.of("client")):
            shown = identity(replace_authority(each, tls.authority))
            assert await running.code(shown) is Code.OK


@pytest.mark.parametrize("file", ["tls.crt", "tls.key", "ca.crt"])
@pytest.mark.parametrize("is_there", [True, False], ids=["garbled", "gone"])
async def test_files_that_cannot_be_used_change_nothing(
    file: str, is_there: bool, papers: Papers, tmp_path: Path, unused_tcp_port: int
) -> None:
    tls, client = papers.of("binder", peers=PEERS), papers.of("client")
    async with a_listener(tls, unused_tcp_port) as running:
        path = tmp_path / "binder" / file
        if is_there:
            path.write_bytes(b"garbled")
        else:
            path.unlink()
        assert await running.code(identity(client)) is Code.OK
        papers.authority = Papers(tmp_path).authority
        papers.of("binder"), papers.of("client")
        assert await running.code(identity(client)) is Code.OK
    assert any("renewed" in line for line in running.logged()) is not is_there


@dataclass(frozen=True)
class Setting:
    """A section of TLS that an address does not do with; `want` is empty where it does."""

    name: str
    address: str
    fields: dict[str, Any]
    want: str


WHOLE: dict[str, Any] = {}
SETTINGS = [
    Setting("all of it on the network", "0.0.0.0:7001", WHOLE, ""),
    Setting("all of it on loopback", "127.0.0.1:7001", WHOLE, ""),
    Setting("a certificate", "0.0.0.0:7001", {"certificate": ""}, "tls.link.certificate missing"),
    Setting("a key", "10.0.0.1:7001", {"key": ""}, "tls.link.key missing"),
    Setting("an authority", "[::]:7001", {"authority": ""}, "tls.link.authority missing"),
    Setting("peers", "example.org:7001", {"peers": ()}, "tls.link.peers missing"),
    Setting("a key, on loopback too", "127.0.0.1:7001", {"key": ""}, "tls.link.key missing"),
    Setting("a pattern", "0.0.0.0:7001", {"peers": ("scheduler-*",)}, "no exact name"),
    Setting("a file", "0.0.0.0:7001", {"key": "/nowhere"}, "tls.link.key: /nowhere: No such"),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=[setting.name for setting in SETTINGS])
def test_a_listener_on_the_network_needs_all_of_its_section(
    setting: Setting, papers: Papers
) -> None:
    whole = papers.of("binder", peers=PEERS)
    tls = msgspec.structs.replace(whole, **setting.fields)
    if not setting.want:
        assert check_address(setting.address, tls, "tls.link") is not None
        return
    with pytest.raises(BadTls, match=setting.want):
        check_address(setting.address, tls, "tls.link")


def test_a_key_of_another_certificate_is_refused(papers: Papers) -> None:
    tls, other = papers.of("binder", peers=PEERS), papers.of("client")
    with pytest.raises(BadTls, match=r"tls\.link\.certificate and tls\.link\.key"):
        check_address("0.0.0.0:7001", msgspec.structs.replace(tls, key=other.key), "tls.link")
    with pytest.raises(BadTls, match=r"tls\.link\.authority"):
        check_address("0.0.0.0:7001", msgspec.structs.replace(tls, authority=tls.key), "tls.link")


def test_to_dial_the_network_takes_an_identity_and_no_peers(papers: Papers) -> None:
    nothing, whole = ListenerTls(), papers.of("scheduler")
    assert needed_to_dial("unix:/x", whole, "tls.link") is None
    assert needed_to_dial("127.0.0.1:7", nothing, "tls.link") is None
    assert needed_to_dial("127.0.0.1:7", whole, "tls.link") is not None
    assert needed_to_dial("binder.svc:7", whole, "tls.link") is not None
    with pytest.raises(BadTls, match=r"tls\.link\.certificate and tls\.link\.key and"):
        needed_to_dial("binder.svc:7", nothing, "tls.link")


def test_reading_at_a_dial_names_what_is_gone(papers: Papers) -> None:
    tls = papers.of("client")
    Path(tls.authority).unlink()
    with pytest.raises(BadTls, match=r"tls\.link\.authority: .*No such file"):
        identity(tls).channel()
