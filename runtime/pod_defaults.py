"""kube-scheduler's default constraints: pods of a service or workload that do not say how they are
spread are spread over hosts and zones, as a wish.

What selects the pods has to be among the objects that are read: services, and the workload that
controls the pod. Where nothing does, there is no constraint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cell.between import Labels, Spread
from cell.node import HOSTNAME_LABEL
from cell.requirements import Operator, Requirement
from runtime.fields import Fields
from runtime.selectors import label_selector

ZONE_LABEL = "topology.kubernetes.io/zone"
CONSTRAINTS = ((HOSTNAME_LABEL, 3), (ZONE_LABEL, 5))
"""(topology key, maxSkew)"""
OWNERS = ("ReplicaSet", "StatefulSet", "ReplicationController")
Requirements = tuple[Requirement, ...]


class Selectors(msgspec.Struct, frozen=True):
    """Who selects pods."""

    services: tuple[tuple[str, Labels], ...] = ()
    """(namespace, selector), in order."""
    owners: Mapping[tuple[str, str, str], Requirements] = msgspec.field(default_factory=dict)
    """By kind, namespace and name."""


def selectors_in(listed: Iterable[Fields], namespace: str) -> Selectors:
    """Those among objects. Raises BadManifest."""
    services: list[tuple[str, Labels]] = []
    owners: dict[tuple[str, str, str], Requirements] = {}
    for fields in listed:
        kind, metadata = fields.text("kind"), fields.fields("metadata")
        where, spec = metadata.text("namespace") or namespace, fields.fields("spec")
        if kind == "Service" and spec.raw("selector") is not None:
            services.append((where, spec.pairs("selector")))
        elif kind in OWNERS:
            owners[kind, where, metadata.text("name")] = owner_selector(kind, spec)
    return Selectors(tuple(services), owners)


def owner_selector(kind: str, spec: Fields) -> Requirements:
    """What a workload selects its pods by, () for those that kube-scheduler does not look at."""
    if kind == "ReplicationController":
        return _equal(dict(spec.pairs("selector")))
    return label_selector(spec.fields("selector")) if kind in (*OWNERS, "Deployment") else ()


def default_spread(
    selectors: Selectors, metadata: Fields, namespace: str, owner: Requirements = ()
) -> tuple[Spread, ...]:
    """The constraints of a pod that names none; `owner` is the selector of who will make it."""
    labels, merged = dict(metadata.pairs("labels")), dict[str, str]()
    for where, selector in selectors.services:
        if where == namespace and all(labels.get(key) == value for key, value in selector):
            merged |= dict(selector)
    for each in metadata.each("ownerReferences"):
        if each.flag("controller"):
            name = each.text("kind"), namespace, each.text("name")
            owner = selectors.owners.get(name, owner)
    selected = (*_equal(merged), *owner)
    if not selected:
        return ()
    return tuple(
        Spread(key, skew, selected, is_required=False, are_keys_needed=False)
        for key, skew in CONSTRAINTS
    )


def _equal(labels: Mapping[str, str]) -> Requirements:
    return tuple(Requirement(key, Operator.IN, (value,)) for key, value in labels.items())
