"""Rule: a node's NoSchedule and NoExecute taints must be tolerated; PreferNoSchedule never filters,
its taints are counted.

Equal lists of taints are one set: judged once per class, then looked up per node.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import Toleration
from cell.node import Taint

Bits = NDArray[np.bool_]


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint."""
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.key not in ("", taint.key):
        return False
    return toleration.operator == "Exists" or toleration.value == taint.value


def is_tolerated(taints: tuple[Taint, ...], tolerations: tuple[Toleration, ...]) -> bool:
    """Whether every taint that filters is covered by a toleration."""
    return all(
        taint.effect == "PreferNoSchedule" or any(tolerates(t, taint) for t in tolerations)
        for taint in taints
    )


class NodeTaints:
    """Taints of all nodes by index, as ids of distinct lists."""

    def __init__(self) -> None:
        self.sets: list[tuple[Taint, ...]] = [()]
        self._ids: dict[tuple[Taint, ...], int] = {(): 0}
        self.column: NDArray[np.int32] = np.zeros(0, np.int32)

    def resize(self, nodes: int) -> None:
        """Make room for nodes below `nodes`; new ones have no taints."""
        grown = np.zeros(nodes - len(self.column), np.int32)
        self.column = np.concatenate([self.column, grown])

    def put(self, node: int, taints: tuple[Taint, ...]) -> None:
        """Replace a node's taints; unused sets are swept when sets outnumber the nodes."""
        known = self._ids.get(taints)
        if known is None:
            if len(self.sets) > len(self.column) + 64:
                self._sweep()
            known = self._ids[taints] = len(self.sets)
            self.sets.append(taints)
        self.column[node] = known

    def tolerated(self, tolerations: tuple[Toleration, ...], rows: NDArray[np.int64]) -> Bits:
        """Whether the nodes' taints are tolerated, per row."""
        judged = np.fromiter((is_tolerated(s, tolerations) for s in self.sets), np.bool_)
        return judged[self.column[rows]]

    def unwanted(
        self, tolerations: tuple[Toleration, ...], rows: NDArray[np.int64]
    ) -> NDArray[np.int16]:
        """How many PreferNoSchedule taints of the nodes are not tolerated, per row."""
        counts = (
            sum(
                taint.effect == "PreferNoSchedule"
                and not any(tolerates(t, taint) for t in tolerations)
                for taint in taints
            )
            for taints in self.sets
        )
        judged = np.fromiter(counts, np.int16)
        return judged[self.column[rows]]

    def _sweep(self) -> None:
        used = np.union1d(self.column, [0])
        self.column = np.searchsorted(used, self.column).astype(np.int32)
        self.sets = [self.sets[i] for i in used.tolist()]
        self._ids = {taints: i for i, taints in enumerate(self.sets)}
