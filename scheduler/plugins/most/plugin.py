"""kube-scheduler's NodeResourcesFit with MostAllocated: pack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec
from scheduler.framework.plugin import ScorePlugin, View
from scheduler.framework.shares import shares
from scheduler.plugins.most.kernel import most


class Most(ScorePlugin):
    """Scores by cpu and memory as they would be with the replica on the node."""

    name = "most"
    fused = 1

    def score(
        self,
        view: View,
        spec: ClassSpec,
        feasible: NDArray[np.bool_],
        score: NDArray[np.int64],
    ) -> None:
        """Add 0 to 100 to each feasible node's score."""
        cpu, memory = shares(view, spec, "cpu"), shares(view, spec, "memory")
        most(cpu, memory, feasible, score)
