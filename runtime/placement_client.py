"""A client of the Placement API: what the rolling controller, the command line and others use.

Requests and replies are the wire's own messages (`godel.v1.placement_pb2`). Submissions share one
stream, on which a class is sent once; when it breaks, the next one opens a new one. Keys make units
idempotent, so a submission of unknown fate is made again: `submit(..., is_retried=True)` does that.

    async with PlacementClient("unix:/run/godel/dispatcher.sock") as client:
        number = client.class_number(ClassSpec(demand={"cpu": 500}))
        unit = Unit(key="web-0", groups=[Group(class_number=number)])
        reply = await client.submit(SubmitRequest(units=[unit]))
        async for news in client.watch(prefix="web-"): ...
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

import grpc

from godel.v1 import placement_pb2, placement_pb2_grpc, types_pb2
from runtime.link_rpc import CHANNEL_OPTIONS, END
from runtime.tls import Identity, channel

RETRY_SECONDS_MIN = 0.05
RETRY_SECONDS_MAX = 1.0
SERVED = "godel.v1.Placement"
"""What a dispatcher's health is asked by; a standby does not serve it."""
_ELECTED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": SERVED},
}
ELECTED = (("grpc.service_config", json.dumps(_ELECTED)),)
"""gRPC asks all addresses for their health, all the time, and uses those that serve."""
SUBMITS_MAX = 64
"""Batches in flight on one stream; further ones wait."""


class StreamBroken(ConnectionError):
    """The stream ended before the reply: the batch may or may not have been accepted."""


class _Submissions:
    """One Submit stream; replies come in the order of the requests."""

    def __init__(self, stub: Any) -> None:
        self._call = stub.Submit()
        self._waiting: dict[int, asyncio.Future[placement_pb2.SubmitReply]] = {}
        self._batches = 0
        self._lock = asyncio.Lock()
        self.classes_sent = 0
        self.is_broken = False
        self._reader = asyncio.ensure_future(self._read())

    async def submit(
        self, request: placement_pb2.SubmitRequest, classes: list[types_pb2.ClassEntry]
    ) -> placement_pb2.SubmitReply:
        """Send one batch, with those of `classes` that are new to the stream; await its reply."""
        future: asyncio.Future[placement_pb2.SubmitReply]
        future = asyncio.get_running_loop().create_future()
        async with self._lock:
            if self.is_broken:
                raise StreamBroken("the stream has ended")
            self._batches += 1
            request.batch = self._batches
            if self.classes_sent < len(classes):
                del request.classes[:]
                request.classes.extend(classes[self.classes_sent :])
                self.classes_sent = len(classes)
            self._waiting[request.batch] = future
            try:
                await self._call.write(request)
            except (grpc.RpcError, asyncio.InvalidStateError) as error:
                self._break(error)
        return await future

    async def _read(self) -> None:
        error: BaseException | None = None
        try:
            while (reply := await self._call.read()) is not END:
                future = self._waiting.pop(reply.batch, None)
                if future is not None and not future.done():
                    future.set_result(reply)
        except grpc.RpcError as broken:
            error = broken
        self._break(error)

    def _break(self, error: BaseException | None) -> None:
        self.is_broken = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(StreamBroken(str(error or "closed by the dispatcher")))
        self._waiting.clear()

    async def close(self) -> None:
        """End the stream."""
        self._reader.cancel()
        self._call.cancel()
        self._break(None)
        await asyncio.gather(self._reader, return_exceptions=True)


