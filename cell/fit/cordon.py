"""Rule: a cordoned node takes nothing, unless the taint that stands for a cordon is tolerated."""

from __future__ import annotations

from cell.classes import Toleration
from cell.fit.taints import tolerates
from cell.node import Taint

CORDON_TAINT = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
"""What kube-scheduler checks tolerations against when a node is cordoned."""


def is_cordon_tolerated(tolerations: tuple[Toleration, ...]) -> bool:
    """Whether a class may go to cordoned nodes."""
    return any(tolerates(t, CORDON_TAINT) for t in tolerations)
