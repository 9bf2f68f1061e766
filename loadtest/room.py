"""A dumb fit check of our own: does any node have room for what waits?

Shares nothing with the services: it reads what Cluster.ListNodes shows, plus the labels of nodes
that the run itself registered. Taints and labels of other nodes are not shown there; workloads of
ours tolerate nothing and ask only for labels that they registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from godel.v1 import cluster_pb2, types_pb2

POD_SLOT = "pods"


@dataclass(frozen=True)
class Room:
    """What one node has free."""

    name: str
    free: Mapping[str, int]
    labels: Mapping[str, str]


def rooms(
    views: Iterable[cluster_pb2.NodeView], labels: Mapping[str, Mapping[str, str]]
) -> list[Room]:
    """The free room of every node that is not cordoned."""
    return [
        Room(
            view.name,
            {name: amount - view.used.get(name, 0) for name, amount in view.allocatable.items()},
            labels.get(view.name, {}),
        )
        for view in views
        if not view.is_cordoned
    ]


def places_in(room: Room, spec: types_pb2.ClassSpec) -> int:
    """How many replicas of a class the node could take now."""
    if not _is_wanted(room, spec):
        return 0
    places = room.free.get(POD_SLOT, 0)
    for name, amount in spec.demand.items():
        if amount > 0 and name != POD_SLOT:
            places = min(places, room.free.get(name, 0) // amount)
    return max(places, 0)


def is_room(spec: types_pb2.ClassSpec, least: int, nodes: Sequence[Room]) -> bool:
    """Whether `least` replicas of a class could be placed now."""
    found = 0
    for room in nodes:
        found += places_in(room, spec)
        if found >= least:
            return True
    return False


def _is_wanted(room: Room, spec: types_pb2.ClassSpec) -> bool:
    if any(room.labels.get(key) != value for key, value in spec.selector.items()):
        return False
    if not spec.HasField("affinity"):
        return True
    return any(_is_met(room, term) for term in spec.affinity.terms)


def _is_met(room: Room, term: types_pb2.Term) -> bool:
    for requirement in term.labels:
        if requirement.operator != types_pb2.OPERATOR_IN:
            raise ValueError(f"the fit check does not know operator {requirement.operator}")
        if room.labels.get(requirement.key) not in requirement.values:
            return False
    return bool(term.labels)
