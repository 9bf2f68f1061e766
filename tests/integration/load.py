"""A load of singles and gangs whose fate is checked in the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc

from godel.v1 import placement_pb2, types_pb2
from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster, uid_text
from tests.waiting import WAIT_SECONDS, until

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

    async def submit(self, client: PlacementClient, progress: Progress | None = None) -> None:
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
            if progress is not None:
                progress.note((start + BATCH) / len(units))


class Progress:
    """How far a submission is, for who waits for a part of it."""

    def __init__(self) -> None:
        self.ratio = 0.0
        self._changed = asyncio.Event()

    def note(self, ratio: float) -> None:
        """So much is acknowledged."""
        self.ratio = ratio
        self._changed.set()

    async def reached(self, ratio: float) -> None:
        """Wait until so much is acknowledged."""
        async with asyncio.timeout(WAIT_SECONDS):
            while self.ratio < ratio:
                self._changed.clear()
                await self._changed.wait()


def _unit(client: PlacementClient, key: str, count: int, number: int) -> placement_pb2.Unit:
    klass = client.class_number(CLASSES[number % len(CLASSES)])
    group = types_pb2.Group(class_number=klass, count=count, min=count)
    return placement_pb2.Unit(key=key, groups=[group])


async def settled(client: PlacementClient) -> None:
    """Wait until everything is bound."""

    async def is_bound() -> bool:
        seen = await summary(client)
        return seen is not None and not seen.words.get("WAITING") and not seen.words.get("PLACING")

    await until("everything is bound", is_bound)


async def explained(cluster: Cluster, client: PlacementClient, room: int) -> None:
    """Wait until `room` replicas have claims and every unit that waits has a reason.

    Units that found no room are tried again now and then, so some are always being placed.
    """

    async def is_explained() -> bool:
        seen = await summary(client)
        if seen is None or "" in seen.why or sum(seen.why.values()) != seen.words.get("WAITING", 0):
            return False
        return sum(node.claims for node in (await cluster.nodes()).values()) == room

    await until(f"{room} replicas are bound and the rest has a reason", is_explained)


async def summary(client: PlacementClient) -> placement_pb2.Summary | None:
    """Counts over all units; None while the dispatcher is away."""
    try:
        return await client.summary()
    except grpc.RpcError:
        return None


async def check_fate(cluster: Cluster, client: PlacementClient, load: Load) -> int:
    """Every unit is bound whole, in ledger and view alike, or waits; returns how many wait."""
    claims = await cluster.audit()
    units = await client.units(placement_pb2.ListRequest(prefix=load.prefix))
    views = {unit.key: unit for unit in units}
    assert set(views) == set(load.replicas), "acknowledged units are missing"
    waiting = 0
    for key, replicas in load.replicas.items():
        view, claimed = views[key], claims.get(uid_text(key), 0)
        if view.word in ("WAITING", "PLACING"):
            assert claimed == 0, f"{key} waits with {claimed} claims"
            assert view.why or view.word == "PLACING", f"{key} waits without a reason"
            waiting += 1
        else:
            assert view.word == "BOUND", f"{key} is {view.word}"
            assert claimed == replicas, f"{key}: {claimed} of {replicas} replicas have claims"
    return waiting
