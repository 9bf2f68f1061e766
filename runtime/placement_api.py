"""The Placement API: requests into a shell, answers and changes out.

One `PlacementServicer` per dispatcher, added to the client listener by its `__main__`. What must
hold: replies of a stream come in the order of its batches and not before the batch is durable; one
client's garbage, slowness or end disturbs nobody else; what is shown is durable. Changes do not
wait to be batched: whatever is ready leaves when the peer has taken what went before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar

from cell.messages import ITEMS_MAX, Summary, UnitView
from cell.reasons import Refusal, Status
from cell.settings import Positive
from cell.unit import Word
from godel.v1 import placement_pb2, placement_pb2_grpc, types_pb2
from runtime import wire, wire_views
from runtime.config import ApiLimits
from runtime.grpc_status import CallRefused, Exhausted
from runtime.loop import Shell
from runtime.submit_desk import SubmitDesk
from runtime.submit_stream import SubmitStream, refused_of
from runtime.watch import (
    MESSAGE_ROWS_MAX,
    WATCH_ROWS_MAX,
    WATCHERS_MAX,
    Watcher,
    WatchHub,
)

SERVICE = "godel.v1.Placement"
"""Name of the service, for health checks and reflection."""
T = TypeVar("T")


class PlacementLimits(ApiLimits, frozen=True, kw_only=True):
    """What clients may ask of the Placement API."""

    items_max: wire.ItemsMax = ITEMS_MAX
    """Items in one request; a larger one ends its call with RESOURCE_EXHAUSTED."""
    submit_batches_max: Positive = 64
    """Batches of one stream that are not answered yet; further ones stay unread."""
    classes_max: Positive = 65_536
    """Classes of one stream or request; beyond it the stream ends with RESOURCE_EXHAUSTED."""
    watchers_max: Positive = WATCHERS_MAX
    """Watch calls at a time."""
    watch_rows_max: Positive = WATCH_ROWS_MAX
    """Changes queued for one watcher; beyond it the call ends with RESOURCE_EXHAUSTED."""
    message_rows_max: Positive = MESSAGE_ROWS_MAX
    """Changes, or units and replicas, in one message to a client."""


class PlacementViews(Protocol):
    """What the dispatcher's core lets be read between two events."""

    def unit(self, key: str) -> UnitView | None:
        """One unit with its replicas."""

    def units(self, prefix: str, word: str, count_max: int) -> list[UnitView]:
        """Units in the order of their keys, without replicas; `word` "" any, `count_max` 0 all."""

    def units_whole(self, prefix: str) -> list[UnitView]:
        """Units in the order of their keys, with replicas."""

    def summary(self) -> Summary:
        """Counts over all units."""


