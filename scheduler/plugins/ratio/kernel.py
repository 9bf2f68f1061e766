"""Requested to capacity, kube-scheduler's formula: a line of points over the percentage in use.

The percentage is used * 100 / capacity rounded down, all where more is used than there is. The mean
over resources is by weight and rounded half up, and leaves out those that get no points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit

I64 = NDArray[np.int64]


@njit
def ratio(
    used: I64, capacity: I64, weight: I64, line: I64, feasible: NDArray[np.bool_], score: I64
) -> None:
    """score[node] += the mean of line[percentage]; used, capacity  # [resource, node], 0: none."""
    for node in range(len(score)):
        points, weights = np.int64(0), np.int64(0)
        for i in range(len(weight)):
            there = capacity[i, node]
            if not feasible[node] or there <= 0:
                continue
            taken = used[i, node]
            found = line[100] if taken > there else line[max(taken, 0) * 100 // there]
            if found > 0:
                points += found * weight[i]
                weights += weight[i]
        if weights > 0:
            score[node] += (2 * points + weights) // (2 * weights)
