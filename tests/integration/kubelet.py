"""What nodes do for a service: report its replicas as ready. Also sees who serves, by itself.

It knows units from the dispatcher's watch alone, so its count of serving rows is independent of the
rolling controller's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import grpc

from cell.unit import WHOLE_UNIT
from godel.v1 import placement_pb2, types_pb2
from runtime.placement_client import PlacementClient

ENDED = (types_pb2.PHASE_DONE, types_pb2.PHASE_FAILED, types_pb2.PHASE_CANCELLED)
RETRY_SECONDS = 0.1


@dataclass
class Seen:
    """One unit: phases by (group, ordinal) at its newest revision."""

    revision: int = 0
    phases: dict[tuple[int, int], int] = field(default_factory=dict)

    def begin(self, revision: int) -> bool:
        """Whether a change of this revision is news."""
        if revision > self.revision:
            self.revision, self.phases = revision, {}
        return revision == self.revision


class Kubelet:
    """Reports for all units under a prefix; `replicas` make a unit serve."""

    def __init__(self, target: str, prefix: str, replicas: int) -> None:
        self._target = target
        self._prefix = prefix
        self._replicas = replicas
        self._units: dict[str, Seen] = {}
        self._news = asyncio.Event()
        self._held_revision = 0
        self._hold_after = 0
        self.floor = 0
        """Fewest serving units seen since it was last set to a number above all."""
        self.held = asyncio.Event()
        """Something is held."""

    @property
    def serving(self) -> list[Seen]:
        """Units whose replicas are all ready."""
        return [
            unit
            for unit in self._units.values()
            if len(unit.phases) == self._replicas
            and all(phase == types_pb2.PHASE_READY for phase in unit.phases.values())
        ]

    def hold(self, revision: int, after: int) -> None:
        """Let only `after` units of this revision become ready, until `let_go`."""
        self._held_revision, self._hold_after = revision, after
        self.held.clear()

    def let_go(self) -> None:
        """Report what was held."""
        self._held_revision = 0
        self._news.set()

    async def run(self) -> None:
        """Watch and report for ever."""
        async with PlacementClient(self._target) as client:
            await asyncio.gather(self._watch_on(client), self._report_on(client))

    async def _watch_on(self, client: PlacementClient) -> None:
        while True:
            try:
                await self._follow(client)
            except grpc.RpcError:
                await asyncio.sleep(RETRY_SECONDS)

    async def _report_on(self, client: PlacementClient) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._report(client)
            except grpc.RpcError:
                await asyncio.sleep(RETRY_SECONDS)
                self._news.set()

    async def _follow(self, client: PlacementClient) -> None:
        snapshot: dict[str, Seen] = {}
        is_whole = False
        async for reply in client.watch(prefix=self._prefix):
            for view in reply.snapshot:
                phases = {(r.group, r.ordinal): int(r.phase) for r in view.replicas}
                snapshot[view.key] = Seen(view.revision, phases)
            for change in reply.changes:
                self._change(change)
            if reply.is_snapshot_end and not is_whole:
                self._units, is_whole = snapshot, True
            if is_whole:
                self.floor = min(self.floor, len(self.serving))
                self._news.set()

    def _change(self, change: placement_pb2.Change) -> None:
        unit = self._units.setdefault(change.key, Seen())
        if not unit.begin(change.revision):
            return
        if change.ordinal != WHOLE_UNIT:
            unit.phases[change.group, change.ordinal] = int(change.phase)
        elif change.phase in (*ENDED, types_pb2.PHASE_WAITING, types_pb2.PHASE_PLACING):
            unit.phases = {}

    async def _report(self, client: PlacementClient) -> None:
        items = []
        ready = sum(unit.revision >= self._held_revision for unit in self.serving)
        for key, unit in sorted(self._units.items()):
            bound = [r for r, phase in unit.phases.items() if phase == types_pb2.PHASE_BOUND]
            if not bound:
                continue
            if self._held_revision and unit.revision >= self._held_revision:
                if ready >= self._hold_after:
                    self.held.set()
                    continue
                ready += 1
            items += [
                placement_pb2.ReplicaReport(
                    key=key,
                    revision=unit.revision,
                    group=group,
                    ordinal=ordinal,
                    phase=types_pb2.PHASE_READY,
                )
                for group, ordinal in bound
            ]
        if items:
            await client.report(placement_pb2.ReportRequest(items=items))
