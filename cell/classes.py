"""Classes: what kernels read of a replica's own spec, named by a 128-bit hash of its canonical
form.

Two replicas with the same scheduling-relevant spec are one class, so masks and scores are computed
once. Amounts are integers: cpu in milli-cores, memory and storage in bytes, gpu in milli-devices,
others in their own unit. `normalise` makes the canonical form and is the only way to make a class
that is hashed.
"""

from __future__ import annotations

import hashlib

import msgspec

from cell.between import WEIGHT_MAX, Between, normalise_between
from cell.requirements import BadSpec, Term, check_count, check_label, normalise_term

RESOURCES_MAX = 16
"""Resources one class may ask for."""
FEATURES_MAX = 16
"""Features of nodes that one class may need."""
PLACES_MAX = 256
"""Volumes of one class that are only in some places."""
ALTERNATIVES_MAX = 1 << 16
"""Places of one volume: terms, and values of one requirement."""
AMOUNT_MAX = 1 << 52
"""Largest amount of a resource: sums over 1,024 claims still fit in int64."""
POD_SLOT = "pods"
"""Every replica takes one of this resource."""
UNASKED: dict[str, int] = {"cpu": 100, "memory": 200 << 20}
"""What scores take a container to use that asks for none: kube-scheduler's figures."""
UNASKED_PREFIX = "unasked:"
"""A resource of this prefix, which Kubernetes does not allow, is what scores alone count of it."""


