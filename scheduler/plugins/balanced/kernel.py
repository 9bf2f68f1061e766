"""Balanced allocation, kube-scheduler's formula: 100 * (1 - standard deviation of the used shares).

For two resources the deviation is half their difference; with fewer it is none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit
from scheduler.framework.shares import CLOSE, F64


@njit
def balanced_of(cpu: float, memory: float, is_cpu: float, is_memory: float) -> float:
    """Score 50 to 100 from shares used, in percent."""
    apart = abs(cpu - memory) * is_cpu * is_memory
    return float(np.floor(100.0 - 0.5 * apart + CLOSE))


@njit
def balanced(cpu: F64, memory: F64, feasible: NDArray[np.bool_], score: NDArray[np.int64]) -> None:
    """score[node] += balanced_of; cpu, memory  # [SHARE | PRESENT, node]."""
    for node in range(len(score)):
        if feasible[node]:
            score[node] += balanced_of(cpu[0, node], memory[0, node], cpu[1, node], memory[1, node])
