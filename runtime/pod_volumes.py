"""Where a pod's volumes are, or can be made, and how it shares them: `pod_volumes`, pure.

Each claim becomes terms of which a node must match one: those of the volume that it is bound to, or
of all that it could get. Claims of one pod that could get the same volume are tried on each node.
What waits for somebody else (a claim that is not there, or not bound yet) is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cell.between import Claim, Disk
from cell.requirements import Operator, Requirement, Term
from runtime.fields import BadManifest, Fields, unimplemented
from runtime.storage import (
    ALONE,
    NO_PROVISIONER,
    ZONE_KEYS,
    ZONES_DELIMITER,
    ByPlace,
    ClaimView,
    Storage,
    VolumeView,
    first_at,
    is_in,
)

Places = tuple[Term, ...] | None
"""A node must match one; None: every node does."""
NOT_KNOWN = "claims of volumes are not known here"


class PodVolumes(msgspec.Struct):
    """See the module."""

    places: list[tuple[Term, ...]] = []
    claims: list[Claim] = []
    disks: list[Disk] = []

    def demand(self, places: Places) -> None:
        """The node must match."""
        if places is not None:
            self.places.append(_merged(places))


def pod_volumes(
    metadata: Fields, spec: Fields, namespace: str, storage: Storage | None, *, is_held: bool
) -> PodVolumes:
    """What the pod's volumes say. Raises BadManifest.

    Of a pod that has its node (`is_held`) only what others may read, as far as it is known.
    """
    made = PodVolumes()
    unbound: list[ClaimView] = []
    for volume in spec.each("volumes"):
        made.disks += _disks(volume)
        name = _claim_name(metadata, volume)
        if name is None:
            continue
        if is_held:
            claim = storage.claims.get(f"{namespace}/{name}") if storage else None
        else:
            claim = _usable(metadata, volume, f"{namespace}/{name}", storage)
        if claim is None or storage is None:
            continue
        is_alone = ALONE in claim.modes and volume.raw("ephemeral") is None
        made.claims.append(Claim(storage.driver_of(claim), claim.key, is_alone))
        if is_held:
            continue
        if claim.is_bound:
            _demand_bound(made, storage, volume, claim)
        else:
            unbound.append(claim)
    if unbound and storage is not None:
        _demand_unbound(made, storage, unbound)
    return made


def unbound_claims(storage: Storage, claims: tuple[Claim, ...]) -> list[ClaimView]:
    """Those of a class's claims whose volume is chosen when a node is, in the order of choice."""
    views = (storage.claims.get(each.name) for each in claims)
    found = [each for each in views if each is not None and not each.is_bound and not each.node]
    return sorted(found, key=lambda each: (each.size or 0, each.key))


def can_be_made(storage: Storage, claim: ClaimView, node: str, labels: Mapping[str, str]) -> bool:
    """Whether a volume for the claim can be made for a node."""
    return is_in(_provisioning(storage, claim), node, labels)


def claims_of(metadata: Fields, spec: Fields, namespace: str) -> tuple[str, ...]:
    """Keys of the claims that a pod uses."""
    names = (_claim_name(metadata, volume) for volume in spec.each("volumes"))
    return tuple(dict.fromkeys(f"{namespace}/{name}" for name in names if name is not None))


def _claim_name(metadata: Fields, volume: Fields) -> str | None:
    if volume.raw("persistentVolumeClaim") is not None:
        return volume.fields("persistentVolumeClaim").text("claimName")
    if volume.raw("ephemeral") is not None:
        return f"{metadata.text('name')}-{volume.text('name')}"
    return None


def _usable(metadata: Fields, volume: Fields, key: str, storage: Storage | None) -> ClaimView:
    """The claim, once all that is up to others is done. Raises BadManifest."""
    kind = "ephemeral" if volume.raw("ephemeral") is not None else "persistentVolumeClaim"
    path = volume.at(kind)
    if storage is None:
        raise unimplemented(path, NOT_KNOWN)
    claim = storage.claims.get(key)
    if claim is None:
        raise BadManifest(path, f"there is no claim {key}")
    if claim.is_lost:
        raise BadManifest(path, f"the volume of claim {key} is lost")
    if claim.is_leaving:
        raise BadManifest(path, f"claim {key} is being deleted")
    if kind == "ephemeral" and (not claim.owner or claim.owner != metadata.text("uid")):
        raise BadManifest(path, f"claim {key} was not made for this pod")
    klass = storage.classes.get(claim.klass)
    is_chosen_with_node = klass is not None and klass.is_delayed and not claim.volume
    if not claim.is_bound and not is_chosen_with_node:
        raise BadManifest(path, f"claim {key} is not bound to a volume yet")
    return claim


def _demand_bound(made: PodVolumes, storage: Storage, field: Fields, claim: ClaimView) -> None:
    """The node must reach the volume, and be in its zone."""
    volume = storage.volumes.get(claim.volume)
    if volume is None:
        raise BadManifest(field.path, f"there is no volume {claim.volume} of claim {claim.key}")
    made.demand(volume.places)
    if field.raw("ephemeral") is None:
        for places in _zones(volume):
            made.demand(places)


