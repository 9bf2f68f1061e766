"""The Placement API over the real dispatcher core and a real store: what a client can rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cell import record
from cell.reasons import Status
from dispatcher.core import DispatcherCore
from dispatcher.records import Record
from godel.v1 import placement_pb2, types_pb2
from runtime.store import Store
from tests.unit.runtime.placement_world import World, a_batch, a_class, a_unit, a_world

pb: Any = placement_pb2


@asynccontextmanager
async def a_dispatcher(tmp_path: Path) -> AsyncIterator[World]:
    """A dispatcher without peers over the store in `tmp_path`; again: it restarts."""
    store = Store(tmp_path / "dispatcher.db")
    core = DispatcherCore(store.term)
    decoder = record.decoder(Record)
    core.restore([decoder.decode(blob) for blob in store.records()])
    try:
        async with a_world(tmp_path, core=core, store=store) as world:
            yield world
    finally:
        store.close()


async def submitted(world: World, *batches: Any) -> list[Any]:
    call = world.stub.Submit()
    for batch in batches:
        await call.write(batch)
    async with asyncio.timeout(10):
        return [await call.read() for _ in batches]


async def keys_of(world: World, **fields: Any) -> list[str]:
    replies = [reply async for reply in world.stub.List(pb.ListRequest(**fields))]
    return [unit.key for reply in replies for unit in reply.units]


def codes(reply: Any) -> list[tuple[int, int]]:
    return [(each.index, each.code) for each in reply.refused]


async def test_acknowledged_units_survive_a_restart_and_are_known_again(tmp_path: Path) -> None:
    batch = a_batch(1, [a_unit("a"), a_unit("b", priority=5)], a_class(1, cpu=100))
    async with a_dispatcher(tmp_path) as world:
        (reply,) = await submitted(world, batch)
        assert (reply.count, codes(reply)) == (2, [])
    async with a_dispatcher(tmp_path) as world:
        assert await keys_of(world) == ["a", "b"]
        assert (await world.stub.Get(pb.GetRequest(key="b"))).priority == 5
        again, other = await submitted(
            world, batch, a_batch(2, [a_unit("a", number=2)], a_class(2, cpu=200))
        )
        assert codes(again) == []
        assert codes(other) == [(0, Status.ALREADY_EXISTS)]


async def test_bad_units_are_refused_beside_good_ones(tmp_path: Path) -> None:
    units = [
        a_unit(""),
        a_unit("x" * 300),
        a_unit("high", priority=2_000_000_000),
        a_unit("unknown", number=9),
        pb.Unit(key="many", groups=[{"class_number": 1, "count": 1_000_000}]),
        pb.Unit(key="least", groups=[{"class_number": 1, "count": 2, "min": 3}]),
        a_unit("good"),
        a_unit("queue", policy=pb.UnitPolicy(queue="q")),
    ]
    async with a_dispatcher(tmp_path) as world:
        (reply,) = await submitted(world, a_batch(1, units, a_class(1, cpu=1)))
        invalid, unimplemented = int(Status.INVALID_ARGUMENT), int(Status.UNIMPLEMENTED)
        assert codes(reply) == [*((i, invalid) for i in range(6)), (7, unimplemented)]
        assert all(each.field and each.reason for each in reply.refused)
        assert await keys_of(world) == ["good"]


async def test_packed_units_become_what_rows_become(tmp_path: Path) -> None:
    group = {"class_number": 1, "count": 3, "min": 2, "role": "worker", "pin": "n1"}
    rows = a_batch(1, [pb.Unit(key="rows", priority=7, groups=[group])], a_class(1, cpu=1))
    columns = pb.SubmitRequest(
        batch=2,
        packed=pb.PackedUnits(
            keys=["columns"],
            priority=np.array([7], "<i4").tobytes(),
            class_number=np.array([1], "<u4").tobytes(),
            count=np.array([3], "<u4").tobytes(),
            min=np.array([2], "<u4").tobytes(),
            roles=["worker"],
            pin=np.array([0], "<i4").tobytes(),
            pins=["n1"],
        ),
    )
    async with a_dispatcher(tmp_path) as world:
        for reply in await submitted(world, rows, columns):
            assert codes(reply) == []
        views = [await world.stub.Get(pb.GetRequest(key=key)) for key in ("rows", "columns")]
        for view in views:
            assert len(view.replicas) == 3
            view.ClearField("key")
            view.ClearField("uid")
            view.ClearField("submitted_at_us")
        assert views[0] == views[1]


async def test_cancelled_unit_is_told_to_watchers_and_listed(tmp_path: Path) -> None:
    async with a_dispatcher(tmp_path) as world:
        await submitted(world, a_batch(1, [a_unit("a"), a_unit("b")], a_class(1, cpu=1)))
        watch = world.stub.Watch(pb.WatchRequest(prefix="a", is_snapshot_wanted=True))
        first = await watch.read()
        assert [(view.key, view.word) for view in first.snapshot] == [("a", "WAITING")]
        assert (await watch.read()).is_snapshot_end
        reply = await world.stub.Cancel(pb.CancelRequest(keys=["a", "b", "nobody"]))
        assert reply.count == 3
        async with asyncio.timeout(10):
            told = await watch.read()
        assert {(change.key, change.phase) for change in told.changes} == {
            ("a", types_pb2.PHASE_CANCELLED)
        }
        assert (await world.stub.Get(pb.GetRequest(key="a"))).word == "CANCELLED"
        assert await keys_of(world, word="CANCELLED") == ["a", "b"]


async def test_summary_counts_by_word_and_by_reason(tmp_path: Path) -> None:
    async with a_dispatcher(tmp_path) as world:
        units = [a_unit(f"u{i}") for i in range(5)]
        await submitted(world, a_batch(1, units, a_class(1, cpu=1)))
        (reply,) = [r async for r in world.stub.List(pb.ListRequest(is_summary=True))]
        assert dict(reply.summary.words) == {"WAITING": 5}
        assert sum(reply.summary.why.values()) == 5
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await world.stub.Get(pb.GetRequest(key="u9"))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
