"""How full nodes would be with one more replica: the share of a resource used, in per mille."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec
from scheduler.framework.plugin import View

DOWN, UP, PRESENT = 0, 1, 2
"""Rows of `shares`."""


def shares(view: View, spec: ClassSpec, resource: str) -> NDArray[np.int64]:
    """[DOWN | UP | PRESENT, node]: the share used with the replica there, in per mille rounded down
    and up, and whether the node has the resource at all.
    """
    out = np.zeros((3, view.free.shape[1]), np.int64)
    row = view.resources.get(resource)
    if row is None:
        return out
    capacity = view.allocatable[row]
    demand = dict(spec.demand).get(resource, 0)
    used = np.clip(capacity - view.free[row] + demand, 0, capacity) * 1000
    present = capacity > 0
    np.floor_divide(used, capacity, out=out[DOWN], where=present)
    out[UP] = out[DOWN] + (out[DOWN] * capacity < used)
    out[PRESENT] = present
    return out
