"""Rule: a node must declare every feature that the replica needs (Kubernetes' declaredFeatures)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.fit.labels import ABSENT, NodeLabels


def declared(
    labels: NodeLabels, features: tuple[int, ...], rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the nodes have the labels that stand for the features."""
    held = np.ones(len(rows), np.bool_)
    for key in features:
        held &= labels.column(key)[rows] != ABSENT
    return held
