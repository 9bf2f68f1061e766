"""Most allocated, kube-scheduler's formula: the mean over cpu and memory of their used share.

Each is used * 100 / capacity rounded down, and so is the mean; a resource that the node does not
have is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit
from scheduler.framework.shares import CLOSE, F64, FULL, PRESENT


@njit
def most_of(cpu: float, memory: float, is_cpu: float, is_memory: float) -> float:
    """Score 0 to 100 from shares used, in percent."""
    used_cpu = np.floor(cpu + CLOSE) * is_cpu
    used_memory = np.floor(memory + CLOSE) * is_memory
    return float(np.floor((used_cpu + used_memory) * (1.0 - 0.5 * is_cpu * is_memory)))


@njit
def most(cpu: F64, memory: F64, feasible: NDArray[np.bool_], score: NDArray[np.int64]) -> None:
    """score[node] += most_of; cpu, memory  # as `shares` has them."""
    for node in range(len(score)):
        if feasible[node]:
            score[node] += most_of(
                cpu[FULL, node], memory[FULL, node], cpu[PRESENT, node], memory[PRESENT, node]
            )
