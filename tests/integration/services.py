"""A rollingset for integration tests: created, released, and watched for its bound."""

from __future__ import annotations

from typing import Any

import grpc

from godel.v1 import release_pb2, release_pb2_grpc, types_pb2
from tests.integration.embedded import Embedded
from tests.waiting import until

NAME = "shop"
ROWS = 12
MAX_UNAVAILABLE = 2


def rollingset(
    cpu: int, name: str = NAME, place: types_pb2.Place.ValueType = types_pb2.PLACE_KEEP
) -> release_pb2.Rollingset:
    """ROWS rows of two columns; `cpu` is what a version changes."""
    return release_pb2.Rollingset(
        name=name,
        rows=ROWS,
        max_unavailable=str(MAX_UNAVAILABLE),
        place=place,
        columns=[
            release_pb2.Column(name="web", spec=types_pb2.ClassSpec(demand={"cpu": cpu}), count=2),
            release_pb2.Column(name="cache", spec=types_pb2.ClassSpec(demand={"memory": 1 << 26})),
        ],
    )


REPLICAS_PER_ROW = 3


class Service:
    """A client of the Release API."""

    def __init__(
        self,
        embedded: Embedded,
        name: str = NAME,
        place: types_pb2.Place.ValueType = types_pb2.PLACE_KEEP,
    ) -> None:
        self._name = name
        self._place = place
        self._channel = grpc.aio.insecure_channel(embedded.address("sharding"))
        self.stub: Any = release_pb2_grpc.ReleaseStub(self._channel)

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close(None)

    def spec(self, cpu: int) -> release_pb2.Rollingset:
        """The rollingset with this version."""
        return rollingset(cpu, self._name, self._place)

    async def create(self, cpu: int) -> None:
        """Create the rollingset and wait until all its rows serve."""
        request = release_pb2.CreateRequest(spec=self.spec(cpu))
        await self.stub.Create(request, wait_for_ready=True, timeout=30.0)
        await self.until_serving(1)

    async def delete(self) -> None:
        """Begin its end."""
        await self.stub.Delete(release_pb2.DeleteRequest(name=self._name), timeout=30.0)

    async def update(self, cpu: int) -> None:
        """Release a new version."""
        request = release_pb2.UpdateRequest(spec=self.spec(cpu))
        await self.stub.Update(request, wait_for_ready=True, timeout=30.0)

    async def until_serving(self, version: int) -> None:
        """Wait until every row serves on the version."""

        async def is_serving() -> bool:
            view = await self.view()
            return view is not None and any(
                v.version == version and v.ready == ROWS for v in view.versions
            )

        await until(f"version {version} serves", is_serving)

    async def view(self) -> release_pb2.RollingsetView | None:
        """The rollingset as it is; None while the controller does not answer."""
        request = release_pb2.GetRollingsetRequest(name=self._name)
        try:
            view: release_pb2.RollingsetView = await self.stub.GetRollingset(request, timeout=5.0)
        except grpc.RpcError:
            return None
        return view
