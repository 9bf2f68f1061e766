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
from runtime.node_manifest import attaching, node
from runtime.pod_class import ANY_CLUSTER, Cluster, held_class, pod_needs
from runtime.pod_defaults import selectors_in
from runtime.pod_volumes import unbound_claims
from runtime.storage import Storage

ENDED = ("Succeeded", "Failed")


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
    source: tuple[str, Fields] | None = None
    """What it was read from, and where that stands, if its volumes may be chosen before its turn;
    `nth` of the units there."""
    nth: int = 0

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
    storage: Storage = msgspec.field(default_factory=Storage)
    context: Cluster = ANY_CLUSTER
    profile: str = ""

    def renewed(self, waiting: Waiting) -> Waiting:
        """The same as it is to be read now that those before it were placed."""
        if waiting.source is None:
            return waiting
        if waiting.is_pod:
            again = _waiting_pod(waiting, waiting.source[1].values, self.context)
        else:
            units = submission_in(self.context, [waiting.source]).units
            again = msgspec.structs.replace(waiting, unit=units[waiting.nth])
        return _under(self.profile, again) if self.profile else again

    def placed(self, unit: UnitSpec, node: str) -> None:
        """A replica of the unit went there, and its volumes are chosen with that."""
        for group in unit.groups:
            claims = group.klass.between.claims if group.klass.between else ()
            self.storage.take(unbound_claims(self.storage, claims), node)


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
    rest = _add_storage(made, listed)
    made.context = msgspec.structs.replace(cluster, storage=made.storage)
    made.profile = profile
    for file, place, fields in rest:
        with said_of(place):
            _add(made, made.context, file, place, fields)
    made.nodes = [attaching(node, made.storage, _used_on(made, node.name)) for node in made.nodes]
    if profile:
        made.waiting = [_under(profile, each) for each in made.waiting]
    made.waiting.sort(key=lambda each: (-each.priority, each.created))
    return made


def _add_storage(
    made: TrialCluster, listed: list[tuple[str, list[tuple[str, Fields]]]]
) -> list[tuple[str, str, Fields]]:
    """Take nodes and volumes, which pods are read with; returns all else with file and place."""
    rest = []
    for file, entries in listed:
        for place, fields in entries:
            with said_of(place):
                if (fields.text("apiVersion"), fields.text("kind")) == ("v1", "Node"):
                    made.nodes.append(node(fields))
                elif not made.storage.put(fields):
                    rest.append((file, place, fields))
    made.storage.nodes = {each.name: dict(each.labels) for each in made.nodes}
    return rest


def _used_on(made: TrialCluster, node: str) -> set[str]:
    """Claims of the pods that are on a node."""
    there = [each.klass.between for each in made.running if each.node == node]
    return {claim.name for between in there if between for claim in between.claims}


def _add(made: TrialCluster, cluster: Cluster, file: str, place: str, fields: Fields) -> None:
    kind = (fields.text("apiVersion"), fields.text("kind"))
    if kind == ("v1", "Pod"):
        _add_pod(made, cluster, file, fields)
    elif kind[1] not in NOTHING_TO_PLACE:
        for nth, unit in enumerate(submission_in(cluster, [(place, fields)]).units):
            source = (place, fields) if _has_claims(unit) else None
            made.waiting.append(Waiting(file, unit.key, unit, source=source, nth=nth))


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
        waiting = Waiting(file, name, created=created, is_pod=True)
        if "volumes" in spec:
            waiting = msgspec.structs.replace(waiting, source=("", fields))
        made.waiting.append(_waiting_pod(waiting, fields.values, cluster))


def _waiting_pod(waiting: Waiting, pod: Any, cluster: Cluster) -> Waiting:
    """The same with its unit, or with the reason why there is none."""
    try:
        needs = pod_needs(pod, cluster=cluster, is_admitted=True)
    except BadManifest as error:
        return msgspec.structs.replace(waiting, unit=None, refusal=str(error))
    unit = UnitSpec(waiting.name, (GroupSpec(needs.klass),), needs.priority)
    return msgspec.structs.replace(waiting, unit=unit)


def _has_claims(unit: UnitSpec) -> bool:
    return any(group.klass.between and group.klass.between.claims for group in unit.groups)


def _under(profile: str, waiting: Waiting) -> Waiting:
    """The same, its classes of another profile."""
    replace = msgspec.structs.replace
    if waiting.unit is None:
        return waiting
    groups = tuple(
        replace(group, klass=replace(group.klass, profile=profile)) for group in waiting.unit.groups
    )
    return replace(waiting, unit=replace(waiting.unit, groups=groups))
