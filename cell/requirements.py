"""Requirements on labels, and what every part of a class's spec is checked with."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

TERMS_MAX = 32
"""Node selector terms, requirements per term, tolerations and selector labels, each."""
VALUES_MAX = 256
"""Values in one requirement."""
LABEL_BYTES_MAX = 317
"""A label key (prefix 253, slash, name 63); values are shorter."""
NAME_BYTES_MAX = 1024
"""Of names that others give: claims, disks, hosts."""


class BadSpec(ValueError):
    """A spec that cannot be scheduled; `field` is the path of the culprit."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Operator(StrEnum):
    """Operators of requirements; Gt and Lt are for labels of nodes alone."""

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


def normalise_term(field: str, term: Term, values_max: int = VALUES_MAX) -> Term:
    """The sorted form of a valid term. Raises BadSpec."""
    check_count(field, len(term.labels) + len(term.fields))
    for j, requirement in enumerate(term.labels):
        check_requirement(f"{field}.labels[{j}]", requirement, values_max)
    for j, requirement in enumerate(term.fields):
        _check_name_field(f"{field}.fields[{j}]", requirement)
    return Term(tuple(sorted(term.labels)), tuple(sorted(term.fields)))


def check_requirement(field: str, requirement: Requirement, values_max: int = VALUES_MAX) -> None:
    """Refuse a requirement that says nothing, or not what it means. Raises BadSpec."""
    check_label(f"{field}.key", requirement.key, is_empty_allowed=False)
    check_count(f"{field}.values", len(requirement.values), values_max)
    for value in requirement.values:
        check_label(f"{field}.values", value, is_empty_allowed=True)
    match requirement.operator:
        case Operator.IN | Operator.NOT_IN:
            if not requirement.values:
                raise BadSpec(f"{field}.values", f"{requirement.operator} needs a value")
        case Operator.EXISTS | Operator.DOES_NOT_EXIST:
            if requirement.values:
                raise BadSpec(f"{field}.values", f"{requirement.operator} takes none")
        case Operator.GT | Operator.LT:
            if len(requirement.values) != 1 or number(requirement.values[0]) is None:
                raise BadSpec(f"{field}.values", f"{requirement.operator} needs one integer")


def _check_name_field(field: str, requirement: Requirement) -> None:
    if requirement.key != "metadata.name":
        raise BadSpec(f"{field}.key", "only metadata.name is a field")
    if requirement.operator not in (Operator.IN, Operator.NOT_IN) or len(requirement.values) != 1:
        raise BadSpec(field, "takes In or NotIn with one value")


def check_label(field: str, text: str, *, is_empty_allowed: bool) -> None:
    """Refuse a text that no label could be. Raises BadSpec."""
    if not text and not is_empty_allowed:
        raise BadSpec(field, "is empty")
    if len(text.encode()) > LABEL_BYTES_MAX:
        raise BadSpec(field, f"{len(text.encode())} bytes, limit {LABEL_BYTES_MAX}")


def check_name(field: str, text: str) -> None:
    """Refuse a name that is empty or endless. Raises BadSpec."""
    if not 1 <= len(text.encode()) <= NAME_BYTES_MAX:
        raise BadSpec(field, f"needs 1 to {NAME_BYTES_MAX} bytes")


def check_count(field: str, count: int, limit: int = TERMS_MAX) -> None:
    """Refuse a list that is too long. Raises BadSpec."""
    if count > limit:
        raise BadSpec(field, f"{count} entries, limit {limit}")


def number(text: str) -> int | None:
    """A decimal int64 with optional sign, else None."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdecimal()):
        return None
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 63 else None


def holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Whether labels meet a requirement; NotIn and DoesNotExist are met by an absent key."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return value in requirement.values
        case Operator.NOT_IN:
            return value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None
        case _:
            amount, bound = number(value or ""), number(requirement.values[0])
            if amount is None or bound is None:
                return False
            return amount > bound if requirement.operator is Operator.GT else amount < bound
