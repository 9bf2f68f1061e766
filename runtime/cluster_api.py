"""The Cluster API: nodes into the binder's core, nodes and the ledger out.

One `ClusterServicer` per binder, added to the client listener by its `__main__`. What must hold: an
item that cannot be used is refused in band with its field, and the others are not affected, but too
many items end the call; what is shown is durable; a follower of the ledger has no gap, or is ended
with RESOURCE_EXHAUSTED.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from cell.messages import (
    ITEMS_MAX,
    Acks,
    CordonNodes,
    LedgerChanges,
    NodeView,
    RegisterNodes,
    RemoveNodes,
)
from cell.node import HOSTNAME_LABEL, NodeSpec, Taint, normalise
from cell.reasons import Refusal, Status
from cell.requirements import BadSpec
from cell.settings import Positive
from godel.v1 import cluster_pb2, cluster_pb2_grpc, types_pb2
from runtime.feed import Feed, FeedLimits
from runtime.loop import Shell
from runtime.wire import ItemsMax, check_count
from runtime.wire_views import refused_items

SERVICE = "godel.v1.Cluster"
CLAIMS_PER_MESSAGE = 50_000


class ClusterLimits(FeedLimits, frozen=True, kw_only=True):
    """What clients may ask of the Cluster API."""

    items_max: ItemsMax = ITEMS_MAX
    """Nodes in one request; a larger one ends its call with RESOURCE_EXHAUSTED."""
    page_nodes_max: Positive = 500
    """Nodes in one message of a list."""


class Ledger(Protocol):
    """What the API reads of the binder's core."""

    def nodes(self, prefix: str) -> list[NodeView]:
        """Nodes in the order of their names."""

    def ledger(self) -> LedgerChanges:
        """All claims, as if just published."""


class ClusterServicer(cluster_pb2_grpc.ClusterServicer):
    """See the module."""

    def __init__(
        self,
        shell: Shell,
        core: Ledger,
        limits: ClusterLimits | None = None,
    ) -> None:
        self._shell = shell
        self._limits = limits = limits or ClusterLimits()
        shell.wait_ms_max = limits.wait_ms_max
        self._core = core
        self._feed: Feed[cluster_pb2.WatchLedgerReply] = Feed(limits)
        shell.on_publish = self._publish

    def add_to(self, server: Any) -> None:
        """Register with a server: one of the `add` of a Listener."""
        cluster_pb2_grpc.add_ClusterServicer_to_server(self, server)

    async def Register(
        self, request: cluster_pb2.RegisterRequest, context: Any
    ) -> types_pb2.BatchReply:
        """Add or update nodes."""
        check_count(len(request.nodes), self._limits.items_max)
        kept: list[int] = []
        specs: list[NodeSpec] = []
        refused: list[tuple[int, Refusal]] = []
        for i, node in enumerate(request.nodes):
            try:
                specs.append(node_spec(node))
                kept.append(i)
            except BadSpec as bad:
                refused.append((i, Refusal(Status.INVALID_ARGUMENT, bad.field, bad.reason)))
        return await self._ask(RegisterNodes(tuple(specs)), len(request.nodes), kept, refused)

    async def Cordon(
        self, request: cluster_pb2.CordonRequest, context: Any
    ) -> types_pb2.BatchReply:
        """Cordon or uncordon nodes."""
        return await self._name(CordonNodes(tuple(request.names), request.is_cordoned))

    async def Remove(
        self, request: cluster_pb2.RemoveRequest, context: Any
    ) -> types_pb2.BatchReply:
        """Remove nodes."""
        return await self._name(RemoveNodes(tuple(request.names)))

    async def _name(self, body: CordonNodes | RemoveNodes) -> types_pb2.BatchReply:
        """The core's answer to a request that is names only."""
        count = len(body.names)
        check_count(count, self._limits.items_max)
        return await self._ask(body, count, range(count), [])

    async def _ask(
        self,
        body: RegisterNodes | CordonNodes | RemoveNodes,
        count: int,
        kept: Sequence[int],
        refused: list[tuple[int, Refusal]],
    ) -> types_pb2.BatchReply:
        """The core's answer to the items `kept`, beside those refused already."""
        if kept:
            answer: Acks | Refusal = self._shell.store_refusal or await self._shell.ask(body)
            if isinstance(answer, Refusal):
                refused += [(i, answer) for i in kept]
            else:
                refused += [(kept[i], refusal) for i, refusal in answer.refused]
        refused.sort(key=lambda item: item[0])
        return types_pb2.BatchReply(count=count, refused=refused_items(refused))

    async def ListNodes(
        self, request: cluster_pb2.ListNodesRequest, context: Any
    ) -> AsyncIterator[cluster_pb2.ListNodesReply]:
        """Nodes in pages."""
        views = await self._shell.read(lambda: self._core.nodes(request.prefix))
        size = self._limits.page_nodes_max
        for start in range(0, len(views), size):
            page = views[start : start + size]
            yield cluster_pb2.ListNodesReply(nodes=[_node_view(view) for view in page])

    async def WatchLedger(
        self, request: cluster_pb2.WatchLedgerRequest, context: Any
    ) -> AsyncIterator[cluster_pb2.WatchLedgerReply]:
        """All claims, then what changes."""
        async with self._feed.following(self._shell, self._core.ledger) as (ledger, follower):
            if request.is_snapshot_wanted:
                for reply in ledger_replies(ledger):
                    yield reply
            yield cluster_pb2.WatchLedgerReply(
                term=ledger.term, generation=ledger.generation, is_snapshot_end=True
            )
            del ledger
            while True:
                yield await follower.take()

    def _publish(self, changes: LedgerChanges) -> None:
        if self._feed:
            for reply in ledger_replies(changes):
                self._feed.publish(reply, len(reply.state))


def node_spec(node: cluster_pb2.Node) -> NodeSpec:
    """The canonical spec of a node, with the label that a kubelet gives it. Raises BadSpec."""
    labels = {HOSTNAME_LABEL: node.name, **node.labels}
    return normalise(
        NodeSpec(
            name=node.name,
            allocatable=tuple(node.allocatable.items()),
            labels=tuple(labels.items()),
            taints=tuple([Taint(t.key, t.value, t.effect) for t in node.taints]),
            unschedulable=node.is_cordoned,
        )
    )


def ledger_replies(changes: LedgerChanges) -> Iterator[cluster_pb2.WatchLedgerReply]:
    """The claims in messages of limited size, each with the names of its nodes."""
    for start in range(0, len(changes.claims), CLAIMS_PER_MESSAGE):
        rows = changes.claims.take(slice(start, start + CLAIMS_PER_MESSAGE))
        used, node = np.unique(rows.node, return_inverse=True)
        columns: dict[str, Any] = rows.to_bytes()
        columns["node"] = node.astype("<u4").tobytes()
        yield cluster_pb2.WatchLedgerReply(
            term=changes.term,
            generation=changes.generation,
            nodes=[changes.nodes[i] for i in used.tolist()],
            **columns,
        )


def _node_view(view: NodeView) -> cluster_pb2.NodeView:
    return cluster_pb2.NodeView(
        name=view.name,
        incarnation=view.incarnation,
        generation=view.generation,
        is_cordoned=view.is_cordoned,
        allocatable=view.allocatable,
        used=view.used,
        claims=view.claims,
    )
