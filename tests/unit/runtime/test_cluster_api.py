"""The Cluster API over a real socket, in front of the real binder core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from binder.core import BinderCore
from cell.effects import Persist, Publish, Received
from cell.messages import ClaimRows, ClaimState, LedgerChanges
from cell.reasons import Status
from godel.v1 import cluster_pb2, cluster_pb2_grpc
from runtime.cluster_api import CLAIMS_PER_MESSAGE, ClusterLimits, ClusterServicer, ledger_replies
from runtime.link_rpc import END
from runtime.loop import Shell
from runtime.servers import Listener
from tests.unit.runtime.shells import HandStore, ScriptedCore, a_shell, turns, until

pb = cluster_pb2


@asynccontextmanager
async def served(
    shell: Shell, core: Any, path: Path, limits: ClusterLimits | None = None
) -> AsyncIterator[Any]:
    """A stub of a Cluster service."""
    servicer = ClusterServicer(shell, core, limits)
    listener = Listener(
        f"unix:{path}/b.sock",
        [],
        [servicer.add_to],
    )
    await listener.start()
    async with grpc.aio.insecure_channel(f"unix:{path}/b.sock") as channel:
        yield cluster_pb2_grpc.ClusterStub(channel)
    await listener.stop()


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Any]:
    core = BinderCore(1)
    async with served(a_shell(core), core, tmp_path) as made:
        yield made


async def listed(stub: Any, prefix: str = "") -> list[pb.NodeView]:
    replies = stub.ListNodes(pb.ListNodesRequest(prefix=prefix))
    return [node async for reply in replies for node in reply.nodes]


async def register(stub: Any, *nodes: pb.Node) -> Any:
    return await stub.Register(pb.RegisterRequest(nodes=nodes))


def a_node(name: str = "n", **amounts: int) -> pb.Node:
    return pb.Node(name=name, allocatable={"cpu": 1000, **amounts})


@dataclass(frozen=True)
class Case:
    name: str
    node: pb.Node
    want_field: str


BAD_NODES = [
    Case("no name", a_node(""), "name"),
    Case("an absurd name", a_node("x" * 254), "name"),
    Case("a negative amount", a_node(cpu=-1), "allocatable[cpu]"),
    Case("an amount beyond the limit", a_node(cpu=1 << 60), "allocatable[cpu]"),
    Case("an empty label", pb.Node(name="n", labels={"": "x"}), "labels[]"),
    Case("an absurd label", pb.Node(name="n", labels={"k": "x" * 400}), "labels[k]"),
    Case(
        "an unknown effect",
        pb.Node(name="n", taints=[pb.Taint(key="k", effect="Maybe")]),
        "taints[0].effect",
    ),
]


@pytest.mark.parametrize("case", BAD_NODES, ids=[case.name for case in BAD_NODES])
async def test_a_bad_node_is_refused_by_its_field_and_its_neighbours_are_not(
    case: Case, stub: Any
) -> None:
    reply = await register(stub, a_node("before"), case.node, a_node("after"))
    assert reply.count == 3
    assert [(r.index, r.code, r.field) for r in reply.refused] == [
        (1, Status.INVALID_ARGUMENT, case.want_field)
    ]
    assert reply.refused[0].reason
    assert [node.name for node in await listed(stub)] == ["after", "before"]


async def test_a_node_is_shown_as_registered_cordoned_updated_and_removed(stub: Any) -> None:
    await register(stub, a_node("n"))
    (first,) = await listed(stub)
    assert dict(first.allocatable) == {"cpu": 1000, "pods": 110}
    assert (first.is_cordoned, first.claims, first.incarnation) == (False, 0, 1)
    await stub.Cordon(pb.CordonRequest(names=["n"], is_cordoned=True))
    assert (await listed(stub))[0].is_cordoned
    await register(stub, a_node("n", cpu=2000))
    (updated,) = await listed(stub)
    assert (updated.allocatable["cpu"], updated.is_cordoned) == (2000, False)
    assert not (await stub.Remove(pb.RemoveRequest(names=["n"]))).refused
    assert await listed(stub) == []
    await register(stub, a_node("n"))
    assert (await listed(stub))[0].incarnation == 2


async def test_unknown_nodes_are_refused_by_index(stub: Any) -> None:
    await register(stub, a_node("n"))
    reply = await stub.Cordon(pb.CordonRequest(names=["x", "n", "y"], is_cordoned=True))
    assert [(r.index, r.code) for r in reply.refused] == [
        (0, Status.NOT_FOUND),
        (2, Status.NOT_FOUND),
    ]
    assert (await listed(stub))[0].is_cordoned


async def test_a_list_comes_in_pages_in_order_and_by_prefix(stub: Any) -> None:
    names = [f"a{i:04}" for i in range(501)]
    await register(stub, *[a_node(name) for name in [*reversed(names), "b"]])
    replies = [reply async for reply in stub.ListNodes(pb.ListNodesRequest(prefix="a"))]
    assert [len(reply.nodes) for reply in replies] == [500, 1]
    assert [node.name for reply in replies for node in reply.nodes] == names


@pytest.mark.parametrize("method", ["Register", "Cordon", "Remove"])
async def test_too_many_items_are_refused_by_one_status(method: str, stub: Any) -> None:
    items: dict[str, Any] = {"nodes": [{}]} if method == "Register" else {"names": ["n"]}
    request = getattr(pb, f"{method}Request")
    reply = await getattr(stub, method)(request(**{k: v * 10_000 for k, v in items.items()}))
    assert reply.count == len(reply.refused) == 10_000
    with pytest.raises(grpc.aio.AioRpcError, match="10001 items") as ended:
        await getattr(stub, method)(request(**{k: v * 10_001 for k, v in items.items()}))
    assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_nothing_is_taken_while_records_cannot_be_written(tmp_path: Path) -> None:
    core = BinderCore(1)
    store = HandStore()
    shell = a_shell(core, store)
    async with served(shell, core, tmp_path) as stub:
        store.on_health(False, "database or disk is full")
        await turns()
        reply = await register(stub, a_node("n"))
        assert reply.refused[0].code == Status.UNAVAILABLE
        assert "disk is full" in reply.refused[0].reason
        assert reply.refused[0].retry_after_ms > 0
        assert store.appended == []


async def test_nodes_are_shown_once_they_are_durable(tmp_path: Path) -> None:
    core = BinderCore(1)
    store = HandStore()
    async with served(a_shell(core, store), core, tmp_path) as stub:
        asked = asyncio.ensure_future(register(stub, a_node("n")))
        await until(lambda: store.appended)
        shown = asyncio.ensure_future(listed(stub))
        await turns(50)
        assert not asked.done()
        assert not shown.done()
        store.on_durable(len(store.appended))
        assert not (await asked).refused
        assert [node.name for node in await shown] == ["n"]


class ALedger(ScriptedCore):
    """A core whose ledger is the number of changes it has made; each change is one claim."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def handle(self, now_us: int, event: Any) -> list[Any]:
        self.count += 1
        return super().handle(now_us, event)

    def ledger(self) -> LedgerChanges:
        return changes(*range(1, self.count + 1))

    def nodes(self, prefix: str) -> list[Any]:
        return []


