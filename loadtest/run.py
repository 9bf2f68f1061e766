"""Runs a workload against a home: an open-loop generator, a watcher, a sampler, and an end.

Units are submitted when they are due, never waiting for placements; only LIMITS bound it. A run is
done when each unit is placed or refused, or waits with a reason while our own fit check finds no
room for it. Speaks the public API only, and goes on over restarts of the services.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from godel.v1 import cluster_pb2, placement_pb2, types_pb2
from loadtest.cluster import ClusterClient
from loadtest.report import Report, UsageSample, Waiting, latency_of, rate_of, usage_of
from loadtest.room import is_room, rooms
from loadtest.tally import Tally
from loadtest.workload import NO_END, Workload, packed_units, row_units
from runtime.placement_client import PlacementClient

RETRY_SECONDS = 0.1
REPORT_ITEMS_MAX = 1000
CANCEL_KEYS_MAX = 5000


@dataclass(frozen=True)
class Limits:
    """Named limits of a run."""

    batch_units_max: int = 500
    eager_batches_max: int = 2
    """While so many are without an answer, only full batches leave: the busier, the larger."""
    unacked_batches_max: int = 32
    """Batches without an answer; above it the generator falls behind its schedule, and says so."""
    tick_seconds: float = 0.002
    """What is due within a tick shares a batch."""
    sample_seconds: float = 1.0
    """Between samples of utilisation; longer when a sample takes longer than a tenth of it."""
    quiet_seconds: float = 1.0
    """Without a change for so long, what waits is looked at."""
    settle_seconds_max: float = 60.0
    """Without a change for so long, the run ends incomplete."""


@dataclass(frozen=True)
class Options:
    """How a workload is submitted."""

    name: str = "load"
    prefix: str = ""
    """Common prefix of all keys."""
    is_packed: bool = True
    limits: Limits = field(default_factory=Limits)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels of nodes, by name, for the fit check."""


