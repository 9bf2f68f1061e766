"""How full nodes would be with one more replica: the share of a resource used, in percent.

Shares are float64, because vectors of int64 products and quotients cost ten times as much without
AVX-512, and all rounding takes CLOSE into account: exact for capacities below 1e14, and for larger
ones in multiples. Kernels, hooks and repairs compute the same operations in the same order, so they
agree to the bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec
from cell.jit import njit
from scheduler.framework.plugin import View

CLOSE = 1e-12
"""A share nearer than this to a whole number is that number; arithmetic errs by 4e-14 at most."""

F64 = NDArray[np.float64]


@njit
def share_of(capacity: float, inverse: float, free: float, demand: float) -> float:
    """The share used with `demand` more, 0 to 100; `inverse` is 100 / capacity, or 0 for none."""
    return min(max(capacity - free + demand, 0.0), capacity) * inverse


@njit
def inverse_of(capacity: float) -> float:
    """100 / capacity, 0 for none."""
    return 100.0 / capacity if capacity > 0.0 else 0.0


def shares(view: View, spec: ClassSpec, resource: str) -> F64:
    """[SHARE | PRESENT, node]: the share used with the replica there, and 1 where there is any."""
    out = np.zeros((2, view.free.shape[1]))
    row = view.resources.get(resource)
    if row is not None:
        capacity = view.allocatable[row].astype(np.float64)
        present = capacity > 0
        inverse = np.divide(100.0, capacity, out=np.zeros(len(capacity)), where=present)
        demand = float(dict(spec.demand).get(resource, 0))
        used = capacity - view.free[row].astype(np.float64) + demand
        out[0] = np.minimum(np.maximum(used, 0.0), capacity) * inverse
        out[1] = present
    return out
