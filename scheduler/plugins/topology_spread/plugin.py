"""kube-scheduler's PodTopologySpread; the kernel is in `cell.fit.weighing`, on the counters of
`cell.fit.wishes`."""

from __future__ import annotations

from scheduler.framework.plugin import WishPlugin


class TopologySpread(WishPlugin):
    """The fewer of the selected a node's domains have, the better."""

    name = "topology_spread"
    wished = 1
