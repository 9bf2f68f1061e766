"""kube-scheduler's InterPodAffinity; the kernel is in `cell.fit.weighing`, on the counters of
`cell.fit.wishes`."""

from __future__ import annotations

from scheduler.framework.plugin import WishPlugin


class PodAffinity(WishPlugin):
    """Weights of terms, the class's own and residents', over those whom they mean."""

    name = "pod_affinity"
    wished = 0
