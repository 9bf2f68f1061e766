"""A cluster as manifests say it: nodes, pods that run, and what waits, in the queue's order.

The files are those of `kubectl get -o yaml` as well as those of `godel submit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cell.classes import ClassSpec
from cell.node import NodeSpec
from cell.unit import GroupSpec, UnitSpec
from runtime.documents import Document
from runtime.fields import BadManifest, Fields, said_of
from runtime.manifests import NOTHING_TO_PLACE, cluster_of, flat, submission_in
from runtime.node_manifest import node
from runtime.pod_class import Cluster, held_class, pod_needs
from runtime.pod_defaults import selectors_in

ENDED = ("Succeeded", "Failed")
STORAGE = frozenset(
    (
        *("PersistentVolume", "PersistentVolumeClaim", "StorageClass", "CSINode", "CSIDriver"),
        *("CSIStorageCapacity", "VolumeAttachment"),
    )
)
"""Kinds that no rule reads yet: a pod that needs them is refused by name."""


class Running(msgspec.Struct, frozen=True):
    """A pod that has its node; `is_leaving`: it is being stopped."""

    key: str
    klass: ClassSpec
    node: str
    is_leaving: bool = False


class Waiting(msgspec.Struct, frozen=True):
    """What waits: a unit, or why there is none."""

    file: str
    name: str
    unit: UnitSpec | None = None
    refusal: str = ""
    created: str = ""
    is_pod: bool = False

    @property
    def priority(self) -> int:
        """The unit's."""
        return self.unit.priority if self.unit else 0

    def replica(self, group: int, ordinal: int) -> str:
        """How a replica is called."""
        if self.is_pod or self.unit is None:
            return self.name
        is_one = len(self.unit.groups) == 1
        return f"{self.name}/{ordinal}" if is_one else f"{self.name}/{group}/{ordinal}"


class TrialCluster(msgspec.Struct):
    """See the module; `waiting` in the order in which it is tried."""

    nodes: list[NodeSpec] = []
    running: list[Running] = []
    waiting: list[Waiting] = []


def trial_cluster(files: Sequence[tuple[str, list[Document]]], profile: str = "") -> TrialCluster:
    """The cluster of some files. Raises BadManifest.

    What waits and cannot be honoured is kept with the reason; all else that is wrong is an error.
    """
    listed = [(file, flat(documents)) for file, documents in files]
    cluster = cluster_of(entry for _, entries in listed for entry in entries)
    objects = (fields for _, entries in listed for _, fields in entries)
    selectors = selectors_in(objects, cluster.namespace)
    cluster = msgspec.structs.replace(cluster, selectors=selectors)
    made = TrialCluster()
    for file, entries in listed:
        for place, fields in entries:
            with said_of(place):
                _add(made, cluster, file, place, fields)
    if profile:
        made.waiting = [_under(profile, each) for each in made.waiting]
    made.waiting.sort(key=lambda each: (-each.priority, each.created))
    return made


def _add(made: TrialCluster, cluster: Cluster, file: str, place: str, fields: Fields) -> None:
    kind = (fields.text("apiVersion"), fields.text("kind"))
    if kind == ("v1", "Node"):
        made.nodes.append(node(fields))
    elif kind == ("v1", "Pod"):
        _add_pod(made, cluster, file, fields)
    elif kind[1] not in NOTHING_TO_PLACE and kind[1] not in STORAGE:
        asked = submission_in(cluster, [(place, fields)])
        made.waiting += [Waiting(file, unit.key, unit) for unit in asked.units]


def _add_pod(made: TrialCluster, cluster: Cluster, file: str, fields: Fields) -> None:
    metadata, spec = fields.fields("metadata"), fields.fields("spec")
    name = f"{metadata.text('namespace') or cluster.namespace}/{metadata.text('name')}"
    if fields.fields("status").text("phase") in ENDED:
        return
    is_leaving = metadata.raw("deletionTimestamp") is not None
    if spec.text("nodeName"):
        klass = held_class(fields.values, cluster)
        made.running.append(Running(name, klass, spec.text("nodeName"), is_leaving))
    elif not is_leaving and "schedulingGates" not in spec:
        created = str(metadata.raw("creationTimestamp") or "")
        made.waiting.append(_waiting_pod(file, name, created, fields.values, cluster))


def _waiting_pod(file: str, name: str, created: str, pod: Any, cluster: Cluster) -> Waiting:
    try:
        needs = pod_needs(pod, cluster=cluster, is_admitted=True)
    except BadManifest as error:
        return Waiting(file, name, None, str(error), created, is_pod=True)
    unit = UnitSpec(name, (GroupSpec(needs.klass),), needs.priority)
    return Waiting(file, name, unit, "", created, is_pod=True)


def _under(profile: str, waiting: Waiting) -> Waiting:
    """The same, its classes of another profile."""
    replace = msgspec.structs.replace
    if waiting.unit is None:
        return waiting
    groups = tuple(
        replace(group, klass=replace(group.klass, profile=profile)) for group in waiting.unit.groups
    )
    return replace(waiting, unit=replace(waiting.unit, groups=groups))
