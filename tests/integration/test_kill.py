"""kill -9 of each service, and of all at once, in the middle of a load and a release."""

from __future__ import annotations

import asyncio
import signal

import pytest

from godel.v1 import cluster_pb2, placement_pb2
from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster
from tests.integration.embedded import Embedded
from tests.integration.load import Load, check_fate, kubelet, settled
from tests.integration.services import MAX_UNAVAILABLE, NAME, ROWS, Service

UNITS = 20_000


@pytest.mark.parametrize(
    "victims",
    [("binder",), ("dispatcher",), ("scheduler-0",), ("sharding",), ()],
    ids=["binder", "dispatcher", "scheduler", "sharding", "all at once"],
)
async def test_nothing_acknowledged_is_lost_and_the_release_goes_on(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient, victims: tuple[str, ...]
) -> None:
    await cluster.register(200)
    service = Service(embedded)
    node = asyncio.create_task(kubelet(embedded.address("dispatcher"), f"{NAME}/"))
    await service.create(cpu=100)
    load, at_half = Load("load/", UNITS - 1_000, 1_000), asyncio.Event()
    await service.update(cpu=120)
    submitting = asyncio.create_task(load.submit(placement, at_half))
    await asyncio.wait(
        {submitting, asyncio.ensure_future(at_half.wait())}, return_when="FIRST_COMPLETED"
    )
    embedded.kill(*victims)
    embedded.start(*victims)
    await embedded.serving(*victims)
    await submitting
    await settled(placement)
    assert await check_fate(cluster, placement, load) == 0
    await service.until_serving(2)
    assert service.ready_rows_min >= ROWS - MAX_UNAVAILABLE
    node.cancel()
    await asyncio.gather(node, return_exceptions=True)
    await service.close()


async def test_what_has_no_room_waits_with_its_reason_after_a_crash_of_all(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient
) -> None:
    await cluster.register(50, pods=100)
    load, at_half = Load("load/", 5_000, 250), asyncio.Event()
    submitting = asyncio.create_task(load.submit(placement, at_half))
    await at_half.wait()
    embedded.kill()
    embedded.start()
    await embedded.serving()
    await submitting
    room, wanted = 50 * 100, sum(load.replicas.values())
    await settled(placement, waiting_max=wanted - room)
    assert await check_fate(cluster, placement, load) >= (wanted - room) // 4
    nodes = await cluster.nodes()
    left = sum(100 - node.used["pods"] for node in nodes.values())
    assert left < 4, f"{left} slots are free while units of one to four replicas wait"


async def test_a_stopped_scheduler_loses_its_units_and_its_stale_plans_change_nothing(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient
) -> None:
    await cluster.register(200)
    load, at_half = Load("load/", 10_000, 500), asyncio.Event()
    submitting = asyncio.create_task(load.submit(placement, at_half))
    await at_half.wait()
    embedded.signal("scheduler-0", signal.SIGSTOP)
    await submitting
    await settled(placement)
    embedded.signal("scheduler-0", signal.SIGCONT)
    again = Load("again/", 2_000, 100)
    await again.submit(placement, asyncio.Event())
    await settled(placement)
    assert await check_fate(cluster, placement, load) == 0
    assert await check_fate(cluster, placement, again) == 0


async def test_nodes_disappear_while_plans_name_them(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient
) -> None:
    names = await cluster.register(200)
    load, at_half = Load("load/", 8_000, 500), asyncio.Event()
    submitting = asyncio.create_task(load.submit(placement, at_half))
    await at_half.wait()
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
