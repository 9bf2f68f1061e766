"""The load of the benchmarks: the public API by generated stubs, for null and real alike."""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np

from godel.v1 import placement_pb2 as pb
from godel.v1 import placement_pb2_grpc, types_pb2

BATCH = 100
CLASSES = 50
GANG = 10
BOUND = types_pb2.PHASE_BOUND
NULL_BATCHES_IN_FLIGHT = 4
UNITS_IN_FLIGHT = 12_000
_run = count()


@dataclass(frozen=True)
class Shape:
    """What is submitted, and how."""

    is_packed: bool = True
    replicas: int = 1
    is_null: bool = False


@dataclass
class Round:
    """What one round took."""

    units: int
    replicas: int
    seconds: float
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Replicas bound per second."""
        return self.replicas / self.seconds


def classes() -> list[types_pb2.ClassEntry]:
    """Fifty classes that differ in their requests."""
    return [
        types_pb2.ClassEntry(
            number=i,
            spec=types_pb2.ClassSpec(demand={"cpu": 100 + 10 * i, "memory": (128 + 8 * i) << 20}),
        )
        for i in range(CLASSES)
    ]


def _group(number: int, count: int) -> types_pb2.Group:
    return types_pb2.Group(class_number=number, count=count, min=count)


class Client:
    """One Submit stream and one Watch."""

    def __init__(self, socket: Path, shape: Shape) -> None:
        self._shape = shape
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}", options=[("grpc.max_receive_message_length", 64 << 20)]
        )
        stub: Any = placement_pb2_grpc.PlacementStub(self._channel)
        self._prefix = f"bench-{time.time_ns()}-{next(_run)}/"
        self._submits = stub.Submit()
        self._watch = stub.Watch(pb.WatchRequest(prefix=self._prefix, is_packed=shape.is_packed))
        self._stub = stub
        self._moved = asyncio.Event()
        self._sent_at: dict[str, float] = {}
        self.bound = 0
        self.refused: list[str] = []
        self.latencies_ms: list[float] = []
        self.is_timed = False
        self._keys: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Announce the classes and begin to watch."""
        await self._submits.write(pb.SubmitRequest(classes=classes()))
        self._tasks = [asyncio.create_task(self._read_watch())]
        if not self._shape.is_null:
            self._tasks.append(asyncio.create_task(self._read_acks()))
        await asyncio.sleep(0.2)

    async def stop(self) -> None:
        """Cancel what this client bound, so that every round finds the same cluster."""
        if not self._shape.is_null:
            for start in range(0, len(self._keys), 5_000):
                await self._stub.Cancel(pb.CancelRequest(keys=self._keys[start : start + 5_000]))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close(None)

    async def send(self, units: int) -> None:
        """One batch."""
        start = len(self._keys)
        keys = [f"{self._prefix}{start + i}" for i in range(units)]
        self._keys += keys
        if self.is_timed:
            now = time.perf_counter()
            self._sent_at |= dict.fromkeys(keys, now)
        await self._submits.write(self._packed(keys) if self._shape.is_packed else self._rows(keys))

    async def saturate(self, units: int) -> Round:
        """Submit `units`, as many in flight as the shape allows, until all replicas are bound."""
        self.is_timed = True
        target = units * self._shape.replicas
        window = BATCH * NULL_BATCHES_IN_FLIGHT if self._shape.is_null else UNITS_IN_FLIGHT
        window *= self._shape.replicas
        begin, sent = time.perf_counter(), 0
        while self.bound < target:
            if sent < units and sent * self._shape.replicas - self.bound < window:
                await self.send(BATCH)
                sent += BATCH
                continue
            await self._until_moved()
        return Round(units, target, time.perf_counter() - begin, self.latencies_ms)

    async def pace(self, rate: float, seconds: float, rng: np.random.Generator) -> Round:
        """Open loop: Poisson arrivals at `rate`, sent each millisecond as they are due."""
        self.is_timed = True
        arrivals = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
        begin, sent = time.perf_counter(), 0
        while sent < len(arrivals):
            due = int(np.searchsorted(arrivals, time.perf_counter() - begin))
            while sent < due:
                await self.send(min(due - sent, BATCH))
                sent += min(due - sent, BATCH)
            await asyncio.sleep(0.001)
        while self.bound < len(arrivals):
            await self._until_moved()
        return Round(sent, sent, time.perf_counter() - begin, self.latencies_ms)

    async def one_by_one(self, samples: int) -> list[float]:
        """Milliseconds from submit to bound of lone units."""
        self.is_timed = True
        for _ in range(samples):
            target = self.bound + 1
            await self.send(1)
            while self.bound < target:
                await self._until_moved()
        return self.latencies_ms

    async def _until_moved(self) -> None:
        if self.refused:
            raise RuntimeError(f"refused: {self.refused[0]}")
        self._moved.clear()
        await asyncio.wait_for(self._moved.wait(), 60)

    def _packed(self, keys: list[str]) -> pb.SubmitRequest:
        n = len(keys)
        size = self._shape.replicas
        klass = (np.arange(n, dtype="<u4") + len(self._keys)) % CLASSES
        return pb.SubmitRequest(
            packed=pb.PackedUnits(
                keys=keys,
                class_number=klass.astype("<u4").tobytes(),
                count=np.full(n, size, "<u4").tobytes(),
                min=np.full(n, size, "<u4").tobytes(),
            )
        )

    def _rows(self, keys: list[str]) -> pb.SubmitRequest:
        size = self._shape.replicas
        offset = len(self._keys)
        units = [
            pb.Unit(key=key, groups=[_group((offset + i) % CLASSES, size)])
            for i, key in enumerate(keys)
        ]
        return pb.SubmitRequest(units=units)

    async def _read_acks(self) -> None:
        async for reply in self._submits:
            self.refused += [f"{r.field}: {r.reason}" for r in reply.refused]

    async def _read_watch(self) -> None:
        async for reply in self._watch:
            keys = self._bound_packed(reply) if self._shape.is_packed else self._bound_rows(reply)
            self.bound += len(keys)
            if self.is_timed:
                now = time.perf_counter()
                self.latencies_ms += [(now - self._sent_at[key]) * 1e3 for key in keys]
            self._moved.set()

    def _bound_packed(self, reply: pb.WatchReply) -> list[str]:
        if self._shape.is_null:
            return list(reply.packed.keys)
        is_bound = np.frombuffer(reply.packed.phase, np.uint8) == BOUND
        if is_bound.all():
            return list(reply.packed.keys)
        keys = reply.packed.keys
        return [keys[i] for i in np.flatnonzero(is_bound)]

    def _bound_rows(self, reply: pb.WatchReply) -> list[str]:
        return [change.key for change in reply.changes if change.phase == BOUND]
