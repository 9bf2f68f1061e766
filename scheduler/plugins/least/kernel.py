"""Least allocated, kube-scheduler's formula: the mean over cpu and memory of their free share.

Each is (capacity - used) * 100 / capacity rounded down, and so is the mean; a resource that the
node does not have is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit
from scheduler.framework.shares import CLOSE, F64, FULL, PRESENT


@njit
def least_of(cpu: float, memory: float, is_cpu: float, is_memory: float) -> float:
    """Score 0 to 100 from shares used, in percent."""
    free_cpu = (100.0 - np.ceil(cpu - CLOSE)) * is_cpu
    free_memory = (100.0 - np.ceil(memory - CLOSE)) * is_memory
    return float(np.floor((free_cpu + free_memory) * (1.0 - 0.5 * is_cpu * is_memory)))


@njit
def least(cpu: F64, memory: F64, feasible: NDArray[np.bool_], score: NDArray[np.int64]) -> None:
    """score[node] += least_of; cpu, memory  # as `shares` has them."""
    for node in range(len(score)):
        if feasible[node]:
            score[node] += least_of(
                cpu[FULL, node], memory[FULL, node], cpu[PRESENT, node], memory[PRESENT, node]
            )