class PlacementServicer(placement_pb2_grpc.PlacementServicer):
    """Serves `shell`, whose core is `core`; takes the shell's publications for its watchers."""

    def __init__(
        self, shell: Shell, core: PlacementViews, limits: PlacementLimits | None = None
    ) -> None:
        self._shell = shell
        self._core = core
        self._limits = limits = limits or PlacementLimits()
        self.hub = WatchHub(limits.watchers_max, limits.watch_rows_max, limits.message_rows_max)
        shell.on_publish = self.hub.publish
        shell.wait_ms_max = limits.wait_ms_max
        self._desk = SubmitDesk(shell, limits.items_max)

    def add_to(self, server: Any) -> None:
        """Register with a server: one of the `add` of a Listener."""
        placement_pb2_grpc.add_PlacementServicer_to_server(self, server)

    async def Submit(  # type: ignore[override]
        self, request_iterator: AsyncIterator[placement_pb2.SubmitRequest], context: Any
    ) -> None:
        """One stream of batches."""
        limits = self._limits
        stream = SubmitStream(
            self._shell,
            self._desk,
            limits.items_max,
            limits.classes_max,
            limits.submit_batches_max,
        )
        await stream.run(context)

    async def Cancel(
        self, request: placement_pb2.CancelRequest, context: Any
    ) -> types_pb2.BatchReply:
        """End units."""
        return await self._batch(wire.cancel(request, self._limits.items_max))

    async def Amend(
        self, request: placement_pb2.AmendRequest, context: Any
    ) -> types_pb2.BatchReply:
        """Give units a new revision."""
        limits = self._limits
        return await self._batch(wire.amend(request, limits.classes_max, limits.items_max))

    async def Report(
        self, request: placement_pb2.ReportRequest, context: Any
    ) -> types_pb2.BatchReply:
        """Take what became of replicas."""
        return await self._batch(wire.report(request, self._limits.items_max))

    async def Get(self, request: placement_pb2.GetRequest, context: Any) -> placement_pb2.UnitView:
        """Show one unit."""
        view = await self._shell.read(lambda: self._core.unit(request.key))
        if view is None:
            reason = f"no unit has the key {request.key!r}"
            raise CallRefused(Refusal(Status.NOT_FOUND, "", reason))
        return wire_views.unit_view(view)

    async def List(  # type: ignore[override]
        self, request: placement_pb2.ListRequest, context: Any
    ) -> None:
        """Show counts, then units."""
        word = request.word.upper()
        if word and word not in Word.__members__:
            known = ", ".join(Word.__members__)
            raise CallRefused(wire.bad("word", f"{request.word!r} is none of {known}"))

        def view() -> tuple[Summary, list[UnitView]]:
            if request.is_summary:
                return self._core.summary(), []
            units = self._core.units(request.prefix, word, request.count_max)
            return self._core.summary(), units

        counts, units = await self._shell.read(view)
        await context.write(placement_pb2.ListReply(summary=wire_views.summary(counts)))
        for page in wire_views.pages(units, self._limits.message_rows_max):
            await context.write(placement_pb2.ListReply(units=page))

    async def Watch(  # type: ignore[override]
        self, request: placement_pb2.WatchRequest, context: Any
    ) -> None:
        """Show units as they are, then what changes."""
        watch = _Watch(self.hub, request)
        try:
            units: list[UnitView] = []
            if request.is_snapshot_wanted:
                units = await self._shell.read(
                    lambda: self._core.units_whole(request.prefix), watch.begin
                )
            else:
                watch.begin()
            await watch.run(units, context, self._limits.message_rows_max)
        finally:
            watch.end()

    async def _batch(self, converted: wire.Converted) -> types_pb2.BatchReply:
        """Ask the core, unless nothing is left to ask or nothing could be kept."""
        body = converted.body
        if body is None:
            answer = None
        elif refusal := self._shell.store_refusal:
            answer = refusal
        else:
            self._desk.flush()
            answer = await self._shell.ask(body)
        return types_pb2.BatchReply(count=converted.count, refused=refused_of(converted, answer))


class _Watch:
    """One Watch call."""

    def __init__(self, hub: WatchHub, request: placement_pb2.WatchRequest) -> None:
        self._hub = hub
        self._request = request
        self._watcher: Watcher | None = None

    def begin(self) -> None:
        """Get all changes from now on. Raises TooManyWatchers."""
        self._watcher = self._hub.add(self._request.prefix, self._request.is_packed)

    def end(self) -> None:
        """Get none any more."""
        if self._watcher is not None:
            self._hub.remove(self._watcher)
            self._watcher = None

    async def run(self, units: list[UnitView], context: Any, rows_max: int) -> None:
        """Send the snapshot, its end, and then changes until the watcher is cut off."""
        for page in wire_views.pages(units, rows_max):
            await context.write(placement_pb2.WatchReply(snapshot=page))
        await context.write(placement_pb2.WatchReply(is_snapshot_end=True))
        watcher = self._watcher
        while watcher is not None and not watcher.is_cut:
            reply = watcher.take()
            if reply is None:
                await watcher.wait()
            else:
                await context.write(reply)
        raise Exhausted("this watcher fell behind: begin anew with a snapshot")
