"""Clients that behave badly: clear status, and nothing else is disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from cell.reasons import Status
from cell.unit import uid_of
from godel.v1 import placement_pb2, placement_pb2_grpc, types_pb2
from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster
from tests.integration.embedded import SERVICES, SERVING, Embedded
from tests.waiting import until

pb = placement_pb2


def request(spec: types_pb2.ClassSpec, key: str = "bad", **group: Any) -> pb.SubmitRequest:
    """One unit of one class."""
    unit = pb.Unit(key=key, groups=[types_pb2.Group(class_number=7, **group)])
    return pb.SubmitRequest(
        batch=1, classes=[types_pb2.ClassEntry(number=7, spec=spec)], units=[unit]
    )


@dataclass(frozen=True)
class Case:
    """One bad request."""

    name: str
    body: pb.SubmitRequest
    want_status: Status
    want_field: str


GOOD = types_pb2.ClassSpec(demand={"cpu": 100})
UNKNOWN = pb.SubmitRequest(
    batch=1, units=[pb.Unit(key="bad", groups=[types_pb2.Group(class_number=99)])]
)
CASES = [
    Case("an unknown class", UNKNOWN, Status.INVALID_ARGUMENT, "class_number"),
    Case(
        "a negative request",
        request(types_pb2.ClassSpec(demand={"cpu": -1})),
        Status.INVALID_ARGUMENT,
        "demand[cpu]",
    ),
    Case(
        "an absurd label",
        request(types_pb2.ClassSpec(selector={"x" * 5_000: "y"})),
        Status.INVALID_ARGUMENT,
        "selector",
    ),
    Case("an empty key", request(GOOD, key=""), Status.INVALID_ARGUMENT, "key"),
    Case(
        "a minimum above the count",
        request(GOOD, count=2, min=3),
        Status.INVALID_ARGUMENT,
        "min",
    ),
    Case(
        "a queue, which is not acted on yet",
        pb.SubmitRequest(
            batch=1,
            classes=[types_pb2.ClassEntry(number=7, spec=GOOD)],
            units=[
                pb.Unit(
                    key="bad",
                    groups=[types_pb2.Group(class_number=7)],
                    policy=pb.UnitPolicy(queue="team-a"),
                )
            ],
        ),
        Status.UNIMPLEMENTED,
        "queue",
    ),
]


@pytest.fixture
def embedded(shared: Embedded) -> Embedded:
    """One home for all of them: each must leave it as well as it was."""
    return shared


@pytest.fixture
async def stub(embedded: Embedded) -> AsyncIterator[Any]:
    """The generated stub on a channel of its own."""
    async with grpc.aio.insecure_channel(embedded.address("dispatcher")) as channel:
        yield placement_pb2_grpc.PlacementStub(channel)


async def bound(placement: PlacementClient, key: str) -> None:
    """Wait until a unit is bound."""

    async def is_bound() -> bool:
        return (await placement.get(key)).word == "BOUND"

    await until(f"{key} is bound", is_bound)


async def test_bad_items_are_refused_in_band_and_the_stream_goes_on(
    cluster: Cluster, placement: PlacementClient, stub: Any
) -> None:
    await cluster.register(2)
    for case in CASES:
        after = f"after/{case.name.replace(' ', '-')}"
        call = stub.Submit()
        await call.write(case.body)
        reply = await call.read()
        assert [refused.index for refused in reply.refused] == [0], case.name
        assert reply.refused[0].code == case.want_status, (case.name, reply.refused[0])
        assert case.want_field in reply.refused[0].field, (case.name, reply.refused[0])
        assert reply.refused[0].reason, case.name
        await call.write(
            pb.SubmitRequest(
                batch=2,
                classes=[types_pb2.ClassEntry(number=8, spec=GOOD)],
                units=[pb.Unit(key=after, groups=[types_pb2.Group(class_number=8)])],
            )
        )
        reply = await call.read()
        assert (reply.batch, list(reply.refused)) == (2, []), case.name
        await call.done_writing()
        await bound(placement, after)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await placement.get("bad")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_the_same_key_is_one_unit_and_other_content_is_refused(
    cluster: Cluster, placement: PlacementClient, stub: Any
) -> None:
    await cluster.register(2)
    call = stub.Submit()
    for _ in range(3):
        await call.write(request(GOOD, key="once"))
        assert not (await call.read()).refused
    await call.write(request(GOOD, key="once", count=2))
    reply = await call.read()
    assert [refused.code for refused in reply.refused] == [Status.ALREADY_EXISTS]
    await call.done_writing()
    await bound(placement, "once")
    assert [uid for uid, _, _ in await cluster.claims()].count(uid_of("once")) == 1


async def test_bytes_that_are_no_protocol_disturb_no_listener(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient
) -> None:
    await cluster.register(2)
    for path in sorted(embedded.state.glob("*.sock")):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 64, b""):
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(garbage)
            with suppress(ConnectionError):
                await writer.drain()
            writer.close()
    assert [await embedded.health(name) for name in SERVICES] == [SERVING] * len(SERVICES)
    unit = pb.Unit(
        key="unmoved", groups=[types_pb2.Group(class_number=placement.class_number(GOOD))]
    )
    assert not (await placement.submit(pb.SubmitRequest(units=[unit]))).refused
    await bound(placement, "unmoved")


async def test_disconnect_and_garbage_end_their_own_stream_only(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient, stub: Any
) -> None:
    await cluster.register(2)
    leaving = stub.Submit()
    await leaving.write(request(GOOD, key="left"))
    leaving.cancel()
    async with grpc.aio.insecure_channel(embedded.address("dispatcher")) as channel:
        untyped: Any = channel
        garbage = untyped.stream_stream("/godel.v1.Placement/Submit")()
        await garbage.write(b"\xff\xff\xff not a message")
        with pytest.raises(grpc.aio.AioRpcError):
            await garbage.read()
    number = placement.class_number(GOOD)
    unit = pb.Unit(key="calm", groups=[types_pb2.Group(class_number=number)])
    reply = await placement.submit(pb.SubmitRequest(units=[unit]))
    assert not reply.refused
    await bound(placement, "calm")
