"""How full nodes would be with one more replica: the share of a resource used, in percent.

Shares are float64, because vectors of int64 products and quotients cost ten times as much without
AVX-512, and all rounding takes CLOSE into account: exact for capacities below 1e14, and for larger
ones in multiples. Kernels, hooks and repairs compute the same operations in the same order, so they
agree to the bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import UNASKED_PREFIX, ClassSpec
from cell.jit import njit
from scheduler.framework.plugin import View

CLOSE = 1e-12
"""A share nearer than this to a whole number is that number; arithmetic errs by 4e-14 at most."""

F64 = NDArray[np.float64]


@njit
def share_of(capacity: float, inverse: float, used: float) -> float:
    """The share used, at most 100; `inverse` is 100 / capacity, or 0 for none."""
    return min(used, capacity) * inverse


@njit
def inverse_of(capacity: float) -> float:
    """100 / capacity, 0 for none."""
    return 100.0 / capacity if capacity > 0.0 else 0.0


def shares(view: View, spec: ClassSpec, resource: str) -> F64:
    """[FULL | BEFORE | AFTER | PRESENT, node] of cpu or memory.

    The share used with the replica there and all that nobody asked for; the share asked for without
    and with the replica; and 1 where there is any of the resource.
    """
    row, beside = view.resources[resource], view.resources[UNASKED_PREFIX + resource]
    capacity = view.allocatable[row].astype(np.float64)
    inverse = np.divide(100.0, capacity, out=np.zeros(len(capacity)), where=capacity > 0)
    demand, unasked = (dict(each).get(resource, 0) for each in (spec.demand, spec.unasked))
    used = capacity - view.free[row]
    full = used + demand + unasked - view.free[beside]
    uses = np.stack([full, used, used + demand])
    return np.vstack([np.minimum(uses, capacity) * inverse, capacity > 0])


FULL, BEFORE, AFTER, PRESENT = 0, 1, 2, 3
"""Rows of `shares`."""
