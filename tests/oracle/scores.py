"""Scores of both schedulers for pods of which they name the same nodes: where a plugin's differ.

Where they differ on purpose, and are not compared:
- `least`: kube-scheduler's does not read the resources that a pod asks for as a whole, while its
  filter does; ours does.
- `taints`, `node_affinity`: ours are normalised over the nodes that the static rules allow, theirs
  over those that every filter lets pass. Compared where these are the same nodes.
- `balanced`: theirs is cut off by floating-point arithmetic now and then; it may be one more or
  less.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Line = dict[str, Any]
THEIRS = {
    "least": ("NodeResourcesFit", 1),
    "balanced": ("NodeResourcesBalancedAllocation", 1),
    "taints": ("TaintToleration", 3),
    "node_affinity": ("NodeAffinity", 2),
    "pod_affinity": ("InterPodAffinity", 2),
    "topology_spread": ("PodTopologySpread", 2),
}
"""Their plugin for each of ours, and its weight, which their scores have in them."""
SLACK = {"balanced": 1}
STATIC = {
    "cordoned",
    "untolerated taint",
    "node selector matches no such node",
    "node affinity matches no such node",
    "the node does not declare a feature that is needed",
}
"""Reasons of rules that look at specs alone."""


def score_differences(ours: Line, theirs: Line, pod: Line) -> list[str]:
    """Where the scores of one pod differ that should not."""
    if ours["feasible"] != theirs["feasible"]:
        return []
    return [
        f"{plugin} of {node}: ours {mine}, theirs {other}"
        for plugin in _compared(ours, pod)
        for node in ours["feasible"]
        for mine, other in [_points(plugin, node, ours, theirs)]
        if abs(mine - other) > SLACK.get(plugin, 0)
    ]


def compared_plugins(ours: Line, theirs: Line, pod: Line) -> set[str]:
    """Plugins whose scores of the pod are compared and tell one node from another."""
    if ours["feasible"] != theirs["feasible"]:
        return set()
    found = {}
    for plugin in _compared(ours, pod):
        found[plugin] = {_points(plugin, node, ours, theirs)[1] for node in ours["feasible"]}
    return {plugin for plugin, points in found.items() if len(points) > 1}


def pods_of(file: str) -> dict[str, Line]:
    """The pods of a cluster by name."""
    items = json.loads(Path(file).read_bytes())["items"]
    pods = [item for item in items if item["kind"] == "Pod"]
    return {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in pods}


def _compared(ours: Line, pod: Line) -> list[str]:
    reasons = {text for texts in ours["reasons"].values() for text in texts}
    left_out = set() if reasons <= STATIC else {"taints", "node_affinity"}
    if "resources" in pod["spec"]:
        left_out |= {"least"}
    return [plugin for plugin in THEIRS if plugin not in left_out]


def _points(plugin: str, node: str, ours: Line, theirs: Line) -> tuple[int, int]:
    name, weight = THEIRS[plugin]
    return ours["scores"][node][plugin], theirs["scores"][node].get(name, 0) // weight
