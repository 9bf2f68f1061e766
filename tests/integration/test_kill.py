"""kill -9 of each service, and of all at once, in the middle of a load and a release."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from godel.v1 import cluster_pb2, placement_pb2
from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster
from tests.integration.embedded import SERVICES, Embedded
from tests.integration.kubelet import Kubelet
from tests.integration.load import Load, Progress, check_fate, explained, settled
from tests.integration.services import MAX_UNAVAILABLE, NAME, REPLICAS_PER_ROW, ROWS, Service

UNITS = 20_000
GANGS = 1_000
"""So many of them."""
RELEASED_FIRST = 4
"""Rows that get ready on the new version before the first kill."""


@pytest.fixture
async def kubelet(embedded: Embedded) -> AsyncIterator[Kubelet]:
    """Nodes that report the service's replicas."""
    made = Kubelet(embedded.address("dispatcher"), f"{NAME}/", REPLICAS_PER_ROW)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "kills",
    [*[((name,),) for name in SERVICES if name != "scheduler-1"], (SERVICES,)],
    ids=lambda kills: "all at once" if len(kills[0]) > 1 else kills[0][0],
)
async def test_nothing_acknowledged_is_lost_and_the_release_goes_on(
    embedded: Embedded,
    cluster: Cluster,
    placement: PlacementClient,
    kubelet: Kubelet,
    kills: tuple[tuple[str, ...], ...],
) -> None:
    await run_through_kills(embedded, cluster, placement, kubelet, kills)


async def test_nothing_is_lost_when_each_is_killed_in_turn(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient, kubelet: Kubelet
) -> None:
    kills = (("dispatcher",), ("scheduler-1",), ("binder", "sharding"), ("dispatcher",), SERVICES)
    await run_through_kills(embedded, cluster, placement, kubelet, kills)


async def run_through_kills(
    embedded: Embedded,
    cluster: Cluster,
    placement: PlacementClient,
    kubelet: Kubelet,
    kills: tuple[tuple[str, ...], ...],
) -> None:
    """A load and a release, both half way at the kills, end as if nothing had happened."""
    await cluster.register(200)
    service = Service(embedded)
    await service.create(cpu=100)
    kubelet.floor = ROWS
    kubelet.hold(revision=2, after=RELEASED_FIRST)
    await service.update(cpu=120)
    await kubelet.held.wait()
    loads = []
    for i, victims in enumerate(kills):
        gangs = GANGS // len(kills)
        load, progress = Load(f"load-{i}/", UNITS // len(kills) - gangs, gangs), Progress()
        submitting = asyncio.create_task(load.submit(placement, progress))
        await progress.reached(0.5)
        assert not submitting.done()
        embedded.kill(*victims)
        embedded.start(*victims)
        await embedded.serving(*victims)
        await submitting
        loads.append(load)
    kubelet.let_go()
    await settled(placement)
    for load in loads:
        assert await check_fate(cluster, placement, load) == 0
    await service.until_serving(2)
    assert kubelet.floor >= ROWS - MAX_UNAVAILABLE
    await service.close()


async def test_what_has_no_room_waits_with_its_reason_after_a_crash_of_all(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient
) -> None:
    await cluster.register(50, pods=100)
    load, progress = Load("load/", 5_000, 250), Progress()
    submitting = asyncio.create_task(load.submit(placement, progress))
    await progress.reached(0.5)
    embedded.kill()
    embedded.start()
    await embedded.serving()
    await submitting
    await explained(cluster, placement, room=50 * 100)
    assert await check_fate(cluster, placement, load) > 0


async def test_a_stopped_scheduler_loses_its_units_and_its_stale_plans_change_nothing(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient
) -> None:
    await cluster.register(200)
    load, progress = Load("load/", 10_000, 500), Progress()
    submitting = asyncio.create_task(load.submit(placement, progress))
    await progress.reached(0.3)
    embedded.signal("scheduler-0", signal.SIGSTOP)
    await submitting
    await settled(placement)
    embedded.signal("scheduler-0", signal.SIGCONT)
    again = Load("again/", 2_000, 100)
    await again.submit(placement)
    await settled(placement)
    assert await check_fate(cluster, placement, load) == 0
    assert await check_fate(cluster, placement, again) == 0


async def test_nodes_disappear_while_plans_name_them(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient
) -> None:
    names = await cluster.register(200)
    load, progress = Load("load/", 8_000, 500), Progress()
    submitting = asyncio.create_task(load.submit(placement, progress))
    await progress.reached(0.5)
    gone = set(names[::10])
    reply = await cluster.stub.Remove(cluster_pb2.RemoveRequest(names=sorted(gone)), timeout=30.0)
    assert not reply.refused
    await submitting
    await settled(placement)
    claims = await cluster.claims()
    await cluster.audit()
    assert gone.isdisjoint(claims.values())
    units = await placement.units(placement_pb2.ListRequest(prefix=load.prefix))
    words = {unit.word for unit in units}
    assert words <= {"BOUND", "FAILED"}
    assert len(units) == len(load.replicas)
