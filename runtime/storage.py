"""What a cluster says of volumes: claims, volumes, classes, capacities, what nodes attach.

Owned by whoever reads pods: `pod_volumes` asks it where a pod's volumes are or can be. Each object
is read once, into what scheduling needs of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import msgspec

from cell.between import is_selected
from cell.requirements import Operator, Requirement, Term
from runtime.fields import BadManifest, Fields
from runtime.quantities import BadQuantity, parse
from runtime.selectors import label_selector, node_term, topology_term

BOUND_KEY = "pv.kubernetes.io/bind-completed"
NODE_KEY = "volume.kubernetes.io/selected-node"
BETA_CLASS_KEY = "volume.beta.kubernetes.io/storage-class"
ZONE_KEYS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
}
"""Labels of volumes and nodes that say where they are, and what each is called today."""
ZONES_DELIMITER = "__"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
ALONE = "ReadWriteOncePod"
MIGRATED = frozenset(
    f"kubernetes.io/{name}"
    for name in ("aws-ebs", "gce-pd", "azure-disk", "azure-file", "cinder", "vsphere-volume")
) | {"kubernetes.io/portworx-volume"}
"""Provisioners of old: nodes count their volumes only where a driver has taken their place, which
is not followed."""


class ClaimView(msgspec.Struct, frozen=True):
    """A PersistentVolumeClaim."""

    key: str
    uid: str = ""
    version: str = ""
    klass: str = ""
    volume: str = ""
    is_bound: bool = False
    modes: frozenset[str] = frozenset()
    size: Fraction | None = None
    selector: tuple[Requirement, ...] = ()
    mode: str = "Filesystem"
    attributes: str = ""
    """Name of its VolumeAttributesClass."""
    node: str = ""
    """Selected for the volume to be made."""
    is_lost: bool = False
    is_leaving: bool = False
    owner: str = ""
    """UID of the pod for which it was made."""


class VolumeView(msgspec.Struct, frozen=True):
    """A PersistentVolume."""

    name: str
    version: str = ""
    klass: str = ""
    size: Fraction = Fraction(0)
    modes: frozenset[str] = frozenset()
    mode: str = "Filesystem"
    attributes: str = ""
    labels: Mapping[str, str] = {}
    places: tuple[Term, ...] | None = None
    """Nodes that reach it match one; None: all do."""
    claim: tuple[str, str] | None = None
    """Key and UID ("" where it is not said) of the claim that it is for."""
    is_available: bool = False
    is_leaving: bool = False
    driver: str = ""

    def is_for(self, claim: ClaimView) -> bool:
        """Whether it is bound to a claim, or meant for it."""
        return self.claim is not None and self.claim in ((claim.key, ""), (claim.key, claim.uid))


class StorageClassView(msgspec.Struct, frozen=True):
    """A StorageClass."""

    name: str
    provisioner: str = ""
    is_delayed: bool = False
    """Whether volumes wait for the first pod that wants them."""
    places: tuple[Term, ...] | None = None


class CapacityView(msgspec.Struct, frozen=True):
    """A CSIStorageCapacity: the largest volume of a class that can be made on some nodes."""

    key: str
    klass: str = ""
    size: Fraction | None = None
    selector: tuple[Requirement, ...] | None = None


class Storage:
    """See the module."""

    def __init__(self, nodes: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.nodes: Mapping[str, Mapping[str, str]] = nodes or {}
        """Labels of nodes by name."""
        self.claims: dict[str, ClaimView] = {}
        self.volumes: dict[str, VolumeView] = {}
        self.classes: dict[str, StorageClassView] = {}
        self.capacities: dict[str, CapacityView] = {}
        self.counted_drivers: set[str] = set()
        """Drivers that say what capacity is left."""
        self.limits: dict[str, dict[str, int]] = {}
        """Volumes that a node can attach, by driver; by node."""
        self.attached: dict[str, tuple[str, str, str]] = {}
        """Node, driver and volume of each VolumeAttachment, by name."""

    def put(self, fields: Fields, namespace: str = "default") -> bool:
        """Take an object as it is now; whether it is of a kind that matters. Raises BadManifest."""
        name = fields.fields("metadata").text("name")
        match fields.text("kind"):
            case "PersistentVolumeClaim":
                claim = claim_view(fields, namespace)
                self.claims[claim.key] = claim
            case "PersistentVolume":
                self.volumes[name] = volume_view(fields)
            case "StorageClass":
                self.classes[name] = storage_class_view(fields)
            case "CSIStorageCapacity":
                capacity = capacity_view(fields, namespace)
                self.capacities[capacity.key] = capacity
            case "CSIDriver":
                is_counted = fields.fields("spec").flag("storageCapacity")
                (self.counted_drivers.add if is_counted else self.counted_drivers.discard)(name)
            case "CSINode":
                self.limits[name] = attach_limits(fields)
            case "VolumeAttachment":
                spec = fields.fields("spec")
                volume = spec.fields("source").text("persistentVolumeName")
                self.attached[name] = spec.text("nodeName"), spec.text("attacher"), volume
            case _:
                return False
        return True

    def known(self, kind: str, key: str) -> object:
        """What is known of an object, whatever its version."""
        match kind:
            case "PersistentVolumeClaim":
                return _unversioned(self.claims.get(key))
            case "PersistentVolume":
                return _unversioned(self.volumes.get(key))
            case "StorageClass":
                return self.classes.get(key)
            case "CSIStorageCapacity":
                return self.capacities.get(key)
            case "CSIDriver":
                return key in self.counted_drivers
            case _:
                return self.limits.get(key)

    def clear(self, kind: str) -> None:
        """Forget all objects of a kind: a list of them begins."""
        match kind:
            case "PersistentVolumeClaim":
                self.claims.clear()
            case "PersistentVolume":
                self.volumes.clear()
            case "StorageClass":
                self.classes.clear()
            case "CSIStorageCapacity":
                self.capacities.clear()
            case "CSIDriver":
                self.counted_drivers.clear()
            case "CSINode":
                self.limits.clear()

    def remove(self, kind: str, name: str, namespace: str = "") -> None:
        """Forget an object."""
        key = f"{namespace}/{name}"
        match kind:
            case "PersistentVolumeClaim":
                self.claims.pop(key, None)
            case "PersistentVolume":
                self.volumes.pop(name, None)
            case "StorageClass":
                self.classes.pop(name, None)
            case "CSIStorageCapacity":
                self.capacities.pop(key, None)
            case "CSIDriver":
                self.counted_drivers.discard(name)
            case "CSINode":
                self.limits.pop(name, None)
            case "VolumeAttachment":
                self.attached.pop(name, None)

    def driver_of(self, claim: ClaimView) -> str:
        """Who attaches the claim's volume, "" for nobody whom nodes limit."""
        volume = self.volumes.get(claim.volume)
        if volume is not None:
            return volume.driver
        klass = self.classes.get(claim.klass)
        return "" if klass is None or klass.provisioner in MIGRATED else klass.provisioner

    def candidates(self, claim: ClaimView) -> list[VolumeView]:
        """Volumes that the claim could be bound to, the smallest first; where one is meant for it,
        no other."""
        fitting = [each for each in self.volumes.values() if _is_fitting(each, claim)]
        meant = [each for each in fitting if each.is_for(claim)]
        return sorted(meant or fitting, key=lambda each: (each.size, each.name))

    def take(self, claims: list[ClaimView], node: str) -> None:
        """A pod with these claims goes to the node: volumes are bound to them, or will be made."""
        taken: set[str] = set()
        labels = self.nodes.get(node, {})
        for claim in claims:
            volume = first_at(self.candidates(claim), node, labels, taken)
            if volume is None:
                self.claims[claim.key] = msgspec.structs.replace(claim, node=node)
            else:
                taken.add(volume.name)
                bound = msgspec.structs.replace(volume, claim=(claim.key, claim.uid))
                self.volumes[volume.name] = bound


