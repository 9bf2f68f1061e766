"""Workloads and Watch replies in which a test mentions only what matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from godel.v1 import placement_pb2, types_pb2
from loadtest.workload import Workload

WHOLE_UNIT = (1 << 32) - 1
NO_NODE = (1 << 32) - 1


def a_workload(
    keys: Sequence[str] = ("a",), *, count: int = 1, least: int = 0, at_s: float = 0.0
) -> Workload:
    """Like units of one class, all due at a time."""
    n = len(keys)
    return Workload(
        classes=(types_pb2.ClassSpec(demand={"cpu": 1000}),),
        keys=tuple(keys),
        at_s=np.full(n, at_s),
        klass=np.zeros(n, dtype=np.uint32),
        count=np.full(n, count, dtype=np.uint32),
        min=np.full(n, least or count, dtype=np.uint32),
        priority=np.zeros(n, dtype=np.int32),
    )


def a_change(
    phase: str, *, key: str = "a", ordinal: int = 0, revision: int = 1, node: str = ""
) -> placement_pb2.Change:
    """One change as a row."""
    return placement_pb2.Change(
        key=key,
        ordinal=ordinal,
        revision=revision,
        node=node,
        phase=types_pb2.Phase.Value(f"PHASE_{phase}"),
    )


def in_rows(*changes: placement_pb2.Change) -> placement_pb2.WatchReply:
    """Changes as the row variant says them."""
    return placement_pb2.WatchReply(changes=changes)


def in_columns(*changes: placement_pb2.Change) -> placement_pb2.WatchReply:
    """The same changes as the packed variant says them."""
    nodes = sorted({change.node for change in changes if change.node})

    def u4(values: list[int]) -> bytes:
        return np.array(values, dtype="<u4").tobytes()

    return placement_pb2.WatchReply(
        packed=placement_pb2.PackedChanges(
            keys=[change.key for change in changes],
            revision=u4([change.revision for change in changes]),
            group=bytes([change.group for change in changes]),
            ordinal=u4([change.ordinal for change in changes]),
            phase=bytes([change.phase for change in changes]),
            node=u4([nodes.index(c.node) if c.node else NO_NODE for c in changes]),
            nodes=nodes,
        )
    )


def a_view(
    word: str, *phases: str, key: str = "a", revision: int = 1, node: str = "n"
) -> placement_pb2.UnitView:
    """A unit of the snapshot with a replica per phase, all in group 0."""
    replicas = [
        placement_pb2.ReplicaView(
            ordinal=i, phase=types_pb2.Phase.Value(f"PHASE_{phase}"), node=node
        )
        for i, phase in enumerate(phases)
    ]
    return placement_pb2.UnitView(key=key, word=word, revision=revision, replicas=replicas)


def in_snapshot(*views: placement_pb2.UnitView) -> placement_pb2.WatchReply:
    """Units as a part of the snapshot."""
    return placement_pb2.WatchReply(snapshot=views)
