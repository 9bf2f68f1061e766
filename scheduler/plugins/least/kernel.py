"""Least allocated, kube-scheduler's formula: the mean over cpu and memory of their free share.

Each share is (capacity - used) * 100 / capacity, rounded down; a resource that the node does not
have is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit

I64 = NDArray[np.int64]


@njit
def least_of(cpu_up: int, memory_up: int, is_cpu: int, is_memory: int) -> int:
    """Score 0..100 from shares used in per mille, rounded up; x * 6554 >> 16 is x // 10."""
    cpu = (100 - (((cpu_up + 9) * 6554) >> 16)) * is_cpu
    memory = (100 - (((memory_up + 9) * 6554) >> 16)) * is_memory
    return (cpu + memory) >> (is_cpu & is_memory)


@njit
def least(cpu: I64, memory: I64, feasible: NDArray[np.bool_], score: I64) -> None:
    """score[node] += least_of; cpu, memory  # [DOWN | UP | PRESENT, node]."""
    for node in range(len(score)):
        if feasible[node]:
            score[node] += least_of(cpu[1, node], memory[1, node], cpu[2, node], memory[2, node])
