"""The Placement API over a real socket: streams, refusals in band, snapshots without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest

from cell.messages import Submit
from cell.reasons import Status
from godel.v1 import placement_pb2, types_pb2
from runtime.link_rpc import END
from runtime.placement_client import PlacementClient, StreamBroken
from tests.unit.runtime.placement_world import (
    LeashedStore,
    World,
    a_batch,
    a_class,
    a_unit,
    a_world,
    some_changes,
)
from tests.unit.runtime.shells import until

pb: Any = placement_pb2


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as made:
        yield made


async def read(call: Any) -> Any:
    async with asyncio.timeout(10):
        return await call.read()


async def submitted(call: Any, batch: int, units: Iterable[Any], *classes: Any) -> Any:
    await call.write(a_batch(batch, units, *classes))
    return await read(call)


def refusals(reply: Any) -> list[tuple[int, int, str]]:
    return [(each.index, each.code, each.field) for each in reply.refused]


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(10):
        return await call.code(), await call.details()


# Submit


async def test_replies_come_in_order_and_behind_the_record(world: World) -> None:
    world.store.is_held = True
    call = world.stub.Submit()
    await call.write(a_batch(7, [a_unit("a")], a_class()))
    await call.write(a_batch(8, [a_unit("b", number=9)]))
    await call.write(a_batch(9, [a_unit("c")]))
    await until(lambda: world.store.held_count == 2)
    reads = asyncio.ensure_future(read(call))
    await asyncio.wait([reads], timeout=0.05)
    assert not reads.done()
    world.store.let_go()
    replies = [await reads, await read(call), await read(call)]
    assert [(r.batch, r.count, len(r.refused)) for r in replies] == [
        (7, 1, 0),
        (8, 1, 1),
        (9, 1, 0),
    ]


async def test_the_stream_ends_when_all_is_answered(world: World) -> None:
    world.store.is_held = True
    call = world.stub.Submit()
    await call.write(a_batch(1, [a_unit("a")], a_class()))
    await call.done_writing()
    await until(lambda: world.store.held_count == 1)
    world.store.let_go()
    assert (await read(call)).batch == 1
    assert await read(call) is END
    assert await call.code() is grpc.StatusCode.OK


async def test_items_refused_by_either_side_keep_their_index(world: World) -> None:
    call = world.stub.Submit()
    units = [
        a_unit("bad-0"),
        a_unit("p", policy=pb.UnitPolicy(queue="q")),
        a_unit("a"),
        a_unit("u", number=5),
        a_unit("bad-4"),
    ]
    reply = await submitted(call, 1, units, a_class())
    assert refusals(reply) == [
        (0, Status.RESOURCE_EXHAUSTED, "key"),
        (1, Status.UNIMPLEMENTED, "policy.queue"),
        (3, Status.INVALID_ARGUMENT, "groups[0].class_number"),
        (4, Status.RESOURCE_EXHAUSTED, "key"),
    ]
    assert reply.refused[0].retry_after_ms == 250
    assert reply.count == 5
    assert set(world.core.units_by_key) == {"a"}


async def test_a_batch_refused_whole_does_not_end_the_stream(world: World) -> None:
    call = world.stub.Submit()
    mixed = pb.SubmitRequest(batch=1, units=[a_unit("a")], packed={"keys": ["b"]})
    await call.write(mixed)
    assert refusals(await read(call)) == [(0, 3, "packed"), (1, 3, "packed")]
    malformed = pb.SubmitRequest(batch=2, packed={"keys": ["b"], "class_number": b"\0"})
    await call.write(malformed)
    assert refusals(await read(call)) == [(0, 3, "packed.class_number")]
    reply = await submitted(call, 3, [a_unit("a")], a_class())
    assert not reply.refused


async def test_streams_have_their_own_class_numbers(world: World) -> None:
    one, two = world.stub.Submit(), world.stub.Submit()
    await submitted(one, 1, [a_unit("a")], a_class(1, cpu=1))
    await submitted(two, 1, [a_unit("b")], a_class(1, cpu=2))
    await submitted(one, 2, [a_unit("c")])
    bodies = [body for body in world.core.requests if isinstance(body, Submit)]
    assert [body.classes[0].demand[0][1] for body in bodies] == [1, 2, 1]


async def test_window_holds_the_client_back(tmp_path: Path) -> None:
    async with a_world(tmp_path, submit_batches_max=3) as world:
        world.store.is_held = True
        call = world.stub.Submit()
        for batch in range(10):
            await call.write(a_batch(batch, [a_unit(f"k{batch}")], a_class()))
        await until(lambda: world.store.held_count == 3)
        other = world.stub.Submit()
        await other.write(a_batch(0, [a_unit("other")], a_class()))
        await until(lambda: "other" in world.core.units_by_key)
        assert world.store.held_count == 4
        world.store.let_go()
        assert [(await read(call)).batch for _ in range(10)] == list(range(10))


async def test_disconnect_in_the_middle_disturbs_nothing(world: World) -> None:
    world.store.is_held = True
    gone, stays = world.stub.Submit(), world.stub.Submit()
    await gone.write(a_batch(1, [a_unit("a")], a_class()))
    await stays.write(a_batch(1, [a_unit("b")], a_class()))
    await until(lambda: world.store.held_count == 2)
    gone.cancel()
    world.store.let_go()
    assert (await read(stays)).count == 1
    assert set(world.core.units_by_key) == {"a", "b"}
    assert not (await submitted(stays, 2, [a_unit("c")])).refused


async def test_garbage_ends_only_its_stream(world: World) -> None:
    stays = world.stub.Submit()
    await submitted(stays, 1, [a_unit("a")], a_class())
    garbage = world.channel.stream_stream("/godel.v1.Placement/Submit")()
    await garbage.write(b"\xff\xff\xff\xff")
    assert (await status_of(garbage))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert not (await submitted(stays, 2, [a_unit("b")])).refused
    assert (await world.stub.Get(pb.GetRequest(key="b"))).key == "b"


async def test_too_many_items_end_their_call_at_once(tmp_path: Path) -> None:
    async with a_world(tmp_path, items_max=2) as world:
        stays = world.stub.Submit()
        units = [a_unit("a"), a_unit("b")]
        assert not (await submitted(stays, 1, units, a_class())).refused
        call = world.stub.Submit()
        await call.write(a_batch(1, [a_unit("c")] * 3, a_class()))
        cancel = world.stub.Cancel(pb.CancelRequest(keys=["a"] * 3))
        for ended in (call, cancel):
            code, details = await status_of(ended)
            assert (code, "limit 2" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        assert set(world.core.units_by_key) == {"a", "b"}
        assert not (await submitted(stays, 2, units)).refused


async def test_too_many_classes_end_the_stream_with_a_status(tmp_path: Path) -> None:
    async with a_world(tmp_path, classes_max=1) as world:
        call = world.stub.Submit()
        await submitted(call, 1, [a_unit("a")], a_class(1, cpu=1))
        await call.write(a_batch(2, [a_unit("b")], a_class(2, cpu=2)))
        assert (await status_of(call))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_nothing_is_accepted_while_the_store_is_at_fault(world: World) -> None:
    why, want_code = "database or disk is full", Status.UNAVAILABLE
    call = world.stub.Submit()
    world.store.fail(why)
    await until(lambda: world.shell.store_fault == why)
    reply = await submitted(call, 1, [a_unit("a"), a_unit("x", number=8)], a_class())
    assert [each.code for each in reply.refused] == [want_code, Status.INVALID_ARGUMENT]
    assert why in reply.refused[0].reason
    assert reply.refused[0].retry_after_ms > 0
    cancelled = await world.stub.Cancel(pb.CancelRequest(keys=["a"]))
    assert [each.code for each in cancelled.refused] == [want_code]
    assert not world.core.requests
    world.store.fail("")
    await until(lambda: not world.shell.store_fault)
    assert not (await submitted(call, 2, [a_unit("a")])).refused


# Cancel, Amend, Report


async def test_batches_answer_by_index(world: World) -> None:
    amend = pb.AmendRequest(
        classes=[a_class(2)],
        items=[
            {"key": "a", "revision": 2, "groups": [{"class_number": 2}], "intent": "x"},
            {"key": "bad", "revision": 2, "groups": [{"class_number": 2}]},
        ],
    )
    report = pb.ReportRequest(items=[{"key": "a", "group": 300}, {"key": "bad", "phase": 4}])
    for reply in (await world.stub.Amend(amend), await world.stub.Report(report)):
        assert reply.count == 2
        assert [each.index for each in reply.refused] == [0, 1]
        assert reply.refused[1].code == Status.RESOURCE_EXHAUSTED
    reply = await world.stub.Cancel(pb.CancelRequest(keys=["a", "bad", "c"]))
    assert (reply.count, refusals(reply)) == (3, [(1, 8, "key")])


# Get and List


async def test_get_shows_a_unit_or_says_not_found(world: World) -> None:
    await submitted(world.stub.Submit(), 1, [a_unit("a")], a_class())
    view = await world.stub.Get(pb.GetRequest(key="a"))
    assert (view.key, view.word, view.replicas[0].phase) == (
        "a",
        "WAITING",
        types_pb2.PHASE_WAITING,
    )
    code, details = await status_of(world.stub.Get(pb.GetRequest(key="b")))
    assert (code, "'b'" in details) == (grpc.StatusCode.NOT_FOUND, True)


async def test_reader_is_shown_only_what_is_durable(tmp_path: Path) -> None:
    async with a_world(tmp_path, wait_ms_max=50) as world:
        world.store.is_held = True
        await world.stub.Submit().write(a_batch(1, [a_unit("a")], a_class()))
        await until(lambda: world.store.held_count == 1)
        code, _ = await status_of(world.stub.Get(pb.GetRequest(key="a")))
        assert code is grpc.StatusCode.UNAVAILABLE
        world.store.let_go()
        assert (await world.stub.Get(pb.GetRequest(key="a"))).key == "a"


async def test_list_has_the_counts_first_and_units_in_pages(tmp_path: Path) -> None:
    async with a_world(tmp_path, message_rows_max=4) as world:
        units = [a_unit(f"u{i}") for i in range(9)]
        await submitted(world.stub.Submit(), 1, [*units, a_unit("v")], a_class())
        replies = [reply async for reply in world.stub.List(pb.ListRequest(prefix="u"))]
        assert dict(replies[0].summary.words) == {"WAITING": 10}
        assert not any(reply.HasField("summary") for reply in replies[1:])
        assert [[unit.key for unit in reply.units] for reply in replies[1:]] == [
            ["u0", "u1"],
            ["u2", "u3"],
            ["u4", "u5"],
            ["u6", "u7"],
            ["u8"],
        ]
        only = [reply async for reply in world.stub.List(pb.ListRequest(is_summary=True))]
        assert [len(reply.units) for reply in only] == [0]
        code, _ = await status_of(world.stub.List(pb.ListRequest(word="nonsense")))
        assert code is grpc.StatusCode.INVALID_ARGUMENT


# Watch


async def test_snapshot_has_no_gap_and_nothing_twice(world: World) -> None:
    submits = world.stub.Submit()
    await submitted(submits, 1, [a_unit("a"), a_unit("z")], a_class())
    world.store.is_held = True
    await submits.write(a_batch(2, [a_unit("a-late")]))
    await until(lambda: world.store.held_count == 1)
    watch = world.stub.Watch(pb.WatchRequest(prefix="a", is_snapshot_wanted=True))
    reads = asyncio.ensure_future(read(watch))
    await asyncio.wait([reads], timeout=0.05)
    assert not reads.done()
    await submits.write(a_batch(3, [a_unit("a-later")]))
    await until(lambda: world.store.held_count == 2)
    world.store.let_go()
    reply, shown = await reads, []
    while not reply.is_snapshot_end:
        shown += [view.key for view in reply.snapshot]
        assert not reply.changes
        reply = await read(watch)
    assert shown == ["a", "a-late"]
    assert [change.key for change in (await read(watch)).changes] == ["a-later"]


async def test_watch_without_a_snapshot_says_when_it_has_begun(world: World) -> None:
    await submitted(world.stub.Submit(), 1, [a_unit("a")], a_class())
    watch = world.stub.Watch(pb.WatchRequest(is_packed=True))
    first = await read(watch)
    assert (first.is_snapshot_end, len(first.snapshot)) == (True, 0)
    world.publish(some_changes(["a", "b"], node="n1", at_us=77))
    reply = await read(watch)
    assert (reply.at_us, list(reply.packed.keys), list(reply.packed.nodes)) == (
        77,
        ["a", "b"],
        ["n1"],
    )


async def test_watchers_come_and_go(world: World) -> None:
    watches = [world.stub.Watch(pb.WatchRequest(is_packed=packed)) for packed in (True, False)]
    for watch in watches:
        await read(watch)
    assert world.servicer.hub.watchers_count == 2
    watches[0].cancel()
    await until(lambda: world.servicer.hub.watchers_count == 1)
    world.publish(some_changes(["a"]))
    assert [change.key for change in (await read(watches[1])).changes] == ["a"]


async def test_slow_watcher_is_cut_off_and_told_why(tmp_path: Path) -> None:
    async with a_world(tmp_path, watch_rows_max=4) as world:
        slow = world.stub.Watch(pb.WatchRequest(prefix="s"))
        other = world.stub.Watch(pb.WatchRequest(prefix="o"))
        await read(slow)
        await read(other)
        for _ in range(5):
            world.publish(some_changes(["s"]))
        world.publish(some_changes(["o"]))
        code, _ = await status_of(slow)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert [change.key for change in (await read(other)).changes] == ["o"]


async def test_peer_that_does_not_read_is_cut_off_and_keeps_what_it_got(tmp_path: Path) -> None:
    async with a_world(tmp_path, watch_rows_max=4000) as world:
        watch = world.stub.Watch(pb.WatchRequest(is_packed=True))
        await read(watch)
        keys = [f"{i:0200}" for i in range(1000)]
        hub = world.servicer.hub
        (watcher,) = next(iter(hub._audiences.values())).watchers
        published = 0
        async with asyncio.timeout(20):
            while not watcher.is_cut:
                world.publish(some_changes(keys))
                published += 1
                await asyncio.sleep(0)
        got = 0

        async def read_all() -> None:
            nonlocal got
            while (reply := await read(watch)) is not END:
                assert list(reply.packed.keys[:1000]) == keys
                got += len(reply.packed.keys) // 1000

        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read_all()
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert got < published


async def test_watchers_have_a_limit(tmp_path: Path) -> None:
    async with a_world(tmp_path, watchers_max=1) as world:
        first = world.stub.Watch(pb.WatchRequest())
        await read(first)
        for is_snapshot_wanted in (True, False):
            second = world.stub.Watch(pb.WatchRequest(is_snapshot_wanted=is_snapshot_wanted))
            assert (await status_of(second))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        await until(lambda: world.servicer.hub.watchers_count == 0)


async def test_watch_that_ends_before_its_snapshot_leaves_nothing(world: World) -> None:
    world.store.is_held = True
    await world.stub.Submit().write(a_batch(1, [a_unit("a")], a_class()))
    await until(lambda: world.store.held_count == 1)
    watch = world.stub.Watch(pb.WatchRequest(is_snapshot_wanted=True))
    reads = asyncio.ensure_future(watch.read())
    await asyncio.wait([reads], timeout=0.05)
    watch.cancel()
    await asyncio.gather(reads, return_exceptions=True)
    world.store.let_go()
    await world.stub.List(pb.ListRequest(is_summary=True)).read()
    assert world.servicer.hub.watchers_count == 0


# The client of this tree


async def test_client_submits_watches_and_lists(world: World) -> None:
    async with PlacementClient(world.target) as client:
        await client.wait_ready(10)
        watch = client.watch(prefix="", is_snapshot_wanted=True)
        assert (await anext(watch)).is_snapshot_end
        number = client.class_number(types_pb2.ClassSpec(demand={"cpu": 5}))
        requests = [pb.SubmitRequest(units=[a_unit(f"u{i}", number)]) for i in range(100)]
        replies = await asyncio.gather(*[client.submit(request) for request in requests])
        assert not any(reply.refused for reply in replies)
        assert [unit.key for unit in await client.units(pb.ListRequest(count_max=2))] == [
            "u0",
            "u1",
        ]
        assert dict((await client.summary()).words) == {"WAITING": 100}
        assert not (await client.cancel(["u0"])).refused
        keys: list[str] = []
        while len(keys) < 101:
            keys += [change.key for change in (await anext(watch)).changes]
        assert keys == [*[f"u{i}" for i in range(100)], "u0"]


async def test_client_learns_that_the_stream_broke_or_tries_again(tmp_path: Path) -> None:
    store = LeashedStore()
    async with PlacementClient(f"unix:{tmp_path / 'api.sock'}") as client:
        number = client.class_number(types_pb2.ClassSpec(demand={"cpu": 5}))
        async with a_world(tmp_path, store=store) as world:
            store.is_held = True
            requests = [pb.SubmitRequest(units=[a_unit(key, number)]) for key in "ab"]
            once = asyncio.ensure_future(client.submit(requests[0]))
            again = asyncio.ensure_future(client.submit(requests[1], is_retried=True))
            await until(lambda: world.store.held_count == 2)
        with pytest.raises(StreamBroken):
            await once
        async with a_world(tmp_path) as world:
            reply = await asyncio.wait_for(again, 30)
            assert not reply.refused
            assert set(world.core.units_by_key) == {"b"}
