"""The cluster through its public API: nodes in, the ledger out, and what must hold of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import grpc
import numpy as np

from cell.unit import uid_of
from godel.v1 import cluster_pb2, cluster_pb2_grpc
from tests.integration.embedded import Embedded

GIB = 1 << 30
NODE = {"cpu": 64_000, "memory": 256 * GIB, "pods": 130}
BATCH = 1_000

Replica = tuple[tuple[int, int], int, int]
"""(uid, group, ordinal)"""


class Cluster:
    """A client of the Cluster API."""

    def __init__(self, embedded: Embedded) -> None:
        self._channel = grpc.aio.insecure_channel(embedded.address("binder"))
        self.stub: Any = cluster_pb2_grpc.ClusterStub(self._channel)

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close(None)

    async def register(self, count: int, **amounts: int) -> list[str]:
        """Register like nodes; returns their names."""
        names = [f"node-{i:04}" for i in range(count)]
        for start in range(0, count, BATCH):
            nodes = [
                cluster_pb2.Node(name=name, allocatable={**NODE, **amounts})
                for name in names[start : start + BATCH]
            ]
            reply = await self.stub.Register(
                cluster_pb2.RegisterRequest(nodes=nodes), wait_for_ready=True, timeout=30.0
            )
            assert not reply.refused, reply.refused[0]
        return names

    async def nodes(self) -> dict[str, cluster_pb2.NodeView]:
        """All nodes by name."""
        replies = self.stub.ListNodes(
            cluster_pb2.ListNodesRequest(), wait_for_ready=True, timeout=30.0
        )
        return {node.name: node async for reply in replies for node in reply.nodes}

    async def claims(self) -> dict[Replica, str]:
        """Node per claimed replica. Raises AssertionError when one is claimed twice."""
        claims: dict[Replica, str] = {}
        call = self.stub.WatchLedger(
            cluster_pb2.WatchLedgerRequest(is_snapshot_wanted=True),
            wait_for_ready=True,
            timeout=60.0,
        )
        async for reply in call:
            assert set(reply.state) <= {cluster_pb2.CLAIM_STATE_BOUND}
            for replica, node in claims_of(reply):
                assert replica not in claims, f"{replica} is claimed twice"
                claims[replica] = node
            if reply.is_snapshot_end:
                break
        call.cancel()
        return claims

    async def audit(self) -> dict[str, int]:
        """Claims per uid in hexadecimal, after checking every node's capacity and use."""
        claims, nodes = await self.claims(), await self.nodes()
        per_node = Counter(claims.values())
        for name, node in nodes.items():
            assert node.claims == per_node[name], f"{name}: {node.claims} claims, {per_node[name]}"
            for resource, used in node.used.items():
                assert 0 <= used <= node.allocatable.get(resource, 0), f"{name}: {resource} {used}"
        assert set(per_node) <= set(nodes), "claims on nodes that are gone"
        return Counter(hexadecimal(uid) for uid, _, _ in claims)


def hexadecimal(uid: tuple[int, int]) -> str:
    """A uid as text."""
    return f"{uid[0]:016x}{uid[1]:016x}"


def uid_text(key: str) -> str:
    """The uid of a key as text."""
    return hexadecimal(uid_of(key))


def claims_of(reply: cluster_pb2.WatchLedgerReply) -> list[tuple[Replica, str]]:
    """Replica and node of each row."""
    columns = (
        np.frombuffer(reply.uid_hi, "<u8").tolist(),
        np.frombuffer(reply.uid_lo, "<u8").tolist(),
        np.frombuffer(reply.group, "<u1").tolist(),
        np.frombuffer(reply.ordinal, "<u4").tolist(),
        np.frombuffer(reply.node, "<u4").tolist(),
    )
    return [
        (((hi, lo), group, ordinal), reply.nodes[node])
        for hi, lo, group, ordinal, node in zip(*columns, strict=True)
    ]
