"""A client of the Cluster API: registers nodes in batches and lists them with their use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from godel.v1 import cluster_pb2, cluster_pb2_grpc
from runtime.link_rpc import CHANNEL_OPTIONS
from runtime.tls import Identity, channel

REGISTER_NODES_MAX = 500
"""Nodes in one request."""
RETRY_SECONDS = 0.2
RETRIED = frozenset((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED))


class NodeRefused(ValueError):
    """The binder refused a node; the text names it and the field."""


class ClusterClient:
    """One connection to a binder; use as an async context. Raises BadTls."""

    def __init__(self, target: str, identity: Identity | None = None) -> None:
        self._channel = channel(target, CHANNEL_OPTIONS, identity, "binder")
        self.stub: Any = cluster_pb2_grpc.ClusterStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close(None)

    async def wait_ready(self, seconds: float) -> None:
        """Wait until the binder can be reached. Raises TimeoutError."""
        await asyncio.wait_for(self._channel.channel_ready(), seconds)

    async def register(self, nodes: Sequence[cluster_pb2.Node]) -> None:
        """Register all nodes, again and again while the binder is away. Raises NodeRefused."""
        for start in range(0, len(nodes), REGISTER_NODES_MAX):
            await self._register(nodes[start : start + REGISTER_NODES_MAX])

    async def _register(self, batch: Sequence[cluster_pb2.Node]) -> None:
        while batch:
            try:
                reply = await self.stub.Register(cluster_pb2.RegisterRequest(nodes=batch))
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRIED:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
                continue
            again = []
            for refused in reply.refused:
                if not refused.retry_after_ms:
                    name = batch[refused.index].name
                    raise NodeRefused(f"node {name}: {refused.field}: {refused.reason}")
                again.append(batch[refused.index])
            batch = again
            if again:
                await asyncio.sleep(max(r.retry_after_ms for r in reply.refused) / 1e3)

    async def nodes(self, prefix: str = "") -> list[cluster_pb2.NodeView]:
        """All nodes with their use. Raises grpc.aio.AioRpcError."""
        request = cluster_pb2.ListNodesRequest(prefix=prefix)
        return [node async for reply in self.stub.ListNodes(request) for node in reply.nodes]
