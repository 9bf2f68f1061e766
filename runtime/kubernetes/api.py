"""Requests to one API server over kept connections: plain ones, lists in pages, watches.

Used by `home`. Bodies are bytes both ways: who asks knows what they mean. What must hold: a request
that was not sent for certain is told apart from one whose fate is unknown; a watch that is silent
for too long ends, so that no hung connection is trusted for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec

from runtime.kubernetes.access import Access

CONNECTIONS_MAX = 128
"""As many as calls are in flight: server and etcd then batch best (measured, raw binding over 8, 32
and 128: 957, 1,091 and 1,316 pods/s)."""
WATCHES_MAX = 12
"""Connections beside them, each taken by a watch."""
PAGE_ITEMS = 500
READ_BUFFER_BYTES = 1 << 21
"""The longest line of a watch: objects have up to 1.5 MiB."""
CALL_SECONDS_MAX = 10.0
WATCH_SECONDS = (240, 360)
"""The server ends a watch after such a time, drawn at random: not all watches at once."""
SILENT_SECONDS_MAX = 90.0
"""Bookmarks come every minute, but none of a kind of which nothing changes: a watch that is silent
for longer hangs, or has nothing to show."""
CLOSE_SECONDS = 0.25
JSON = "application/json"
REFUSALS = (403, 404)
"""Of a list: nothing that a moment's patience would change."""


class NotSent(Exception):
    """The request did not reach the server."""


class Unknown(Exception):
    """The request may have been taken or not: its answer is lost."""


class Silent(Exception):
    """A watch has shown nothing for long."""


class Gone(Exception):
    """The watch cannot go on from where it is: list again."""


class Refused(Exception):
    """The server does not have the collection, or does not let us see it."""


class Reply(msgspec.Struct, frozen=True):
    """An answer of the server."""

    status: int
    body: bytes


class Page(msgspec.Struct):
    """One page of a list; `items` still encoded."""

    items: list[msgspec.Raw] = []
    metadata: PageMeta = msgspec.field(default_factory=lambda: PageMeta())


class PageMeta(msgspec.Struct, rename="camel"):
    """Where a list stands."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Event(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


_PAGE = msgspec.json.Decoder(Page)
_EVENT = msgspec.json.Decoder(Event)


Permit = Callable[[], bool]
"""Whether a request may be sent now; asked with the connection at hand."""
_PERMIT: ContextVar[Permit | None] = ContextVar("permit", default=None)


class _Connector(aiohttp.TCPConnector):
    """Asks a request's permit when its connection is there: waiting for one may take seconds."""

    async def connect(self, *arguments: Any, **named: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*arguments, **named)
        permit = _PERMIT.get()
        if permit is not None and not permit():
            connection.release()
            raise NotSent("it may not be sent any more")
        return connection


