"""What simulated nodes will say of their replicas, and when; pure.

A bound replica on one of our nodes is STARTING at once, READY after a start delay and, if asked
for, DONE after a run time. Delays come from the seed and the replica's name, so a restart draws
the same. What must hold: a report is made once per (replica, revision, phase) unless `again`; a
replica that is no longer bound, or has a new revision, is reported no further.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np

from godel.v1 import placement_pb2, types_pb2

WHOLE_UNIT = (1 << 32) - 1
NO_NODE = (1 << 32) - 1
BOUND = types_pb2.PHASE_BOUND
STARTING = types_pb2.PHASE_STARTING
READY = types_pb2.PHASE_READY
DONE = types_pb2.PHASE_DONE
_DRAWS = 1 << 32


@dataclass(frozen=True)
class Delays:
    """Bounds of the drawn delays, in seconds."""

    start_s: tuple[float, float] = (0.05, 0.2)
    run_s: tuple[float, float] | None = None
    """None: replicas run on."""
    run_prefix: str = ""
    """Only units whose key begins with this end by themselves."""


class Replica(NamedTuple):
    """Names one replica."""

    key: str
    group: int
    ordinal: int


class Due(NamedTuple):
    """One report, in the order of time and then of name."""

    at_s: float
    replica: Replica
    revision: int
    phase: int


class Lives:
    """Replicas on our nodes and the reports they owe."""

    def __init__(self, nodes: Collection[str], delays: Delays, seed: int) -> None:
        self._nodes = frozenset(nodes)
        self._delays = delays
        self._seed = seed
        self._revision: dict[str, dict[tuple[int, int], int]] = {}
        """Per unit, the revision at which each replica on our nodes was last bound."""
        self._due: list[Due] = []

    def __len__(self) -> int:
        """Replicas on our nodes."""
        return sum(map(len, self._revision.values()))

    @property
    def next_s(self) -> float | None:
        """When the next report is due."""
        return self._due[0].at_s if self._due else None

    def forget_all(self) -> None:
        """Before a new snapshot."""
        self._revision.clear()
        self._due.clear()

    def apply(self, reply: placement_pb2.WatchReply, now_s: float) -> None:
        """One Watch reply, packed or a part of the snapshot."""
        if reply.HasField("packed"):
            self._apply_packed(reply.packed, now_s)
        for unit in reply.snapshot:
            for view in unit.replicas:
                if view.phase in (BOUND, STARTING, READY) and view.node in self._nodes:
                    replica = Replica(unit.key, view.group, view.ordinal)
                    self._begin(replica, unit.revision, view.phase, now_s)

    def _apply_packed(self, packed: placement_pb2.PackedChanges, now_s: float) -> None:
        n = len(packed.keys)
        is_ours = [name in self._nodes for name in packed.nodes]
        columns = zip(
            packed.keys,
            _column(packed.revision, "<u4", n, 0),
            _column(packed.group, "u1", n, 0),
            _column(packed.ordinal, "<u4", n, 0),
            _column(packed.phase, "u1", n, 0),
            _column(packed.node, "<u4", n, NO_NODE),
            strict=True,
        )
        for key, revision, group, ordinal, phase, node in columns:
            if phase == BOUND and ordinal != WHOLE_UNIT:
                if node < len(is_ours) and is_ours[node]:
                    self._begin(Replica(key, group, ordinal), revision, BOUND, now_s)
                else:
                    self._forget(key, group, ordinal)
            elif phase not in (BOUND, STARTING, READY):
                self._forget(key, group, ordinal)

    def _begin(self, replica: Replica, revision: int, phase: int, now_s: float) -> None:
        at = replica.group, replica.ordinal
        bound = self._revision.setdefault(replica.key, {})
        if bound.get(at) == revision:
            return
        bound[at] = revision
        draw = self._draw(replica, revision)
        ready_s = now_s + _between(self._delays.start_s, draw)
        if phase == BOUND:
            heapq.heappush(self._due, Due(now_s, replica, revision, STARTING))
        if phase != READY:
            heapq.heappush(self._due, Due(ready_s, replica, revision, READY))
        if self._delays.run_s and replica.key.startswith(self._delays.run_prefix):
            done_s = ready_s + _between(self._delays.run_s, 1.0 - draw)
            heapq.heappush(self._due, Due(done_s, replica, revision, DONE))

    def _forget(self, key: str, group: int, ordinal: int) -> None:
        if ordinal == WHOLE_UNIT:
            self._revision.pop(key, None)
        elif (bound := self._revision.get(key)) is not None:
            bound.pop((group, ordinal), None)
            if not bound:
                del self._revision[key]

    def _draw(self, replica: Replica, revision: int) -> float:
        """Uniform in [0, 1), from the seed and the replica's name."""
        text = f"{replica.key}/{replica.group}/{replica.ordinal}/{revision}"
        return crc32(text.encode(), self._seed % _DRAWS) / _DRAWS

    def take_due(self, now_s: float, count_max: int) -> list[Due]:
        """Reports that are due and still true, at most so many, in order."""
        taken: list[Due] = []
        while self._due and self._due[0].at_s <= now_s and len(taken) < count_max:
            due = heapq.heappop(self._due)
            if self.is_true(due):
                taken.append(due)
                if due.phase == DONE:
                    self._forget(*due.replica)
        return taken

    def is_true(self, due: Due) -> bool:
        """Whether the replica is still bound at that revision."""
        bound = self._revision.get(due.replica.key, {})
        return bound.get((due.replica.group, due.replica.ordinal)) == due.revision

    def again(self, due: Due, at_s: float) -> None:
        """Owe a report once more, at a later time."""
        heapq.heappush(self._due, due._replace(at_s=at_s))


def packed_reports(due: list[Due]) -> placement_pb2.PackedReports:
    """Reports as the wire's columns."""
    return placement_pb2.PackedReports(
        keys=[each.replica.key for each in due],
        revision=np.array([each.revision for each in due], "<u4").tobytes(),
        group=bytes([each.replica.group for each in due]),
        ordinal=np.array([each.replica.ordinal for each in due], "<u4").tobytes(),
        phase=bytes([each.phase for each in due]),
    )


def _column(content: bytes, kind: str, count: int, default: int) -> list[int]:
    if not content:
        return [default] * count
    values: list[int] = np.frombuffer(content, dtype=kind).tolist()
    return values


def _between(bounds: tuple[float, float], draw: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * draw
