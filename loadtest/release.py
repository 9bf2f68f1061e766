"""Releases a service through the Release API, and counts its available rows on our own.

`RowBook` is pure: it follows the Placement Watch of the service's units and shares nothing with
the rolling controller, so `available_min` is a check of max_unavailable and not an echo of it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from godel.v1 import placement_pb2, release_pb2, release_pb2_grpc, types_pb2
from loadtest.report import Rows
from runtime.link_rpc import CHANNEL_OPTIONS
from runtime.placement_client import PlacementClient

WHOLE_UNIT = (1 << 32) - 1
READY = types_pb2.PHASE_READY
RETRY_SECONDS = 0.1
POLL_SECONDS = 0.05
SETTLED = "Settled"


class RowBook:
    """Which rows have all their replicas ready, and the least number seen since `arm`."""

    def __init__(self, replicas_per_row: int) -> None:
        self._replicas = replicas_per_row
        self._ready: dict[str, set[tuple[int, int]]] = {}
        self.available_min: int | None = None
        self.revisions: dict[str, int] = {}
        """Latest revision seen per key."""

    @property
    def available(self) -> int:
        """Rows with all their replicas ready now."""
        return sum(len(ready) >= self._replicas for ready in self._ready.values())

    def arm(self) -> None:
        """Begin to note the least number."""
        self.available_min = self.available

    def forget_all(self) -> None:
        """Before a new snapshot."""
        self._ready.clear()

    def apply(self, reply: placement_pb2.WatchReply) -> None:
        """One Watch reply: rows, columns or a part of the snapshot."""
        for unit in reply.snapshot:
            ready = {(r.group, r.ordinal) for r in unit.replicas if r.phase == READY}
            self._ready[unit.key] = ready
            self.revisions[unit.key] = unit.revision
        for change in reply.changes:
            self._apply_one(change.key, change.revision, change.group, change.ordinal, change.phase)
        if reply.HasField("packed"):
            packed = reply.packed
            n = len(packed.keys)
            ordinals = np.frombuffer(packed.ordinal or bytes(4 * n), "<u4").tolist()
            revisions = np.frombuffer(packed.revision or bytes(4 * n), "<u4").tolist()
            groups = packed.group or bytes(n)
            for i, key in enumerate(packed.keys):
                self._apply_one(key, revisions[i], groups[i], ordinals[i], packed.phase[i])

    def _apply_one(self, key: str, revision: int, group: int, ordinal: int, phase: int) -> None:
        ready = self._ready.setdefault(key, set())
        self.revisions[key] = max(revision, self.revisions.get(key, 0))
        if phase == READY:
            ready.add((group, ordinal))
        elif ordinal == WHOLE_UNIT:
            ready.clear()
        else:
            ready.discard((group, ordinal))
        if self.available_min is not None and phase != READY:
            self.available_min = min(self.available_min, self.available)


@dataclass
class Released:
    """How the release of one service went."""

    rows: int
    columns: int
    bound: int
    """Rows that max_unavailable leaves available."""
    word: str = ""
    on_latest: int = 0
    ready: int = 0
    available_min: int | None = None
    seconds: float = 0.0
    why: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether all rows serve the new version and never fewer than the bound served."""
        is_kept = self.available_min is not None and self.available_min >= self.bound
        return is_kept and self.on_latest == self.ready == self.rows

    def lines(self) -> Rows:
        """For the table."""
        made = [
            (
                "release",
                f"{self.on_latest} of {self.rows} rows ({self.columns} columns each) on v2, "
                f"{self.ready} ready; {self.word or 'not begun'} after {self.seconds:.1f} s",
            ),
            (
                "  rows available",
                f"min {self.available_min} seen, at least {self.bound} wanted",
            ),
        ]
        return made + ([("  held up by", self.why)] if self.why and not self.is_complete else [])


class Service:
    """One rollingset: created as v1, released to v2, followed all the while."""

    def __init__(
        self,
        placement: PlacementClient,
        target: str,
        v1: release_pb2.Rollingset,
        v2: release_pb2.Rollingset,
    ) -> None:
        self._placement = placement
        self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._stub: Any = release_pb2_grpc.ReleaseStub(self._channel)
        self._v1 = v1
        self._v2 = v2
        self.book = RowBook(sum(max(column.count, 1) for column in v1.columns))
        unavailable = int(v1.max_unavailable or 1)
        self.released = Released(v1.rows, len(v1.columns), v1.rows - unavailable)
        self._began_s = 0.0
        self._follower: asyncio.Task[None] | None = None

    async def create(self) -> None:
        """Create v1 and begin to follow."""
        self._follower = asyncio.ensure_future(self._follow())
        await self._stub.Create(release_pb2.CreateRequest(spec=self._v1), wait_for_ready=True)

    async def release(self, seconds_max: float) -> Released:
        """Once v1 serves, update to v2 and wait until that serves, or for so long."""
        deadline = time.monotonic() + seconds_max
        try:
            if not await self._until_ready(1, deadline):
                return self.released
            self.book.arm()
            self._began_s = time.monotonic()
            await self._stub.Update(release_pb2.UpdateRequest(spec=self._v2))
            await self._until_ready(2, deadline)
        except grpc.aio.AioRpcError as error:
            self.released.why = f"{error.code().name}: {error.details()}"
        self.released.available_min = self.book.available_min
        return self.released

    async def close(self) -> None:
        """End following."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        await self._channel.close(None)

    async def _until_ready(self, version: int, deadline: float) -> bool:
        """Poll the controller's view until all rows serve that version. Both views must agree."""
        request = release_pb2.GetRollingsetRequest(name=self._v1.name)
        while True:
            view = await self._stub.GetRollingset(request, wait_for_ready=True)
            self._note(view, version)
            is_done = view.latest == version and view.word == SETTLED
            if is_done and view.ready_rows == self.book.available == self._v1.rows:
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)

    def _note(self, view: release_pb2.RollingsetView, version: int) -> None:
        self.released.word = view.word
        self.released.why = view.why
        self.released.ready = view.ready_rows
        self.released.available_min = self.book.available_min
        if version == 2:
            self.released.seconds = time.monotonic() - self._began_s
            self.released.on_latest = sum(v.rows for v in view.versions if v.version == view.latest)

    async def _follow(self) -> None:
        while True:
            self.book.forget_all()
            try:
                prefix = self._v1.name
                async for reply in self._placement.watch(prefix=prefix, is_packed=True):
                    self.book.apply(reply)
            except grpc.aio.AioRpcError as error:
                self.released.notes.append(f"watch cut off: {error.code().name}")
            await asyncio.sleep(RETRY_SECONDS)