class Api:
    """See the module. `open` first, `close` at the end."""

    def __init__(self, access: Access, connections_max: int = CONNECTIONS_MAX) -> None:
        self._access = access
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None
        self._renewing = asyncio.Lock()
        self._renewals = 0

    async def open(self) -> None:
        """Read the credentials. Raises NoAccess."""
        await self._access.load()
        connector = _Connector(limit=self._connections_max + WATCHES_MAX)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=READ_BUFFER_BYTES)

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            # What aiohttp closes is closed by the loop a little later.
            await asyncio.sleep(CLOSE_SECONDS)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        seconds_max: float = CALL_SECONDS_MAX,
        content_type: str = JSON,
        permit: Permit | None = None,
    ) -> Reply:
        """One request, not sent when its permit is refused. Raises NotSent or Unknown."""
        renewals = self._renewals
        _PERMIT.set(permit)
        reply = await self._once(method, path, body, params, seconds_max, content_type)
        if reply.status == 401:
            await self._renew(renewals)
            reply = await self._once(method, path, body, params, seconds_max, content_type)
        return reply

    async def pages(self, path: str, version: list[str]) -> AsyncIterator[list[msgspec.Raw]]:
        """A whole list, page by page; its resource version is left in `version`.

        Raises NotSent, Unknown, Refused, or Gone when the list has become too old between pages.
        """
        params = {"limit": str(PAGE_ITEMS)}
        while True:
            reply = await self.call("GET", path, params=params)
            if reply.status == 410:
                raise Gone(f"{path}: the list is too old")
            if reply.status in REFUSALS:
                raise Refused(f"GET {path}: {reply.status} {said(reply)}")
            if reply.status != 200:
                raise Unknown(f"GET {path}: {reply.status} {said(reply)}")
            page = _PAGE.decode(reply.body)
            yield page.items
            version[:] = [page.metadata.resource_version]
            if not page.metadata.continue_:
                return
            params["continue"] = page.metadata.continue_

    async def watch(self, path: str, version: str) -> AsyncIterator[list[Event]]:
        """Events after a resource version, as many at a time as have arrived, bookmarks included.

        The server ends every watch after a while: it is begun again from the newest version seen,
        and so is one that is silent; a server that hangs does not answer then. Raises Gone when the
        server cannot, Unknown when the connection breaks or hangs.
        """
        while True:
            seconds = random.randint(*WATCH_SECONDS)
            params = {
                "watch": "1",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(seconds),
            }
            with contextlib.suppress(Silent):
                async for events in self._watch_once(path, params):
                    for event in events:
                        if event.type == "ERROR":
                            raise Gone(f"watch of {path}: {bytes(event.object)[:200]!r}")
                    version = meta_of(events[-1].object).resource_version or version
                    yield events

    async def _watch_once(self, path: str, params: dict[str, str]) -> AsyncIterator[list[Event]]:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENT_SECONDS_MAX)
        left, is_open = b"", False
        try:
            async with self._ready().get(
                self._access.base + path,
                params=params,
                headers=await self._access.headers(),
                ssl=self._access.tls,
                timeout=timeout,
            ) as response:
                if response.status == 410:
                    raise Gone(f"watch of {path}: 410")
                if response.status != 200:
                    raise Unknown(f"watch of {path}: {response.status}")
                is_open = True
                async for chunk in response.content.iter_any():
                    *lines, left = (left + chunk).split(b"\n")
                    if lines:
                        yield [_EVENT.decode(line) for line in lines]
        except TimeoutError as error:
            if is_open:
                raise Silent from error
            raise Unknown(f"watch of {path}: {error!r}") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Unknown(f"watch of {path}: {error!r}") from error

    async def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        params: Mapping[str, str] | None,
        seconds_max: float,
        content_type: str,
    ) -> Reply:
        headers = await self._access.headers()
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            async with self._ready().request(
                method,
                self._access.base + path,
                data=body,
                params=params,
                headers=headers,
                ssl=self._access.tls,
                timeout=aiohttp.ClientTimeout(total=seconds_max),
            ) as response:
                return Reply(response.status, await response.read())
        except aiohttp.ClientConnectorError as error:
            raise NotSent(f"{method} {path}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Unknown(f"{method} {path}: {error!r}") from error

    async def _renew(self, renewals: int) -> None:
        """Read the credentials again, once for all requests that were refused with the old ones."""
        async with self._renewing:
            if self._renewals == renewals:
                await self._access.load()
                self._renewals += 1

    def _ready(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise NotSent("closed")
        return self._session


class Meta(msgspec.Struct, rename="camel"):
    """What names an object; a DELETED one in a watch has it, too."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""

    @property
    def version(self) -> int:
        """It grows with each change of the object."""
        return int(self.resource_version)


class _Object(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)


class _Status(msgspec.Struct):
    message: str = ""


_OBJECT = msgspec.json.Decoder(_Object)
_STATUS = msgspec.json.Decoder(_Status)


def meta_of(raw: msgspec.Raw | bytes) -> Meta:
    """What names an encoded object."""
    return _OBJECT.decode(raw).metadata


def said(reply: Reply) -> str:
    """What the server says about a refusal."""
    try:
        return _STATUS.decode(reply.body).message
    except msgspec.MsgspecError:
        return reply.body[:200].decode(errors="replace")


def micro_time(now_us: int) -> str:
    """MicroTime of Kubernetes; people read it, we do not."""
    at = datetime.fromtimestamp(now_us / 1_000_000, UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
