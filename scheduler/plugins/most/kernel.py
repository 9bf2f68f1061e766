"""Most allocated, kube-scheduler's formula: the mean over cpu and memory of their used share.

Each share is used * 100 / capacity, rounded down; a resource that the node does not have is left
out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit

I64 = NDArray[np.int64]


@njit
def most_of(cpu: int, memory: int, is_cpu: int, is_memory: int) -> int:
    """Score 0..100 from shares used in per mille, rounded down; x * 6554 >> 16 is x // 10."""
    return (((cpu * 6554) >> 16) * is_cpu + ((memory * 6554) >> 16) * is_memory) >> (
        is_cpu & is_memory
    )


@njit
def most(cpu: I64, memory: I64, feasible: NDArray[np.bool_], score: I64) -> None:
    """score[node] += most_of; cpu, memory  # [DOWN | UP | PRESENT, node]."""
    for node in range(len(score)):
        if feasible[node]:
            score[node] += most_of(cpu[0, node], memory[0, node], cpu[2, node], memory[2, node])
