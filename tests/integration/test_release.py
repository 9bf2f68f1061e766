"""Services against the real dispatcher: released, stopped by a bad version, repaired, ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from godel.v1 import cluster_pb2, placement_pb2, release_pb2, types_pb2
from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster
from tests.integration.embedded import Embedded
from tests.integration.kubelet import Kubelet
from tests.integration.services import MAX_UNAVAILABLE, REPLICAS_PER_ROW, ROWS, Service
from tests.waiting import until

IMPOSSIBLE_CPU = 1 << 40
FLOOR = ROWS - MAX_UNAVAILABLE


@pytest.fixture
def embedded(shared: Embedded) -> Embedded:
    """One home for all of them: each has a service of its own."""
    return shared


@asynccontextmanager
async def a_service(
    embedded: Embedded, name: str, place: types_pb2.Place.ValueType = types_pb2.PLACE_KEEP
) -> AsyncIterator[tuple[Service, Kubelet]]:
    """A service whose rows all serve on version 1."""
    kubelet = Kubelet(embedded.address("dispatcher"), f"{name}/", REPLICAS_PER_ROW)
    reporting = asyncio.create_task(kubelet.run())
    service = Service(embedded, name, place)
    try:
        await service.create(cpu=100)
        await until("the nodes see it", lambda: _true(lambda: len(kubelet.serving) == ROWS))
        kubelet.floor = ROWS
        yield service, kubelet
    finally:
        await service.close()
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


async def _true(condition: Callable[[], bool]) -> bool:
    return condition()


async def rows_of(service: Service) -> dict[int, release_pb2.RowView]:
    view = await service.view()
    return {} if view is None else {row.ordinal: row for row in view.rows}


@pytest.mark.parametrize("place", ["keep", "anywhere"])
async def test_a_release_keeps_its_floor_and_keep_keeps_the_nodes(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient, place: str
) -> None:
    await cluster.register(20)
    number = types_pb2.PLACE_KEEP if place == "keep" else types_pb2.PLACE_ANYWHERE
    async with a_service(embedded, f"by-{place}", number) as (service, kubelet):
        before = await nodes_of(placement, f"by-{place}/")
        await service.update(cpu=200)
        await service.until_serving(2)
        after = await nodes_of(placement, f"by-{place}/")
        assert FLOOR <= kubelet.floor < ROWS
        assert before.keys() == after.keys()
        if place == "keep":
            assert before == after
    await cluster.audit()


async def nodes_of(placement: PlacementClient, prefix: str) -> dict[tuple[str, int, int], str]:
    """Node per replica."""
    found: dict[tuple[str, int, int], str] = {}
    for unit in await placement.units(placement_pb2.ListRequest(prefix=prefix)):
        view = await placement.get(unit.key)
        found |= {(view.key, r.group, r.ordinal): r.node for r in view.replicas}
    return found


async def test_a_version_that_fits_nowhere_stops_at_the_bound_and_is_rolled_back(
    embedded: Embedded, cluster: Cluster
) -> None:
    await cluster.register(20)
    async with a_service(embedded, "stuck", types_pb2.PLACE_ANYWHERE) as (service, kubelet):
        await service.update(cpu=IMPOSSIBLE_CPU)

        async def is_stuck() -> bool:
            rows = (await rows_of(service)).values()
            waiting = [row for row in rows if not row.is_ready]
            return len(waiting) == MAX_UNAVAILABLE and all(
                "insufficient cpu" in row.why for row in waiting
            )

        await until("the release says why it stands still", is_stuck)
        untouched = {o for o, row in (await rows_of(service)).items() if row.is_ready}
        await service.update(cpu=100)
        await service.until_serving(1)
        assert kubelet.floor >= FLOOR
        revisions = {row.ordinal: row.revision for row in (await rows_of(service)).values()}
        assert {o for o, revision in revisions.items() if revision == 1} == untouched


async def test_rows_on_a_node_that_is_gone_come_back_elsewhere(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient
) -> None:
    await cluster.register(20)
    async with a_service(embedded, "moved") as (service, _):
        node = next(iter((await nodes_of(placement, "moved/")).values()))
        await cluster.stub.Remove(cluster_pb2.RemoveRequest(names=[node]), timeout=30.0)

        async def is_whole_elsewhere() -> bool:
            rows = await rows_of(service)
            if len(rows) != ROWS or not all(row.is_ready for row in rows.values()):
                return False
            live = {row.key for row in rows.values()}
            found = await nodes_of(placement, "moved/")
            return node not in {at for (key, _, _), at in found.items() if key in live}

        await until("all rows serve without the node", is_whole_elsewhere)
        assert node not in (await cluster.claims()).values()


async def test_a_deleted_service_gives_all_its_room_back(
    embedded: Embedded, cluster: Cluster
) -> None:
    await cluster.register(20)
    before = await cluster.claims()
    async with a_service(embedded, "ended") as (service, _):
        assert len(await cluster.claims()) == len(before) + ROWS * REPLICAS_PER_ROW
        await service.delete()

        async def is_gone() -> bool:
            return await service.view() is None and await cluster.claims() == before

        await until("its room is free", is_gone)
