"""Quantities as Kubernetes writes them, read exactly, and amounts in our whole units.

`2`, `500m`, `1.5Gi`, `64M`, `1e3` and `2E` (exa) are quantities. Sums are made of exact fractions;
rounding up to whole units (`cell.classes` lists them) comes last, so three thirds stay one.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil, isfinite
from typing import Any

QUANTITY_CHARS_MAX = 64
EXPONENT_MAX = 30
"""Of a quantity in E notation, on either side: beyond it nothing is an amount."""
MILLI_RESOURCES = frozenset({"cpu", "gpu"})
"""Resources that are counted in thousandths."""

_BINARY = {suffix: Fraction(1 << 10 * (i + 1)) for i, suffix in enumerate("KMGTPE")}
_DECIMAL = {
    **{"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000)},
    **{suffix: Fraction(1000 ** (i + 1)) for i, suffix in enumerate("kMGTPE")},
}
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<binary>[KMGTPE])i|(?P<decimal>[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]+))?"
)


class BadQuantity(ValueError):
    """No quantity; the text says why."""


def parse(value: Any) -> Fraction:
    """The exact value of a quantity: text, or a number as YAML reads it. Raises BadQuantity."""
    if isinstance(value, float) and isfinite(value):
        value = repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    if not isinstance(value, str):
        raise BadQuantity(f"{value!r:.40} is no quantity")
    return _parsed(value)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text) if len(text) <= QUANTITY_CHARS_MAX else None
    if match is None:
        raise BadQuantity(f"{text[:40]!r} is no quantity, such as 2, 500m, 1.5Gi or 64M")
    number = Fraction(match["number"])
    if match["binary"]:
        return number * _BINARY[match["binary"]]
    if match["decimal"]:
        return number * _DECIMAL[match["decimal"]]
    exponent = int(match["exponent"] or 0)
    if abs(exponent) > EXPONENT_MAX:
        raise BadQuantity(f"{text!r} has an exponent beyond {EXPONENT_MAX}")
    return number * Fraction(10) ** exponent


def units(resource: str, quantity: Fraction) -> int:
    """The amount of a resource in its whole units, rounded up."""
    return ceil(quantity * 1000 if resource in MILLI_RESOURCES else quantity)


def shown(resource: str, amount: int) -> str:
    """An amount for people: cores and devices as decimals, bytes with a binary suffix."""
    if resource in MILLI_RESOURCES:
        return f"{amount / 1000:.3f}".rstrip("0").rstrip(".")
    if is_bytes(resource):
        for suffix, factor in reversed(_BINARY.items()):
            if amount >= factor:
                return f"{float(amount / factor):.1f}".removesuffix(".0") + f"{suffix}i"
    return str(amount)


def is_bytes(resource: str) -> bool:
    """Whether a resource is counted in bytes."""
    return resource in ("memory", "ephemeral-storage", "storage") or resource.startswith(
        "hugepages-"
    )
