"""A workload: units as columns with the time at which each is due, made before a run begins.

`mix` draws one from a seed, `openb` reads one from a trace; `run` submits it. Every unit has one
group. What must hold: rows are in order of `at_s`, keys are unique.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from godel.v1 import placement_pb2, types_pb2

NO_END = np.inf
"""`runs_s` of a unit that stays."""


@dataclass(frozen=True)
class Workload:
    """Columns, one entry per unit; `klass` indexes `classes`."""

    classes: tuple[types_pb2.ClassSpec, ...]
    keys: tuple[str, ...]
    at_s: NDArray[np.float64]
    klass: NDArray[np.uint32]
    count: NDArray[np.uint32]
    min: NDArray[np.uint32]
    priority: NDArray[np.int32]
    runs_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Seconds from bound to done; empty: every unit stays."""

    def __post_init__(self) -> None:
        """Raises ValueError when the laws do not hold."""
        n = len(self.keys)
        columns = (self.at_s, self.klass, self.count, self.min, self.priority)
        if any(len(column) != n for column in columns) or len(self.runs_s) not in (0, n):
            raise ValueError("columns differ in length")
        if len(set(self.keys)) != n:
            raise ValueError("a key is there twice")
        if n and (np.diff(self.at_s) < 0).any():
            raise ValueError("rows are not in order of time")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def replicas(self) -> int:
        """Replicas of all units."""
        return int(self.count.sum())


def packed_units(
    work: Workload, rows: NDArray[np.int64], numbers: NDArray[np.uint32]
) -> placement_pb2.PackedUnits:
    """Rows of a workload as the wire's columns; `numbers` are the stream's per class."""
    return placement_pb2.PackedUnits(
        keys=[work.keys[row] for row in rows.tolist()],
        priority=work.priority[rows].astype("<i4").tobytes(),
        class_number=numbers[work.klass[rows]].astype("<u4").tobytes(),
        count=work.count[rows].astype("<u4").tobytes(),
        min=work.min[rows].astype("<u4").tobytes(),
    )


def row_units(
    work: Workload, rows: NDArray[np.int64], numbers: NDArray[np.uint32]
) -> list[placement_pb2.Unit]:
    """The same as `packed_units`, as row messages."""
    made = []
    columns = zip(
        rows.tolist(),
        work.priority[rows].tolist(),
        numbers[work.klass[rows]].tolist(),
        work.count[rows].tolist(),
        work.min[rows].tolist(),
        strict=True,
    )
    for row, priority, number, count, least in columns:
        group = types_pb2.Group(class_number=number, count=count, min=least)
        made.append(placement_pb2.Unit(key=work.keys[row], priority=priority, groups=[group]))
    return made