class PlacementClient:
    """A client of a dispatcher; use as an async context, or `close` it. Raises BadTls.

    With `is_elected` the target has several addresses (a name of a headless Service, or
    `ipv4:HOST:PORT,HOST:PORT`), and each call goes to the one whose dispatcher leads.
    """

    def __init__(
        self, target: str, identity: Identity | None = None, *, is_elected: bool = False
    ) -> None:
        options = [*CHANNEL_OPTIONS, *(ELECTED if is_elected else ())]
        self._channel = channel(target, options, identity, "dispatcher")
        self.stub: Any = placement_pb2_grpc.PlacementStub(self._channel)
        """The generated stub, for whatever this client does not wrap."""
        self._submissions: _Submissions | None = None
        self._classes: list[types_pb2.ClassEntry] = []
        self._numbers: dict[bytes, int] = {}
        self._window = asyncio.Semaphore(SUBMITS_MAX)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all streams and the connection."""
        if self._submissions is not None:
            await self._submissions.close()
        await self._channel.close(None)

    async def wait_ready(self, seconds: float) -> None:
        """Wait until the dispatcher can be reached. Raises TimeoutError."""
        await asyncio.wait_for(self._channel.channel_ready(), seconds)

    def class_number(self, spec: types_pb2.ClassSpec) -> int:
        """The number of a class on this client's streams; it is sent before its first use."""
        key = spec.SerializeToString(deterministic=True)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._classes)
            self._classes.append(types_pb2.ClassEntry(number=number, spec=spec))
        return number

    async def submit(
        self, request: placement_pb2.SubmitRequest, *, is_retried: bool = False
    ) -> placement_pb2.SubmitReply:
        """Submit one batch (rows or packed; `batch` and `classes` are filled in here).

        The reply comes when all but its `refused` items are durable. Many callers may submit at a
        time. Raises StreamBroken when the stream ends first, unless `is_retried`.
        """
        wait = RETRY_SECONDS_MIN
        async with self._window:
            while True:
                if self._submissions is None or self._submissions.is_broken:
                    self._submissions = _Submissions(self.stub)
                try:
                    return await self._submissions.submit(request, self._classes)
                except StreamBroken:
                    if not is_retried:
                        raise
                await asyncio.sleep(wait)
                wait = min(2 * wait, RETRY_SECONDS_MAX)

    async def cancel(self, keys: Iterable[str]) -> types_pb2.BatchReply:
        """Cancel units. Raises grpc.RpcError."""
        return await self._batch(self.stub.Cancel, placement_pb2.CancelRequest(keys=keys))

    async def amend(self, request: placement_pb2.AmendRequest) -> types_pb2.BatchReply:
        """Amend units; the request carries its classes. Raises grpc.RpcError."""
        return await self._batch(self.stub.Amend, request)

    async def report(self, request: placement_pb2.ReportRequest) -> types_pb2.BatchReply:
        """Report replicas. Raises grpc.RpcError."""
        return await self._batch(self.stub.Report, request)

    async def get(self, key: str) -> placement_pb2.UnitView:
        """One unit with its replicas. Raises grpc.RpcError (NOT_FOUND)."""
        view: placement_pb2.UnitView = await self.stub.Get(placement_pb2.GetRequest(key=key))
        return view

    async def summary(self) -> placement_pb2.Summary:
        """Counts over all units. Raises grpc.RpcError."""
        request = placement_pb2.ListRequest(is_summary=True)
        summary = placement_pb2.Summary()
        async for reply in self.stub.List(request):
            if reply.HasField("summary"):
                summary = reply.summary
        return summary

    async def units(self, request: placement_pb2.ListRequest) -> list[placement_pb2.UnitView]:
        """Units in the order of their keys, without replicas. Raises grpc.RpcError."""
        return [unit async for reply in self.stub.List(request) for unit in reply.units]

    async def watch(
        self, *, prefix: str = "", is_snapshot_wanted: bool = True, is_packed: bool = False
    ) -> AsyncIterator[placement_pb2.WatchReply]:
        """Units with the prefix as they are, then what changes; see WatchReply.is_snapshot_end.

        Raises grpc.RpcError when the stream breaks, or when this watcher fell behind
        (RESOURCE_EXHAUSTED): begin anew with a snapshot.
        """
        request = placement_pb2.WatchRequest(
            prefix=prefix, is_snapshot_wanted=is_snapshot_wanted, is_packed=is_packed
        )
        async for reply in self.stub.Watch(request):
            yield reply

    async def _batch(self, method: Any, request: Any) -> types_pb2.BatchReply:
        reply: types_pb2.BatchReply = await method(request)
        return reply
