"""Balanced allocation, kube-scheduler's formula: 100 * (1 - standard deviation of the used shares).

For two resources the deviation is half their difference; with fewer it is none. Shares are taken in
per mille, so that the score is an integer of integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit

I64 = NDArray[np.int64]


@njit
def balanced_of(cpu: int, memory: int, is_cpu: int, is_memory: int) -> int:
    """Score 50..100 from shares used in per mille, rounded down; x * 3277 >> 16 is x // 20."""
    apart = abs(cpu - memory) * is_cpu * is_memory
    return ((2000 - apart) * 3277) >> 16


@njit
def balanced(cpu: I64, memory: I64, feasible: NDArray[np.bool_], score: I64) -> None:
    """score[node] += balanced_of; cpu, memory  # [DOWN | UP | PRESENT, node]."""
    for node in range(len(score)):
        if feasible[node]:
            score[node] += balanced_of(cpu[0, node], memory[0, node], cpu[2, node], memory[2, node])