def first_at(
    candidates: Iterable[VolumeView], node: str, labels: Mapping[str, str], taken: set[str]
) -> VolumeView | None:
    """The first of a claim's candidates that a node reaches, but for those that are taken."""
    reached = (each for each in candidates if each.name not in taken)
    return next((each for each in reached if is_in(each.places, node, labels)), None)


class ByPlace:
    """A claim's candidates by node: most are in one place, and are found by its label."""

    def __init__(self, candidates: Iterable[VolumeView]) -> None:
        self._local: dict[tuple[str, str], list[tuple[int, VolumeView]]] = {}
        self._others: list[tuple[int, VolumeView]] = []
        for entry in enumerate(candidates):
            places = entry[1].places
            only = places[0] if places is not None and len(places) == 1 else Term()
            needs = only.labels
            if len(needs) == 1 and not only.fields and needs[0].operator is Operator.IN:
                for value in needs[0].values:
                    self._local.setdefault((needs[0].key, value), []).append(entry)
            else:
                self._others.append(entry)
        self._keys = sorted({key for key, _ in self._local})

    def near(self, labels: Mapping[str, str]) -> list[VolumeView]:
        """Candidates that a node of these labels may reach, in their order."""
        found = list(self._others)
        for key in self._keys:
            found += self._local.get((key, labels.get(key, "")), ())
        return [volume for _, volume in sorted(found, key=lambda entry: entry[0])]


def _unversioned(view: ClaimView | VolumeView | None) -> ClaimView | VolumeView | None:
    return None if view is None else msgspec.structs.replace(view, version="")


def is_in(places: tuple[Term, ...] | None, node: str, labels: Mapping[str, str]) -> bool:
    """Whether a node matches one of the terms; None matches all."""
    if places is None:
        return True
    return any(_is_matched(term, node, labels) for term in places)


def _is_matched(term: Term, node: str, labels: Mapping[str, str]) -> bool:
    named = {"metadata.name": node}
    return (
        bool(term.labels or term.fields)
        and is_selected(term.labels, labels)
        and is_selected(term.fields, named)
    )