def changes(*uids: int) -> LedgerChanges:
    rows = ClaimRows.of(
        uid_hi=list(uids),
        uid_lo=0,
        revision=1,
        group=0,
        ordinal=0,
        node=[uid % 2 for uid in uids],
        state=ClaimState.BOUND,
    )
    return LedgerChanges(1, max(uids, default=0), rows, ("even", "odd"))


def uids(reply: pb.WatchLedgerReply) -> list[int]:
    return list(np.frombuffer(reply.uid_hi, "<u8").tolist())


async def test_a_follower_of_the_ledger_has_no_gap_and_no_claim_twice(tmp_path: Path) -> None:
    core, store = ALedger(), HandStore()
    shell = a_shell(core, store)
    async with served(shell, core, tmp_path) as stub:

        def change() -> None:
            core.script[core.count + 1] = [Persist("r"), Publish(changes(core.count + 1))]
            shell.put(Received("p", core.count + 1))

        change()
        await turns()
        seen: list[int] = []
        call = stub.WatchLedger(pb.WatchLedgerRequest(is_snapshot_wanted=True))
        reading = asyncio.ensure_future(call.read())
        await until(lambda: len(shell._waiting) == 3)
        change()
        await turns()
        assert not reading.done()
        store.on_durable(2)
        seen += uids(await reading)
        change()
        await turns()
        store.on_durable(3)
        while len(seen) < 3:
            seen += uids(await call.read())
        call.cancel()
    assert seen == [1, 2, 3]


async def test_without_a_snapshot_the_watch_says_when_it_has_begun(tmp_path: Path) -> None:
    core = ALedger()
    core.count = 5
    async with served(a_shell(core), core, tmp_path) as stub:
        call = stub.WatchLedger(pb.WatchLedgerRequest())
        reply = await call.read()
        call.cancel()
    assert (uids(reply), reply.is_snapshot_end, reply.generation) == ([], True, 5)


async def test_a_follower_that_falls_behind_is_ended_and_others_are_not(tmp_path: Path) -> None:
    core = ALedger()
    shell = a_shell(core)
    async with served(shell, core, tmp_path, ClusterLimits(weight_max=3)) as stub:
        slow = stub.WatchLedger(pb.WatchLedgerRequest())
        await slow.read()
        core.script["burst"] = [Publish(changes(*range(i, i + 1))) for i in range(1, 9)]
        shell.put(Received("p", "burst"))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await read_all(slow)
        again = stub.WatchLedger(pb.WatchLedgerRequest())
        assert (await again.read()).is_snapshot_end
        again.cancel()
    assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def read_all(call: Any) -> None:
    while await call.read() is not END:
        pass


async def test_more_followers_than_the_limit_are_refused(tmp_path: Path) -> None:
    core = ALedger()
    async with served(a_shell(core), core, tmp_path, ClusterLimits(followers_max=1)) as stub:
        first = stub.WatchLedger(pb.WatchLedgerRequest())
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read_all(stub.WatchLedger(pb.WatchLedgerRequest()))
        first.cancel()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_claims_travel_in_parts_that_name_their_nodes() -> None:
    count = CLAIMS_PER_MESSAGE + 1
    replies = list(ledger_replies(changes(*range(1, count + 1))))
    assert [len(reply.state) for reply in replies] == [CLAIMS_PER_MESSAGE, 1]
    assert list(replies[1].nodes) == ["odd"]
    nodes = [reply.nodes[i] for reply in replies for i in np.frombuffer(reply.node, "<u4").tolist()]
    assert nodes[:3] == ["odd", "even", "odd"]
    assert nodes[-1] == "odd"