def _zones(volume: VolumeView) -> list[tuple[Term, ...]]:
    """What zone labels of a volume demand: nodes without any such label are in every zone."""
    nowhere = Term(tuple(Requirement(key, Operator.DOES_NOT_EXIST) for key in ZONE_KEYS))
    found = []
    for key, current in ZONE_KEYS.items():
        zones = [each.strip() for each in volume.labels.get(key, "").split(ZONES_DELIMITER)]
        if not all(zones):
            continue
        terms = [Term((Requirement(key, Operator.IN, tuple(zones)),)), nowhere]
        if current != key:
            lacking = Requirement(key, Operator.DOES_NOT_EXIST)
            terms.append(Term((lacking, Requirement(current, Operator.IN, tuple(zones)))))
        found.append(tuple(terms))
    return found


def _demand_unbound(made: PodVolumes, storage: Storage, unbound: list[ClaimView]) -> None:
    """There must be volumes for all of them, or they can be made."""
    unbound = sorted(unbound, key=lambda each: each.size or 0)
    candidates = {each.key: [] if each.node else storage.candidates(each) for each in unbound}
    for claim in unbound:
        if claim.node:
            made.demand((_named(claim.node),))
            made.demand(_provisioning(storage, claim))
    names = [volume.name for listed in candidates.values() for volume in listed]
    open_claims = [each for each in unbound if not each.node]
    if len(set(names)) < len(names):
        made.demand(_nodes_for_all(storage, open_claims, candidates))
        return
    for claim in open_claims:
        found = _provisioning(storage, claim)
        for volume in candidates[claim.key]:
            found = _either(found, volume.places)
        made.demand(found)


def _nodes_for_all(
    storage: Storage, claims: list[ClaimView], candidates: Mapping[str, list[VolumeView]]
) -> tuple[Term, ...]:
    """Nodes on which each claim, one after the other, finds a volume or gets one made."""
    makeable = {each.key: _provisioning(storage, each) for each in claims}
    by_place = {each.key: ByPlace(candidates[each.key]) for each in claims}
    found = []
    for node, labels in storage.nodes.items():
        taken: set[str] = set()
        for claim in claims:
            volume = first_at(by_place[claim.key].near(labels), node, labels, taken)
            if volume is not None:
                taken.add(volume.name)
            elif not is_in(makeable[claim.key], node, labels):
                break
        else:
            found.append(_named(node))
    return tuple(found)


def _provisioning(storage: Storage, claim: ClaimView) -> Places:
    """Where a volume for the claim can be made."""
    klass = storage.classes.get(claim.klass)
    if klass is None or klass.provisioner in ("", NO_PROVISIONER):
        return ()
    if klass.provisioner not in storage.counted_drivers or claim.size is None:
        return klass.places
    able: Places = ()
    for each in storage.capacities.values():
        is_enough = each.klass == klass.name and each.size is not None and each.size >= claim.size
        if is_enough and each.selector is not None:
            able = _either(able, (Term(each.selector),) if each.selector else None)
    return _both(klass.places, able)


def _either(one: Places, other: Places) -> Places:
    return None if one is None or other is None else one + other


def _both(one: Places, other: Places) -> Places:
    if one is None or other is None:
        return other if one is None else one
    return tuple(Term(a.labels + b.labels, a.fields + b.fields) for a in one for b in other)


def _named(node: str) -> Term:
    return Term(fields=(Requirement("metadata.name", Operator.IN, (node,)),))


def _merged(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The same with terms that only list values of one label made one, as those of local disks."""
    values: dict[str, dict[str, None]] = {}
    kept: list[Term] = []
    for term in terms:
        only = term.labels[0] if len(term.labels) == 1 and not term.fields else None
        if only is not None and only.operator is Operator.IN:
            values.setdefault(only.key, {}).update(dict.fromkeys(only.values))
        else:
            kept.append(term)
    kept += [Term((Requirement(key, Operator.IN, tuple(v)),)) for key, v in values.items()]
    return tuple(kept)


def _disks(volume: Fields) -> list[Disk]:
    """Disks that the pod names itself; without claims nodes must not mount them twice."""
    made = []
    if volume.raw("gcePersistentDisk") is not None:
        disk = volume.fields("gcePersistentDisk")
        made.append(Disk("gce", disk.text("pdName"), is_read_only=disk.flag("readOnly")))
    if volume.raw("awsElasticBlockStore") is not None:
        made.append(Disk("aws", volume.fields("awsElasticBlockStore").text("volumeID")))
    if volume.raw("iscsi") is not None:
        disk = volume.fields("iscsi")
        made.append(Disk("iscsi", disk.text("iqn"), is_read_only=disk.flag("readOnly")))
    if volume.raw("rbd") is not None:
        disk = volume.fields("rbd")
        name = f"{disk.text('pool') or 'rbd'}/{disk.text('image')}"
        made.append(Disk("rbd", name, disk.texts("monitors"), disk.flag("readOnly")))
    return made
