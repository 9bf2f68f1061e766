"""Nodes as registered: name, allocatable, labels, taints, cordon. The binder owns them.

Registering a name again updates the node; removing it and registering it later makes a new
incarnation. `normalise` checks and sorts; everything behind it may trust a NodeSpec.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from cell.classes import AMOUNT_MAX, POD_SLOT
from cell.names import NAME_BYTES_MAX, UNSHOWABLE, is_showable
from cell.requirements import LABEL_BYTES_MAX, BadSpec

NODES_MAX = 1 << 20
"""Nodes in one cluster."""
NODE_RESOURCES_MAX = 64
"""Entries of the resource dictionary."""
NODE_LABELS_MAX = 256
NODE_TAINTS_MAX = 64
PODS_DEFAULT = 110
"""Pod slots of a node that declares none, the kubelet's default."""
HOSTNAME_LABEL = "kubernetes.io/hostname"
FEATURE_PREFIX = "feature:"
"""A label of this prefix, which Kubernetes does not allow, is a feature that the node declares."""
ATTACH_PREFIX = "attach:"
"""A label of this prefix says how many volumes of a driver the node can attach."""


class Effect(IntEnum):
    """Taint effects; numbers travel in `NodeSpecs.taint_effect`."""

    NO_SCHEDULE = 0
    PREFER_NO_SCHEDULE = 1
    NO_EXECUTE = 2


EFFECTS = {
    "NoSchedule": Effect.NO_SCHEDULE,
    "PreferNoSchedule": Effect.PREFER_NO_SCHEDULE,
    "NoExecute": Effect.NO_EXECUTE,
}


class Taint(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A taint; `effect` is NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    value: str
    effect: str


class NodeSpec(msgspec.Struct, frozen=True, array_like=True):
    """A node's spec. Amounts as in `cell.classes`."""

    name: str
    allocatable: tuple[tuple[str, int], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


def normalise(node: NodeSpec) -> NodeSpec:
    """The sorted form with `pods` filled in. Raises BadSpec."""
    if not node.name or len(node.name.encode()) > NAME_BYTES_MAX:
        raise BadSpec("name", f"needs 1 to {NAME_BYTES_MAX} bytes")
    if not is_showable(node.name):
        raise BadSpec("name", UNSHOWABLE)
    if len(node.labels) > NODE_LABELS_MAX:
        raise BadSpec("labels", f"{len(node.labels)} labels, limit {NODE_LABELS_MAX}")
    labels = dict(node.labels)
    if len(labels) != len(node.labels):
        raise BadSpec("labels", "a key is named twice")
    for key, value in node.labels:
        if not key or len(key.encode()) > LABEL_BYTES_MAX or len(value.encode()) > LABEL_BYTES_MAX:
            raise BadSpec(
                f"labels[{key[:64]}]", f"key or value outside 1 to {LABEL_BYTES_MAX} bytes"
            )
    return NodeSpec(
        name=node.name,
        allocatable=_allocatable(node),
        labels=tuple(sorted(labels.items())),
        taints=_taints(node),
        unschedulable=node.unschedulable,
    )


def _taints(node: NodeSpec) -> tuple[Taint, ...]:
    if len(node.taints) > NODE_TAINTS_MAX:
        raise BadSpec("taints", f"{len(node.taints)} taints, limit {NODE_TAINTS_MAX}")
    for i, taint in enumerate(node.taints):
        if not taint.key:
            raise BadSpec(f"taints[{i}].key", "is empty")
        for field, text in (("key", taint.key), ("value", taint.value)):
            if len(text.encode()) > LABEL_BYTES_MAX:
                raise BadSpec(f"taints[{i}].{field}", f"limit {LABEL_BYTES_MAX} bytes")
        if taint.effect not in EFFECTS:
            raise BadSpec(f"taints[{i}].effect", f"{taint.effect!r} is no taint effect")
    return tuple(sorted(set(node.taints)))


def _allocatable(node: NodeSpec) -> tuple[tuple[str, int], ...]:
    amounts = dict(node.allocatable)
    if len(amounts) != len(node.allocatable):
        raise BadSpec("allocatable", "a resource is named twice")
    if len(amounts) > NODE_RESOURCES_MAX:
        raise BadSpec("allocatable", f"{len(amounts)} resources, limit {NODE_RESOURCES_MAX}")
    for name, amount in amounts.items():
        if not name or len(name.encode()) > LABEL_BYTES_MAX:
            raise BadSpec(f"allocatable[{name[:64]}]", f"name outside 1 to {LABEL_BYTES_MAX} bytes")
        if not 0 <= amount <= AMOUNT_MAX:
            raise BadSpec(f"allocatable[{name}]", f"{amount} is outside 0 to {AMOUNT_MAX}")
    amounts.setdefault(POD_SLOT, PODS_DEFAULT)
    return tuple(sorted(amounts.items()))
