"""Rule: a replica needs room for each resource its class demands. Used by scheduler and binder.

A resource that no node has is numbered so that its room is 0, or negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit


@njit
def has_room(
    free: NDArray[np.int64],
    head: int,
    resource: NDArray[np.int32],
    amount: NDArray[np.int64],
    entries: int,
) -> bool:
    """Whether free[head + resource[j]] >= amount[j] for all `entries` demands.

    free  # [head + resource] of one node; room below zero never fits a demand.
    """
    for j in range(entries):
        if resource[j] < 0 or free[head + resource[j]] < amount[j]:
            return False
    return True
