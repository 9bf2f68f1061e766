"""Fixtures: an embedded home with all services up, and clients of its APIs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster
from tests.integration.embedded import Embedded


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Embedded]:
    """Nothing runs yet; the logs are shown when the test fails."""
    embedded = Embedded()
    failed_before = request.session.testsfailed
    yield embedded
    if request.session.testsfailed > failed_before:
        for path in sorted(embedded.state.glob("*.log")):
            print(f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}")
    embedded.remove()


@pytest.fixture(scope="module")
def shared() -> Iterator[Embedded]:
    """One home for tests that disturb nobody; each uses keys of its own."""
    embedded = Embedded()
    embedded.start()
    asyncio.run(embedded.serving())
    yield embedded
    embedded.remove()


@pytest.fixture
async def embedded(home: Embedded) -> Embedded:
    """All services serve."""
    home.start()
    await home.serving()
    return home


@pytest.fixture
async def cluster(embedded: Embedded) -> AsyncIterator[Cluster]:
    """A client of the Cluster API."""
    client = Cluster(embedded)
    yield client
    await client.close()


@pytest.fixture
async def placement(embedded: Embedded) -> AsyncIterator[PlacementClient]:
    """A client of the Placement API."""
    async with PlacementClient(embedded.address("dispatcher")) as client:
        yield client
