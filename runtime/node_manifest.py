"""Nodes out of Kubernetes Node objects: name, labels, taints, cordon, and what pods may have.

Other fields of a Node say nothing that scheduling reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from cell.classes import POD_SLOT
from cell.node import ATTACH_PREFIX, FEATURE_PREFIX, PODS_DEFAULT, NodeSpec, Taint, normalise
from cell.requirements import BadSpec
from runtime.documents import Document
from runtime.fields import BadManifest, Fields, said_of
from runtime.manifests import flat
from runtime.own_kinds import demand
from runtime.storage import Storage


def nodes(documents: Iterable[Document]) -> list[NodeSpec]:
    """All nodes of the documents, in their order. Raises BadManifest with file and field."""
    found = []
    places: dict[str, str] = {}
    for place, fields in flat(documents):
        with said_of(place):
            made = node(fields, PODS_DEFAULT)
            if made.name in places:
                raise BadManifest("metadata.name", f"{made.name} stands in {places[made.name]} too")
            places[made.name] = place
            found.append(made)
    return found


def _features(status: Fields) -> tuple[tuple[str, str], ...]:
    """What the node declares that it can do, as labels that nobody can set."""
    return tuple((f"{FEATURE_PREFIX}{name}", "") for name in status.texts("declaredFeatures"))


def node(fields: Fields, pods_default: int = 0) -> NodeSpec:
    """One node; without `status.allocatable`, `status.capacity` counts. Raises BadManifest.

    `pods_default` are the pods of a node that does not say how many it takes."""
    kind = (fields.text("apiVersion"), fields.text("kind"))
    if kind != ("v1", "Node"):
        raise BadManifest(fields.at("kind"), f"{' '.join(kind)} is not v1 Node")
    metadata = fields.fields("metadata")
    spec = fields.fields("spec")
    status = fields.fields("status")
    listed = status.fields("allocatable" if "allocatable" in status else "capacity")
    made = NodeSpec(
        name=metadata.text("name"),
        allocatable=tuple({POD_SLOT: pods_default, **dict(demand(listed))}.items()),
        labels=(*metadata.pairs("labels"), *_features(status)),
        taints=tuple(
            Taint(each.text("key"), each.text("value"), each.text("effect"))
            for each in spec.each("taints")
        ),
        unschedulable=spec.flag("unschedulable"),
    )
    try:
        return normalise(made)
    except BadSpec as error:
        head = error.field.partition("[")[0]
        path = {"name": "metadata", "labels": "metadata", "taints": "spec"}.get(head, "status")
        raise BadManifest(f"{path}.{error.field}", error.reason) from None


def attaching(spec: NodeSpec, storage: Storage, used: Collection[str]) -> NodeSpec:
    """The node with what it can attach as labels that nobody can set.

    `used` are the claims of pods that are there. Volumes that are attached and belong to none of
    them are in the way.
    """
    limits = storage.limits.get(spec.name)
    if not limits:
        return spec
    idle = {driver: set[str]() for driver in limits}
    for node, driver, name in storage.attached.values():
        volume = storage.volumes.get(name)
        if node == spec.name and driver in idle and volume is not None and volume.driver:
            key = volume.claim[0] if volume.claim else ""
            if key not in used:
                idle[driver].add(name)
    labels = {
        f"{ATTACH_PREFIX}{driver}": str(max(0, limit - len(idle[driver])))
        for driver, limit in limits.items()
    }
    return msgspec.structs.replace(
        spec, labels=tuple(sorted({**dict(spec.labels), **labels}.items()))
    )
