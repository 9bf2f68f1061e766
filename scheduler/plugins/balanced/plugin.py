"""kube-scheduler's NodeResourcesBalancedAllocation: use cpu and memory alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import UNASKED, ClassSpec
from scheduler.framework.plugin import ScorePlugin, View
from scheduler.framework.shares import shares
from scheduler.plugins.balanced.kernel import balanced


class Balanced(ScorePlugin):
    """Scores by cpu and memory as they would be with the replica on the node."""

    name = "balanced"
    fused = 2

    def is_about(self, spec: ClassSpec) -> bool:
        """Whether it asks for cpu or memory: of others kube-scheduler says nothing either."""
        return any(name in UNASKED for name, _ in spec.demand)

    def score(
        self,
        view: View,
        spec: ClassSpec,
        feasible: NDArray[np.bool_],
        score: NDArray[np.int64],
    ) -> None:
        """Add 50 to 100 to each feasible node's score."""
        cpu, memory = shares(view, spec, "cpu"), shares(view, spec, "memory")
        balanced(cpu, memory, feasible, score)
