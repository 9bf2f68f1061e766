"""The dispatcher's election over real sockets: one leads, the others are told, terms are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from binder.grants import Grants
from cell.effects import PeerDown, PeerUp
from cell.link import Hello
from runtime.clock import Clock
from runtime.config import ServiceConfig
from runtime.granted import GrantElection
from runtime.link_rpc import LinkServicer
from runtime.log import Log
from runtime.servers import Listener
from tests.unit.runtime.shells import ScriptedCore, a_shell, until

WAIT_SECONDS = 20.0


class Binder:
    """A binder's link listener, for the sessions that it begins."""

    def __init__(self, path: Path, term: int, last: int = 0) -> None:
        self.core = ScriptedCore()
        self._path = path
        self._grants = Grants(Clock().now_us(), term, last, self._note)
        self.last = last
        self._term = term

    def _note(self, term: int) -> None:
        self.last = term

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        servicer = LinkServicer(
            a_shell(self.core),
            lambda: Hello(name="b", role="binder", term=self._term),
            frozenset({"dispatcher"}),
            grants=self._grants,
        )
        listener = Listener(f"unix:{self._path}", ["godel.v1.Link"], [servicer.add_to])
        await listener.start()
        try:
            yield
        finally:
            await listener.stop()

    @property
    def terms(self) -> list[int]:
        return [event.hello.term for event in self.core.events if isinstance(event, PeerUp)]


@asynccontextmanager
async def a_candidate(path: Path, name: str) -> AsyncIterator[GrantElection]:
    settings = ServiceConfig(name=name, client=f"unix:/{name}.sock")
    election = GrantElection(settings, f"unix:{path}", Clock(), Log(name))
    try:
        yield election
    finally:
        await election.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.sock"


async def test_one_leads_and_the_next_when_it_is_gone(path: Path) -> None:
    binder = Binder(path, 7)
    async with binder.listening(), a_candidate(path, "d1") as second:
        async with a_candidate(path, "d0") as first:
            term = await first.won()
            waiting = asyncio.ensure_future(second.won())
            await until(lambda: "d0 leads, clients at unix:/d0.sock" in second.refusal())
            assert not waiting.done()
        assert await asyncio.wait_for(waiting, WAIT_SECONDS) > term
        assert binder.terms == [term, binder.last]


async def test_what_came_before_the_core_is_told_to_it(path: Path) -> None:
    binder = Binder(path, 7)
    core = ScriptedCore()
    async with binder.listening(), a_candidate(path, "d0") as first:
        await first.won()
        first.attach(a_shell(core))
        await until(lambda: core.events)
        assert isinstance(core.events[0], PeerUp)


async def test_term_is_kept_over_the_binders_lives(path: Path) -> None:
    """A core outlives its binder; a binder that has granted another one's term ends it."""
    binder, core = Binder(path, 7), ScriptedCore()
    async with a_candidate(path, "d0") as first:
        async with binder.listening():
            term = await first.won()
            first.attach(a_shell(core))
            lost = asyncio.ensure_future(first.lost())
            await until(lambda: core.events)
        await until(lambda: isinstance(core.events[-1], PeerDown))
        async with Binder(path, 8, binder.last).listening():
            await until(lambda: isinstance(core.events[-1], PeerUp))
            assert not lost.done()
        told = len(core.events)
        stranger = Binder(path, 9, last=(8 << 20) + 5)
        async with stranger.listening():
            await asyncio.wait_for(lost, WAIT_SECONDS)
            assert await first.won() > max(term, 8 << 20)
        assert [type(event) for event in core.events[told:]] == [PeerDown]