class Toleration(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Tolerates taints of `key` ("" with Exists: all keys) and `effect` ("": all effects)."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class NodeWish(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A preference for nodes that match a term."""

    weight: int
    term: Term


class ClassSpec(msgspec.Struct, frozen=True, array_like=True):
    """The scheduling-relevant spec of a replica. Build with `normalise` before hashing."""

    demand: tuple[tuple[str, int], ...] = ()
    """(resource, amount), sorted by name, amounts above zero; `pods` is implied."""
    selector: tuple[tuple[str, str], ...] = ()
    """Labels the node must have."""
    affinity: tuple[Term, ...] | None = None
    """Required node affinity: None demands nothing, an empty tuple matches nothing."""
    tolerations: tuple[Toleration, ...] = ()
    profile: str = "default"
    wishes: tuple[NodeWish, ...] = ()
    """Preferred node affinity."""
    features: tuple[str, ...] = ()
    """What the node must declare that it can do."""
    between: Between | None = None
    """What it says of other replicas, and what they may read of it."""
    places: tuple[tuple[Term, ...], ...] = ()
    """For each of its volumes that is not everywhere: terms of which the node must match one."""
    unasked: tuple[tuple[str, int], ...] = ()
    """(cpu or memory, amount) that scores count beside the demand: what its containers are taken to
    use that ask for none."""

    def encoded(self) -> bytes:
        """The canonical form, which travels in class dictionaries."""
        return msgspec.msgpack.encode(self)

    def digest(self) -> bytes:
        """The class's name: 16 bytes."""
        return hashlib.blake2b(self.encoded(), digest_size=16).digest()


def decode(encoded: bytes) -> ClassSpec:
    """The class of a canonical form. Raises msgspec.MsgspecError."""
    return msgspec.msgpack.decode(encoded, type=ClassSpec)


def normalise(spec: ClassSpec) -> ClassSpec:
    """The canonical form of a valid class. Raises BadSpec with the field's path."""
    return ClassSpec(
        demand=_demand(spec.demand),
        selector=_selector(spec.selector),
        affinity=_affinity(spec.affinity),
        tolerations=_tolerations(spec.tolerations),
        profile=spec.profile or "default",
        wishes=_wishes(spec.wishes),
        features=_features(spec.features),
        between=normalise_between(spec.between),
        places=_places(spec.places),
        unasked=_unasked(spec.unasked),
    )


def demanded(spec: ClassSpec) -> tuple[tuple[str, int], ...]:
    """What a replica needs of a node, in the order of kernels' columns: the pod slot first."""
    return ((POD_SLOT, 1), *spec.demand)


def counted(spec: ClassSpec) -> tuple[tuple[str, int], ...]:
    """What a replica takes and no rule reads: resources that nodes only have a use of."""
    return tuple((UNASKED_PREFIX + name, amount) for name, amount in spec.unasked)


def _demand(demand: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    if len(demand) > RESOURCES_MAX:
        raise BadSpec("demand", f"{len(demand)} resources, limit {RESOURCES_MAX}")
    amounts: dict[str, int] = {}
    for name, amount in demand:
        field = f"demand[{name}]"
        check_label(field, name, is_empty_allowed=False)
        if name in amounts:
            raise BadSpec(field, "named twice")
        if amount < 0:
            raise BadSpec(field, f"{amount} is negative")
        if amount > AMOUNT_MAX:
            raise BadSpec(field, f"{amount} is above the limit {AMOUNT_MAX}")
        if name == POD_SLOT and amount not in (0, 1):
            raise BadSpec(field, "a replica takes exactly one pod slot")
        amounts[name] = amount
    amounts.pop(POD_SLOT, None)
    return tuple(sorted((n, a) for n, a in amounts.items() if a > 0))


def _unasked(unasked: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    amounts = dict(unasked)
    if len(amounts) != len(unasked):
        raise BadSpec("unasked", "a resource is named twice")
    for name, amount in unasked:
        if name not in UNASKED:
            raise BadSpec(f"unasked[{name}]", f"only {', '.join(UNASKED)} are counted so")
        if not 0 <= amount <= AMOUNT_MAX:
            raise BadSpec(f"unasked[{name}]", f"{amount} is outside 0 to {AMOUNT_MAX}")
    return tuple(sorted((n, a) for n, a in amounts.items() if a > 0))


def _selector(selector: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    check_count("selector", len(selector))
    for key, value in selector:
        check_label(f"selector[{key}]", key, is_empty_allowed=False)
        check_label(f"selector[{key}]", value, is_empty_allowed=True)
    if len({key for key, _ in selector}) != len(selector):
        raise BadSpec("selector", "a key is named twice")
    return tuple(sorted(selector))


def _affinity(affinity: tuple[Term, ...] | None) -> tuple[Term, ...] | None:
    if affinity is None:
        return None
    check_count("affinity", len(affinity))
    return tuple(sorted(normalise_term(f"affinity[{i}]", t) for i, t in enumerate(affinity)))


def _places(places: tuple[tuple[Term, ...], ...]) -> tuple[tuple[Term, ...], ...]:
    check_count("places", len(places), PLACES_MAX)
    return tuple(sorted({_alternatives(f"places[{i}]", terms) for i, terms in enumerate(places)}))


def _alternatives(field: str, terms: tuple[Term, ...]) -> tuple[Term, ...]:
    check_count(field, len(terms), ALTERNATIVES_MAX)
    listed = enumerate(terms)
    made = {normalise_term(f"{field}[{i}]", term, ALTERNATIVES_MAX) for i, term in listed}
    return tuple(sorted(made))


def _wishes(wishes: tuple[NodeWish, ...]) -> tuple[NodeWish, ...]:
    check_count("wishes", len(wishes))
    made = []
    for i, wish in enumerate(wishes):
        if not 1 <= wish.weight <= WEIGHT_MAX:
            raise BadSpec(f"wishes[{i}].weight", f"{wish.weight} is not from 1 to {WEIGHT_MAX}")
        made.append(NodeWish(wish.weight, normalise_term(f"wishes[{i}].preference", wish.term)))
    return tuple(sorted(made))


def _features(features: tuple[str, ...]) -> tuple[str, ...]:
    check_count("features", len(features), FEATURES_MAX)
    for name in features:
        check_label("features", name, is_empty_allowed=False)
    return tuple(sorted(set(features)))


def _tolerations(tolerations: tuple[Toleration, ...]) -> tuple[Toleration, ...]:
    check_count("tolerations", len(tolerations))
    for i, t in enumerate(tolerations):
        field = f"tolerations[{i}]"
        check_label(f"{field}.key", t.key, is_empty_allowed=True)
        check_label(f"{field}.value", t.value, is_empty_allowed=True)
        if t.operator not in ("Equal", "Exists"):
            raise BadSpec(f"{field}.operator", f"{t.operator!r} is neither Equal nor Exists")
        if t.operator == "Equal" and not t.key:
            raise BadSpec(f"{field}.key", "an empty key needs the operator Exists")
        if t.operator == "Exists" and t.value:
            raise BadSpec(f"{field}.value", "Exists takes none")
        if t.effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            raise BadSpec(f"{field}.effect", f"{t.effect!r} is no taint effect")
    return tuple(sorted(set(tolerations)))
