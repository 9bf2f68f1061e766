"""A home for tests of the load generator: the public services, first fit, no durability.

Binds what fits by cpu in the order of arrival and lists the rest as waiting. A test may make it
refuse the first batch for a while, or cut its watchers off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from godel.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    placement_pb2,
    placement_pb2_grpc,
    types_pb2,
)
from tests.unit.loadtest.builders import WHOLE_UNIT, a_change, in_columns

EXHAUSTED = 8


@dataclass
class FakeHome:
    """State of both services; `client` and `cluster` are their addresses."""

    client: str
    cluster: str
    refusals_left: int = 0
    """Batches whose first unit is refused for now."""
    is_blind: bool = False
    """Binds nothing, and says so of everything."""
    free: dict[str, int] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)
    node_of: dict[str, list[str]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    reports: list[tuple[str, int, int]] = field(default_factory=list)
    """(key, ordinal, phase) as reported."""
    reported: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: list[asyncio.Queue[placement_pb2.WatchReply | None]] = field(default_factory=list)
    row_batches: int = 0

    def cut_watchers(self) -> None:
        """End every Watch."""
        for watcher in self.watchers:
            watcher.put_nowait(None)

    def place(self, key: str, demand: int, count: int) -> None:
        """Bind all replicas or none, and tell."""
        if key in self.node_of:
            return
        places = [] if self.is_blind else self._places(demand, count)
        if len(places) < count:
            self.waiting[key] = "insufficient cpu"
            return
        for node in places:
            self.free[node] -= demand
        self.node_of[key] = places
        changes = [
            a_change("BOUND", key=key, ordinal=i, node=node) for i, node in enumerate(places)
        ]
        for watcher in self.watchers:
            watcher.put_nowait(in_columns(*changes))

    def _places(self, demand: int, count: int) -> list[str]:
        places: list[str] = []
        for name, free in self.free.items():
            places += [name] * min(free // demand, count - len(places))
        return places

    def snapshot(self) -> placement_pb2.WatchReply:
        """All bound units."""
        views = [
            placement_pb2.UnitView(
                key=key,
                revision=1,
                word="BOUND",
                replicas=[
                    placement_pb2.ReplicaView(ordinal=i, phase=types_pb2.PHASE_BOUND, node=node)
                    for i, node in enumerate(nodes)
                ],
            )
            for key, nodes in self.node_of.items()
        ]
        return placement_pb2.WatchReply(snapshot=views, is_snapshot_end=True)


class _Placement(placement_pb2_grpc.PlacementServicer):
    def __init__(self, home: FakeHome) -> None:
        self._home = home

    async def Submit(
        self, requests: AsyncIterator[placement_pb2.SubmitRequest], context: Any
    ) -> AsyncIterator[placement_pb2.SubmitReply]:
        demand: dict[int, int] = {}
        async for request in requests:
            demand |= {entry.number: entry.spec.demand["cpu"] for entry in request.classes}
            items = list(_items(request))
            self._home.row_batches += bool(request.units)
            reply = placement_pb2.SubmitReply(batch=request.batch, count=len(items))
            if self._home.refusals_left:
                self._home.refusals_left -= 1
                reply.refused.add(index=0, code=EXHAUSTED, reason="busy", retry_after_ms=1)
                items = items[1:]
            yield reply
            for key, number, count in items:
                self._home.place(key, demand[number], count)

    async def Watch(
        self, request: placement_pb2.WatchRequest, context: Any
    ) -> AsyncIterator[placement_pb2.WatchReply]:
        queue: asyncio.Queue[placement_pb2.WatchReply | None] = asyncio.Queue()
        self._home.watchers.append(queue)
        yield self._home.snapshot()
        while (reply := await queue.get()) is not None:
            yield reply
        self._home.watchers.remove(queue)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "fell behind")

    async def List(
        self, request: placement_pb2.ListRequest, context: Any
    ) -> AsyncIterator[placement_pb2.ListReply]:
        units = [
            placement_pb2.UnitView(key=key, word="WAITING", why=why)
            for key, why in self._home.waiting.items()
        ]
        yield placement_pb2.ListReply(units=units)

    async def Report(
        self, request: placement_pb2.ReportRequest, context: Any
    ) -> types_pb2.BatchReply:
        packed = request.packed
        if packed.keys:
            ordinals = np.frombuffer(packed.ordinal, "<u4").tolist()
            rows = zip(packed.keys, ordinals, packed.phase, strict=True)
            self._home.reports += rows
        self._home.reports += [(item.key, item.ordinal, item.phase) for item in request.items]
        self._home.reported.set()
        return types_pb2.BatchReply(count=len(packed.keys) + len(request.items))

    async def Cancel(
        self, request: placement_pb2.CancelRequest, context: Any
    ) -> types_pb2.BatchReply:
        for key in request.keys:
            self._home.node_of.pop(key, None)
            gone = in_columns(a_change("CANCELLED", key=key, ordinal=WHOLE_UNIT))
            for watcher in self._home.watchers:
                watcher.put_nowait(gone)
        return types_pb2.BatchReply(count=len(request.keys))


class _Cluster(cluster_pb2_grpc.ClusterServicer):
    def __init__(self, home: FakeHome) -> None:
        self._home = home

    async def Register(
        self, request: cluster_pb2.RegisterRequest, context: Any
    ) -> types_pb2.BatchReply:
        reply = types_pb2.BatchReply(count=len(request.nodes))
        for index, node in enumerate(request.nodes):
            if "pods" in node.allocatable and node.allocatable["pods"] < 0:
                reply.refused.add(index=index, code=3, field="allocatable[pods]", reason="negative")
            else:
                self._home.whole[node.name] = node.allocatable["cpu"]
                self._home.free[node.name] = node.allocatable["cpu"]
        return reply

    async def ListNodes(
        self, request: cluster_pb2.ListNodesRequest, context: Any
    ) -> AsyncIterator[cluster_pb2.ListNodesReply]:
        yield cluster_pb2.ListNodesReply(
            nodes=[
                cluster_pb2.NodeView(
                    name=name,
                    allocatable={"cpu": whole, "pods": 110},
                    used={"cpu": whole - self._home.free[name]},
                )
                for name, whole in self._home.whole.items()
            ]
        )


def _items(request: placement_pb2.SubmitRequest) -> Iterator[tuple[str, int, int]]:
    for unit in request.units:
        yield unit.key, unit.groups[0].class_number, unit.groups[0].count
    packed = request.packed
    numbers = np.frombuffer(packed.class_number, "<u4").tolist()
    counts = np.frombuffer(packed.count, "<u4").tolist()
    yield from zip(packed.keys, numbers, counts, strict=True)


@asynccontextmanager
async def a_home(folder: Path) -> AsyncIterator[FakeHome]:
    """A running home with its sockets in a folder."""
    home = FakeHome(f"unix:{folder}/dispatcher.sock", f"unix:{folder}/binder.sock")
    placement: Any = grpc.aio.server()
    placement_pb2_grpc.add_PlacementServicer_to_server(
        _Placement(home),  # type: ignore[abstract]
        placement,
    )
    placement.add_insecure_port(home.client)
    cluster: Any = grpc.aio.server()
    cluster_pb2_grpc.add_ClusterServicer_to_server(
        _Cluster(home),  # type: ignore[abstract]
        cluster,
    )
    cluster.add_insecure_port(home.cluster)
    await placement.start()
    await cluster.start()
    try:
        yield home
    finally:
        await placement.stop(None)
        await cluster.stop(None)
