"""What a run knows of each of its units: learnt from Watch, counted in columns, pure.

`run` feeds it acknowledgements and Watch replies (rows, columns or snapshot) in the order they
come. What must hold: a reply told twice, or a snapshot after a gap, changes no count wrongly;
`placed_at_s` of a unit is set once, when its minimum first held room.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from godel.v1 import placement_pb2, types_pb2
from loadtest.workload import Workload

WHOLE_UNIT = (1 << 32) - 1
_HOLDS = frozenset(
    (types_pb2.PHASE_BOUND, types_pb2.PHASE_STARTING, types_pb2.PHASE_READY, types_pb2.PHASE_DONE)
)
FAILED = types_pb2.PHASE_FAILED
CANCELLED = types_pb2.PHASE_CANCELLED


class Tally:
    """The state of every unit of a workload; `at_s` arguments are seconds since the start."""

    def __init__(self, work: Workload) -> None:
        n = len(work)
        self._row = {key: row for row, key in enumerate(work.keys)}
        self._count = work.count.tolist()
        self._min = work.min.tolist()
        self._held = [0] * n
        """Per unit: a bit per replica that has been given room."""
        self.placed_at_s: NDArray[np.float64] = np.full(n, np.nan)
        self.is_sent = np.zeros(n, dtype=bool)
        self.is_acked = np.zeros(n, dtype=bool)
        self.is_refused = np.zeros(n, dtype=bool)
        self.is_placed = np.zeros(n, dtype=bool)
        """Holds room for its minimum now, or is done."""
        self.is_ended = np.zeros(n, dtype=bool)
        """Failed or cancelled."""
        self.changes = 0
        self.lost = 0
        """Times a placed unit fell back below its minimum."""
        self.newly_placed: list[int] = []
        """Rows placed since the caller last took them away."""

    @property
    def pending(self) -> NDArray[np.int64]:
        """Rows that were submitted and are neither placed, ended nor refused."""
        is_pending = self.is_acked & ~(self.is_placed | self.is_ended | self.is_refused)
        return np.flatnonzero(is_pending)

    @property
    def replicas_held(self) -> int:
        """Replicas that hold room or are done."""
        return sum(held.bit_count() for held in self._held)

    def acked(self, rows: NDArray[np.int64], refused: Iterable[int]) -> None:
        """A batch was answered; `refused` are positions within it that will not be tried again."""
        self.is_acked[rows] = True
        for position in refused:
            self.is_acked[rows[position]] = False
            self.is_refused[rows[position]] = True

    def apply(self, reply: placement_pb2.WatchReply, at_s: float) -> None:
        """One Watch reply."""
        if reply.HasField("packed"):
            self._apply_packed(reply.packed, at_s)
        for change in reply.changes:
            self._apply_one(change.key, change.ordinal, change.phase, at_s)
        for unit in reply.snapshot:
            self._apply_view(unit, at_s)

    def _apply_packed(self, packed: placement_pb2.PackedChanges, at_s: float) -> None:
        keys = packed.keys
        phases = packed.phase
        ordinals = (
            np.frombuffer(packed.ordinal, dtype="<u4").tolist()
            if packed.ordinal
            else [0] * len(keys)
        )
        for key, ordinal, phase in zip(keys, ordinals, phases, strict=True):
            self._apply_one(key, ordinal, phase, at_s)

    def _apply_one(self, key: str, ordinal: int, phase: int, at_s: float) -> None:
        row = self._row.get(key)
        if row is None:
            return
        self.changes += 1
        bits = (1 << self._count[row]) - 1 if ordinal == WHOLE_UNIT else 1 << ordinal
        if phase in _HOLDS:
            self._set(row, self._held[row] | bits, at_s)
            return
        self._set(row, self._held[row] & ~bits, at_s)
        if ordinal == WHOLE_UNIT and phase in (FAILED, CANCELLED):
            self.is_ended[row] = True

    def _apply_view(self, unit: placement_pb2.UnitView, at_s: float) -> None:
        row = self._row.get(unit.key)
        if row is None:
            return
        self.changes += 1
        held = 0
        for replica in unit.replicas:
            if replica.phase in _HOLDS:
                held |= 1 << replica.ordinal
        self._set(row, held, at_s)
        self.is_ended[row] = unit.word in ("FAILED", "CANCELLED")

    def _set(self, row: int, held: int, at_s: float) -> None:
        if held == self._held[row]:
            return
        self._held[row] = held
        is_placed = held.bit_count() >= self._min[row]
        if is_placed and not self.is_placed[row]:
            self.is_placed[row] = True
            self.newly_placed.append(row)
            if np.isnan(self.placed_at_s[row]):
                self.placed_at_s[row] = at_s
        elif not is_placed and self.is_placed[row]:
            self.is_placed[row] = False
            self.lost += 1