class LoadRun:
    """One run; `run` once, read the counts at any time."""

    def __init__(
        self, client: PlacementClient, cluster: ClusterClient, work: Workload, options: Options
    ) -> None:
        self.tally = Tally(work)
        self.usage: list[UsageSample] = []
        self.waiting = Waiting(0, {}, ())
        self._client = client
        self._cluster = cluster
        self._work = work
        self._options = options
        self._limits = options.limits
        numbers = [client.class_number(spec) for spec in work.classes]
        self._numbers = np.array(numbers, dtype=np.uint32)
        self._start = time.monotonic()
        self._slots = asyncio.Semaphore(self._limits.unacked_batches_max)
        self._unacked = 0
        self._is_watching = asyncio.Event()
        self._moved_at_s = 0.0
        self._refused_why: Counter[str] = Counter()
        self._retried = 0
        self._late_s_max = 0.0
        self._watch_breaks = 0
        self._submit_seconds = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def now_s(self) -> float:
        """Seconds since the first unit could be due."""
        return time.monotonic() - self._start

    async def run(self) -> Report:
        """Submit everything, wait for the end, look at what waits."""
        try:
            self._spawn(self._follow())
            await self._unless_broken(self._is_watching.wait())
            self._start = time.monotonic()
            self._spawn(self._sample())
            self._spawn(self._end_units())
            await self._unless_broken(self._generate())
            await self._unless_broken(self._settle())
            await self._sample_once()
            return self._report()
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cancel_units(self) -> None:
        """End every unit of the run, so that the home is as before."""
        keys = self._work.keys
        for start in range(0, len(keys), CANCEL_KEYS_MAX):
            await self._client.cancel(keys[start : start + CANCEL_KEYS_MAX])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._dropped)

    def _dropped(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)

    async def _unless_broken(self, work: Coroutine[Any, Any, Any]) -> None:
        """Wait for `work`, or raise what broke one of the tasks beside it."""
        main = asyncio.ensure_future(work)
        try:
            while not main.done():
                beside = tuple(self._tasks)
                await asyncio.wait((main, *beside), return_when=asyncio.FIRST_COMPLETED)
                for task in beside:
                    if task.done() and not task.cancelled():
                        task.result()
            main.result()
        finally:
            main.cancel()

    # Submitting

    async def _generate(self) -> None:
        due_s, sent = self._work.at_s, 0
        while sent < len(due_s):
            now_s = self.now_s
            due = int(np.searchsorted(due_s, now_s, side="right"))
            if due == sent:
                await asyncio.sleep(max(self._limits.tick_seconds, due_s[sent] - now_s))
                continue
            is_full = due - sent >= self._limits.batch_units_max
            if not is_full and self._unacked >= self._limits.eager_batches_max:
                await asyncio.sleep(self._limits.tick_seconds)
                continue
            end = min(due, sent + self._limits.batch_units_max)
            await self._slots.acquire()
            self._late_s_max = max(self._late_s_max, self.now_s - due_s[sent])
            rows = np.arange(sent, end)
            self.tally.is_sent[rows] = True
            self._spawn(self._submit(rows))
            sent = end
            await asyncio.sleep(0)
        self._submit_seconds = self.now_s

    async def _submit(self, rows: NDArray[np.int64]) -> None:
        """One batch until it is answered; items refused for now are submitted again later."""
        self._unacked += 1
        try:
            reply = await self._client.submit(self._request(rows), is_retried=True)
        finally:
            self._unacked -= 1
            self._slots.release()
        self._moved_at_s = self.now_s
        retry_after_ms = 0
        again: list[int] = []
        refused: list[int] = []
        for item in reply.refused:
            if item.retry_after_ms:
                again.append(item.index)
                retry_after_ms = max(retry_after_ms, item.retry_after_ms)
            else:
                refused.append(item.index)
                self._refused_why[f"{item.field}: {item.reason}"] += 1
        is_answered = np.ones(len(rows), dtype=bool)
        is_answered[again] = False
        answered_index = np.cumsum(is_answered) - 1
        self.tally.acked(rows[is_answered], [int(answered_index[i]) for i in refused])
        if again:
            self._retried += len(again)
            await asyncio.sleep(retry_after_ms / 1e3)
            await self._slots.acquire()
            self._spawn(self._submit(rows[again]))

    def _request(self, rows: NDArray[np.int64]) -> placement_pb2.SubmitRequest:
        if self._options.is_packed:
            packed = packed_units(self._work, rows, self._numbers)
            return placement_pb2.SubmitRequest(packed=packed)
        return placement_pb2.SubmitRequest(units=row_units(self._work, rows, self._numbers))

    # Watching

    async def _follow(self) -> None:
        prefix = self._options.prefix
        while True:
            try:
                async for reply in self._client.watch(prefix=prefix, is_packed=True):
                    before = self.tally.changes
                    self.tally.apply(reply, self.now_s)
                    if reply.is_snapshot_end:
                        self._is_watching.set()
                    if self.tally.changes > before:
                        self._moved_at_s = self.now_s
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                    raise
            self._watch_breaks += 1
            await asyncio.sleep(RETRY_SECONDS)

    async def _sample(self) -> None:
        while True:
            took_s = await self._sample_once()
            await asyncio.sleep(max(self._limits.sample_seconds, 10 * took_s))

    async def _sample_once(self) -> float:
        begin = time.monotonic()
        try:
            self.usage.append(usage_of(await self._cluster.nodes(), self.now_s))
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                raise
        return time.monotonic() - begin

    async def _end_units(self) -> None:
        """Report units as done when they have run for as long as the workload says."""
        runs_s = self._work.runs_s
        ends: list[tuple[float, int]] = []
        while len(runs_s):
            placed, self.tally.newly_placed = self.tally.newly_placed, []
            for row in placed:
                if runs_s[row] != NO_END:
                    heapq.heappush(ends, (float(self.tally.placed_at_s[row] + runs_s[row]), row))
            due: list[int] = []
            while ends and ends[0][0] <= self.now_s and len(due) < REPORT_ITEMS_MAX:
                due.append(heapq.heappop(ends)[1])
            if not due:
                await asyncio.sleep(0.05)
            elif not await self._report_done(due):
                for row in due:
                    heapq.heappush(ends, (self.now_s + RETRY_SECONDS, row))

    async def _report_done(self, rows: list[int]) -> bool:
        items = [
            placement_pb2.ReplicaReport(key=key, ordinal=ordinal, phase=types_pb2.PHASE_DONE)
            for row in rows
            for key in (self._work.keys[row],)
            for ordinal in range(int(self._work.count[row]))
        ]
        try:
            await self._client.report(placement_pb2.ReportRequest(items=items))
        except grpc.aio.AioRpcError:
            return False
        return True

    # The end

    @property
    def _open_count(self) -> int:
        """Units without an answer."""
        return len(self._work) - int((self.tally.is_acked | self.tally.is_refused).sum())

    async def _settle(self) -> None:
        self._moved_at_s = max(self._moved_at_s, self.now_s)
        while True:
            quiet_s = self.now_s - self._moved_at_s
            if not self._open_count and not len(self.tally.pending):
                self.waiting = Waiting(0, {}, ())
                return
            if quiet_s > self._limits.quiet_seconds:
                is_known = await self._look_at_waiting()
                is_right = is_known and not self.waiting.fitting and "" not in self.waiting.why
                if is_right and not self._open_count:
                    return
                if quiet_s > self._limits.settle_seconds_max:
                    return
            await asyncio.sleep(min(0.1, self._limits.quiet_seconds))

    async def _look_at_waiting(self) -> bool:
        """List what waits and check each of it against the free room; False when unavailable."""
        request = placement_pb2.ListRequest(prefix=self._options.prefix, word="WAITING")
        try:
            units = await self._client.units(request)
            views = await self._cluster.nodes()
        except grpc.aio.AioRpcError:
            return False
        why_of = {unit.key: unit.why for unit in units}
        pending = self.tally.pending.tolist()
        why = Counter(why_of.get(self._work.keys[row], "") for row in pending)
        self.waiting = Waiting(len(pending), dict(why), self._fitting(pending, views))
        return True

    def _fitting(self, pending: list[int], views: list[cluster_pb2.NodeView]) -> tuple[str, ...]:
        nodes = rooms(views, self._options.labels)
        fits: dict[tuple[int, int], bool] = {}
        found = []
        for row in pending:
            kind = int(self._work.klass[row]), int(self._work.min[row])
            if kind not in fits:
                fits[kind] = is_room(self._work.classes[kind[0]], kind[1], nodes)
            if fits[kind]:
                found.append(self._work.keys[row])
        return tuple(found)

    def _report(self) -> Report:
        tally = self.tally
        return Report(
            name=self._options.name,
            seconds=self.now_s,
            submit_seconds=self._submit_seconds,
            units=len(self._work),
            replicas=self._work.replicas,
            acked=int(tally.is_acked.sum()),
            refused=int(tally.is_refused.sum()),
            refused_why=dict(self._refused_why),
            retried=self._retried,
            placed=int(tally.is_placed.sum()),
            replicas_placed=tally.replicas_held,
            ended=int(tally.is_ended.sum()),
            lost=tally.lost,
            unacked=self._open_count,
            placed_rate=rate_of(self._work, tally),
            late_ms_max=float(1e3 * self._late_s_max),
            watch_breaks=self._watch_breaks,
            latency=latency_of(tally.placed_at_s, self._work.at_s),
            usage=tuple(self.usage),
            waiting=self.waiting,
        )