def _is_fitting(volume: VolumeView, claim: ClaimView) -> bool:
    """Whether a claim could be bound to a volume, wherever it is."""
    is_meant = volume.is_for(claim)
    if (volume.claim is not None and not is_meant) or volume.is_leaving:
        return False
    if volume.size < (claim.size or 0) or volume.mode != claim.mode:
        return False
    if (volume.attributes, volume.klass) != (claim.attributes, claim.klass):
        return False
    return is_meant or (
        volume.is_available
        and is_selected(claim.selector, volume.labels)
        and claim.modes <= volume.modes
    )


def claim_view(fields: Fields, namespace: str) -> ClaimView:
    """Read a PersistentVolumeClaim. Raises BadManifest."""
    metadata, spec = fields.fields("metadata"), fields.fields("spec")
    annotations = metadata.fields("annotations")
    requests = spec.fields("resources").fields("requests")
    volume = spec.text("volumeName")
    return ClaimView(
        key=f"{metadata.text('namespace') or namespace}/{metadata.text('name')}",
        uid=metadata.text("uid"),
        version=metadata.text("resourceVersion"),
        klass=_class_of(annotations, spec),
        volume=volume,
        is_bound=bool(volume) and annotations.raw(BOUND_KEY) is not None,
        modes=frozenset(spec.texts("accessModes")),
        size=_size(requests, "storage"),
        selector=label_selector(spec.fields("selector")),
        mode=spec.text("volumeMode") or "Filesystem",
        attributes=spec.text("volumeAttributesClassName"),
        node=annotations.text(NODE_KEY),
        is_lost=fields.fields("status").text("phase") == "Lost",
        is_leaving=metadata.raw("deletionTimestamp") is not None,
        owner=next(
            (o.text("uid") for o in metadata.each("ownerReferences") if o.flag("controller")), ""
        ),
    )


def volume_view(fields: Fields) -> VolumeView:
    """Read a PersistentVolume. Raises BadManifest."""
    metadata, spec = fields.fields("metadata"), fields.fields("spec")
    affinity = spec.fields("nodeAffinity")
    places = None
    if affinity.raw("required") is not None:
        terms = affinity.fields("required").each("nodeSelectorTerms")
        places = tuple(node_term(each) for each in terms)
    claim = None
    if spec.raw("claimRef") is not None:
        ref = spec.fields("claimRef")
        claim = f"{ref.text('namespace')}/{ref.text('name')}", ref.text("uid")
    return VolumeView(
        name=metadata.text("name"),
        version=metadata.text("resourceVersion"),
        klass=_class_of(metadata.fields("annotations"), spec),
        size=_size(spec.fields("capacity"), "storage") or Fraction(0),
        modes=frozenset(spec.texts("accessModes")),
        mode=spec.text("volumeMode") or "Filesystem",
        attributes=spec.text("volumeAttributesClassName"),
        labels=dict(metadata.pairs("labels")),
        places=places,
        claim=claim,
        is_available=fields.fields("status").text("phase") == "Available",
        is_leaving=metadata.raw("deletionTimestamp") is not None,
        driver=spec.fields("csi").text("driver"),
    )


def storage_class_view(fields: Fields) -> StorageClassView:
    """Read a StorageClass. Raises BadManifest."""
    allowed = tuple(topology_term(each) for each in fields.each("allowedTopologies"))
    return StorageClassView(
        name=fields.fields("metadata").text("name"),
        provisioner=fields.text("provisioner"),
        is_delayed=fields.text("volumeBindingMode") == "WaitForFirstConsumer",
        places=allowed or None,
    )


def capacity_view(fields: Fields, namespace: str) -> CapacityView:
    """Read a CSIStorageCapacity. Raises BadManifest."""
    metadata = fields.fields("metadata")
    largest = _size(fields, "maximumVolumeSize")
    selector = None
    if fields.raw("nodeTopology") is not None:
        selector = label_selector(fields.fields("nodeTopology"))
    return CapacityView(
        key=f"{metadata.text('namespace') or namespace}/{metadata.text('name')}",
        klass=fields.text("storageClassName"),
        size=_size(fields, "capacity") if largest is None else largest,
        selector=selector,
    )


def attach_limits(fields: Fields) -> dict[str, int]:
    """How many volumes a CSINode says that its node can attach, by driver. Raises BadManifest."""
    found = {}
    for driver in fields.fields("spec").each("drivers"):
        allocatable = driver.fields("allocatable")
        if allocatable.raw("count") is not None:
            found[driver.text("name")] = allocatable.integer("count", 0, 0, (1 << 31) - 1)
    return found


def _class_of(annotations: Fields, spec: Fields) -> str:
    beta = annotations.raw(BETA_CLASS_KEY)
    return annotations.text(BETA_CLASS_KEY) if beta is not None else spec.text("storageClassName")


def _size(fields: Fields, name: str) -> Fraction | None:
    value: Any = fields.raw(name)
    if value is None:
        return None
    try:
        return parse(value)
    except BadQuantity as error:
        raise BadManifest(fields.at(name), str(error)) from None
