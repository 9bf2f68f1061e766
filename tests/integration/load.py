"""A load of singles and gangs whose fate is checked in the end, and a kubelet for services."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc

from godel.v1 import placement_pb2, types_pb2
from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster, uid_text
from tests.integration.embedded import until

BATCH = 500
GANG = 4
CLASSES = tuple(
    types_pb2.ClassSpec(demand={"cpu": 100 + 20 * i, "memory": (1 + i) << 26}) for i in range(8)
)


class Refused(Exception):
    """An item was refused."""

    def __init__(self, refused: types_pb2.Refused) -> None:
        super().__init__(str(refused))
        self.retry_after_ms = refused.retry_after_ms


@dataclass(frozen=True)
class Load:
    """`singles` and `gangs` of GANG replicas under one prefix."""

    prefix: str
    singles: int
    gangs: int

    @property
    def replicas(self) -> dict[str, int]:
        """Replicas per key."""
        singles = {f"{self.prefix}s{i}": 1 for i in range(self.singles)}
        return singles | {f"{self.prefix}g{i}": GANG for i in range(self.gangs)}

    async def submit(self, client: PlacementClient, at_half: asyncio.Event) -> None:
        """Submit all, again where the fate is unknown, until all are acknowledged."""
        units = list(self.replicas.items())
        for start in range(0, len(units), BATCH):
            request = placement_pb2.SubmitRequest(
                units=[
                    _unit(client, key, count, start + i)
                    for i, (key, count) in enumerate(units[start : start + BATCH])
                ]
            )
            reply = await client.submit(request, is_retried=True)
            if reply.refused:
                raise Refused(reply.refused[0])
            if start >= len(units) // 2:
                at_half.set()


def _unit(client: PlacementClient, key: str, count: int, number: int) -> placement_pb2.Unit:
    klass = client.class_number(CLASSES[number % len(CLASSES)])
    group = types_pb2.Group(class_number=klass, count=count, min=count)
    return placement_pb2.Unit(key=key, groups=[group])


async def settled(client: PlacementClient, waiting_max: int = 0) -> placement_pb2.Summary:
    """Wait until nothing is being placed and at most `waiting_max` wait, with a reason."""

    async def summary() -> placement_pb2.Summary | None:
        try:
            seen = await client.summary()
        except grpc.RpcError:
            return None
        waiting = seen.words.get("WAITING", 0)
        is_explained = sum(seen.why.values()) == waiting and "" not in seen.why
        if seen.words.get("PLACING", 0) or waiting > waiting_max or not is_explained:
            return None
        return seen

    seen: placement_pb2.Summary = await until("all is placed or waits with a reason", summary)
    return seen


async def check_fate(cluster: Cluster, client: PlacementClient, load: Load) -> int:
    """Every unit is bound whole, in ledger and view alike, or waits; returns how many wait."""
    claims = await cluster.audit()
    units = await client.units(placement_pb2.ListRequest(prefix=load.prefix))
    views = {unit.key: unit for unit in units}
    assert set(views) == set(load.replicas), "acknowledged units are missing"
    waiting = 0
    for key, replicas in load.replicas.items():
        view, claimed = views[key], claims.get(uid_text(key), 0)
        if view.word == "WAITING":
            assert claimed == 0, f"{key} waits with {claimed} claims"
            assert view.why, f"{key} waits without a reason"
            waiting += 1
        else:
            assert view.word == "BOUND", f"{key} is {view.word}"
            assert claimed == replicas, f"{key}: {claimed} of {replicas} replicas have claims"
    return waiting


async def kubelet(target: str, prefix: str) -> None:
    """Report every bound replica under the prefix as ready, for ever."""
    async with PlacementClient(target) as client:
        while True:
            try:
                async for reply in client.watch(prefix=prefix):
                    items = [*_bound(reply), *_bound_in_snapshot(reply)]
                    if items:
                        await client.report(placement_pb2.ReportRequest(items=items))
            except grpc.RpcError:
                await asyncio.sleep(0.1)


def _bound(reply: placement_pb2.WatchReply) -> list[placement_pb2.ReplicaReport]:
    return [
        _ready(change.key, change.revision, change.group, change.ordinal)
        for change in reply.changes
        if change.phase == types_pb2.PHASE_BOUND
    ]


def _bound_in_snapshot(reply: placement_pb2.WatchReply) -> list[placement_pb2.ReplicaReport]:
    return [
        _ready(unit.key, unit.revision, replica.group, replica.ordinal)
        for unit in reply.snapshot
        for replica in unit.replicas
        if replica.phase == types_pb2.PHASE_BOUND
    ]


def _ready(key: str, revision: int, group: int, ordinal: int) -> placement_pb2.ReplicaReport:
    return placement_pb2.ReplicaReport(
        key=key, revision=revision, group=group, ordinal=ordinal, phase=types_pb2.PHASE_READY
    )
