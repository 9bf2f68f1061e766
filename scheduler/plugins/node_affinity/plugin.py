"""kube-scheduler's NodeAffinity: the weights of the preferred terms that a node matches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec
from cell.fit.labels import attracted, need_term
from cell.fit.static import StaticNodes
from scheduler.framework.plugin import StaticScorePlugin, Values


class NodeAffinity(StaticScorePlugin):
    """Adds up the wishes that a node fulfils."""

    name = "node_affinity"

    def values(self, nodes: StaticNodes, spec: ClassSpec, rows: NDArray[np.int64]) -> Values:
        """Sum of weights per row; TERMS_MAX wishes of WEIGHT_MAX are far below VALUE_MAX."""
        found = np.zeros(len(rows), np.int16)
        for wish in spec.wishes:
            need = (need_term(wish.term, nodes.strings),)
            found += attracted(nodes.labels, nodes.names, nodes.strings, need, rows) * np.int16(
                wish.weight
            )
        return found
