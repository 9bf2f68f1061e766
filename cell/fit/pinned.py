"""Rule: a pinned replica goes to its node or nowhere. The pin is the replica's, not its class's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOWHERE = -1
"""The pinned node is not in the cluster."""


def pinned(pin: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each of `rows` is the pinned node; `pin` is its index or NOWHERE."""
    held: NDArray[np.bool_] = rows == pin
    return held
