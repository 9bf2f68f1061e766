"""Classes: what kernels read of a replica's own spec, named by a 128-bit hash of its canonical
form.

Two replicas with the same scheduling-relevant spec are one class, so masks and scores are computed
once. Amounts are integers: cpu in milli-cores, memory and storage in bytes, gpu in milli-devices,
others in their own unit. `normalise` makes the canonical form and is the only way to make a class
that is hashed.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

RESOURCES_MAX = 16
"""Resources one class may ask for."""
TERMS_MAX = 32
"""Node selector terms, requirements per term, tolerations and selector labels, each."""
VALUES_MAX = 256
"""Values in one requirement."""
LABEL_BYTES_MAX = 317
"""A label key (prefix 253, slash, name 63); values are shorter."""
AMOUNT_MAX = 1 << 52
"""Largest amount of a resource: sums over 1,024 claims still fit in int64."""
POD_SLOT = "pods"
"""Every replica takes one of this resource."""


class BadSpec(ValueError):
    """A spec that cannot be scheduled; `field` is the path of the culprit."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Operator(StrEnum):
    """Operators of node affinity."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class Requirement(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One requirement on a label, or on the field `metadata.name`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


class Term(msgspec.Struct, frozen=True, array_like=True, order=True):
    """All requirements of a term must hold; terms of an affinity are alternatives.

    As in Kubernetes, an empty term matches nothing.
    """

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()


class Toleration(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Tolerates taints of `key` ("" with Exists: all keys) and `effect` ("": all effects)."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


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
    )


def _demand(demand: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    if len(demand) > RESOURCES_MAX:
        raise BadSpec("demand", f"{len(demand)} resources, limit {RESOURCES_MAX}")
    amounts: dict[str, int] = {}
    for name, amount in demand:
        field = f"demand[{name}]"
        _label(field, name, is_empty_allowed=False)
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


def _selector(selector: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    check_count("selector", len(selector))
    for key, value in selector:
        _label(f"selector[{key}]", key, is_empty_allowed=False)
        _label(f"selector[{key}]", value, is_empty_allowed=True)
    if len({key for key, _ in selector}) != len(selector):
        raise BadSpec("selector", "a key is named twice")
    return tuple(sorted(selector))


def _affinity(affinity: tuple[Term, ...] | None) -> tuple[Term, ...] | None:
    if affinity is None:
        return None
    check_count("affinity", len(affinity))
    terms = []
    for i, term in enumerate(affinity):
        check_count(f"affinity[{i}]", len(term.labels) + len(term.fields))
        for j, requirement in enumerate(term.labels):
            _requirement(f"affinity[{i}].labels[{j}]", requirement)
        for j, requirement in enumerate(term.fields):
            _name_field(f"affinity[{i}].fields[{j}]", requirement)
        terms.append(Term(tuple(sorted(term.labels)), tuple(sorted(term.fields))))
    return tuple(sorted(terms))


def _requirement(field: str, requirement: Requirement) -> None:
    _label(f"{field}.key", requirement.key, is_empty_allowed=False)
    check_count(f"{field}.values", len(requirement.values), VALUES_MAX)
    for value in requirement.values:
        _label(f"{field}.values", value, is_empty_allowed=True)
    match requirement.operator:
        case Operator.IN | Operator.NOT_IN:
            if not requirement.values:
                raise BadSpec(f"{field}.values", f"{requirement.operator} needs a value")
        case Operator.EXISTS | Operator.DOES_NOT_EXIST:
            if requirement.values:
                raise BadSpec(f"{field}.values", f"{requirement.operator} takes none")
        case Operator.GT | Operator.LT:
            if len(requirement.values) != 1 or not _is_int64(requirement.values[0]):
                raise BadSpec(f"{field}.values", f"{requirement.operator} needs one integer")


def _name_field(field: str, requirement: Requirement) -> None:
    if requirement.key != "metadata.name":
        raise BadSpec(f"{field}.key", "only metadata.name is a field")
    if requirement.operator not in (Operator.IN, Operator.NOT_IN) or len(requirement.values) != 1:
        raise BadSpec(field, "takes In or NotIn with one value")


def _tolerations(tolerations: tuple[Toleration, ...]) -> tuple[Toleration, ...]:
    check_count("tolerations", len(tolerations))
    for i, t in enumerate(tolerations):
        field = f"tolerations[{i}]"
        _label(f"{field}.key", t.key, is_empty_allowed=True)
        _label(f"{field}.value", t.value, is_empty_allowed=True)
        if t.operator not in ("Equal", "Exists"):
            raise BadSpec(f"{field}.operator", f"{t.operator!r} is neither Equal nor Exists")
        if t.operator == "Equal" and not t.key:
            raise BadSpec(f"{field}.key", "an empty key needs the operator Exists")
        if t.operator == "Exists" and t.value:
            raise BadSpec(f"{field}.value", "Exists takes none")
        if t.effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            raise BadSpec(f"{field}.effect", f"{t.effect!r} is no taint effect")
    return tuple(sorted(set(tolerations)))


def _label(field: str, text: str, *, is_empty_allowed: bool) -> None:
    if not text and not is_empty_allowed:
        raise BadSpec(field, "is empty")
    if len(text.encode()) > LABEL_BYTES_MAX:
        raise BadSpec(field, f"{len(text.encode())} bytes, limit {LABEL_BYTES_MAX}")


def check_count(field: str, count: int, limit: int = TERMS_MAX) -> None:
    """Refuse a list that is too long. Raises BadSpec."""
    if count > limit:
        raise BadSpec(field, f"{count} entries, limit {limit}")


def _is_int64(value: str) -> bool:
    digits = value[1:] if value[:1] in "+-" else value
    return digits.isascii() and digits.isdecimal() and -(1 << 63) <= int(value) < 1 << 63
