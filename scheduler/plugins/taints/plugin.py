"""kube-scheduler's TaintToleration: the fewer taints to avoid, the better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec
from cell.fit.static import StaticNodes
from scheduler.framework.plugin import StaticScorePlugin, Values


class Taints(StaticScorePlugin):
    """Counts PreferNoSchedule taints that are not tolerated."""

    name = "taints"
    is_reversed = True

    def values(self, nodes: StaticNodes, spec: ClassSpec, rows: NDArray[np.int64]) -> Values:
        """Such taints per row."""
        return nodes.taints.unwanted(spec.tolerations, rows)
