"""Requests over few connections: what may not be sent any more when one is there is not sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runtime.kubernetes import api
from runtime.kubernetes.access import Access
from runtime.kubernetes.api import Api, NotSent


class Open(Access):
    """A server without credentials."""

    async def load(self) -> None:
        pass

    async def headers(self) -> dict[str, str]:
        return {}


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.path)
        self.is_asked.set()
        await self.may_answer.wait()
        return web.Response()


@pytest.fixture
async def slow() -> Slow:
    return Slow()


@pytest.fixture
async def asking(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """A client of one connection."""
    monkeypatch.setattr(api, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(api, "WATCHES_MAX", 0)
    application = web.Application()
    application.router.add_route("*", "/{any}", slow.answer)
    async with TestServer(application) as server:
        access = Open()
        access.base = str(server.make_url("")).rstrip("/")
        found = Api(access)
        await found.open()
        yield found
        await found.close()


async def test_request_that_waited_for_its_connection_too_long_is_not_sent(
    slow: Slow, asking: Api
) -> None:
    is_allowed = True
    first = asyncio.ensure_future(asking.call("POST", "/first", permit=lambda: is_allowed))
    await slow.is_asked.wait()
    second = asyncio.ensure_future(asking.call("POST", "/second", permit=lambda: is_allowed))
    read = asyncio.ensure_future(asking.call("GET", "/read"))
    is_allowed = False
    slow.may_answer.set()
    assert (await first).status == 200
    with pytest.raises(NotSent):
        await second
    assert (await read).status == 200
    assert slow.seen == ["/first", "/read"]
