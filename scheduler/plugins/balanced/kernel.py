"""Balanced allocation, kube-scheduler's formula: what the replica changes of how evenly cpu and
memory are asked for.

Evenness is 100 * (1 - standard deviation of the shares), which for two resources is half their
difference; 75 says that the replica changes nothing, 100 and 50 are the most it can better and
worsen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit
from scheduler.framework.shares import AFTER, BEFORE, CLOSE, F64, PRESENT


@njit
def evenness_of(cpu: float, memory: float, is_there: float) -> float:
    """50 to 100 from shares in percent; 100 where a node lacks one of the two."""
    return float(np.floor(100.0 - 0.5 * abs(cpu - memory) * is_there + CLOSE))


@njit
def balanced_of(before: float, after: float) -> float:
    """Score 50 to 100 from the evenness without and with the replica."""
    return float(np.floor(75.0 + 0.5 * (after - before)))


@njit
def balanced(cpu: F64, memory: F64, feasible: NDArray[np.bool_], score: NDArray[np.int64]) -> None:
    """score[node] += balanced_of; cpu, memory  # as `shares` has them."""
    for node in range(len(score)):
        if feasible[node]:
            is_there = cpu[PRESENT, node] * memory[PRESENT, node]
            before = evenness_of(cpu[BEFORE, node], memory[BEFORE, node], is_there)
            after = evenness_of(cpu[AFTER, node], memory[AFTER, node], is_there)
            score[node] += balanced_of(before, after)
