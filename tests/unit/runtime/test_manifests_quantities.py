"""Quantities are exact, and rounding up comes last."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.quantities import BadQuantity, parse, shown, units


@dataclass(frozen=True)
class Case:
    text: Any
    want: Fraction


CASES = [
    Case("2", Fraction(2)),
    Case("0.5", Fraction(1, 2)),
    Case(".5", Fraction(1, 2)),
    Case("5.", Fraction(5)),
    Case("+3", Fraction(3)),
    Case("-3", Fraction(-3)),
    Case("100m", Fraction(1, 10)),
    Case("1u", Fraction(1, 10**6)),
    Case("1n", Fraction(1, 10**9)),
    Case("1k", Fraction(1000)),
    Case("64M", Fraction(64 * 10**6)),
    Case("64Mi", Fraction(64 << 20)),
    Case("1.5Gi", Fraction(3 << 29)),
    Case("0.1Ki", Fraction(1024, 10)),
    Case("2E", Fraction(2 * 10**18)),
    Case("2Ei", Fraction(2 << 60)),
    Case("2E3", Fraction(2000)),
    Case("2e-3", Fraction(2, 1000)),
    Case("1E+2", Fraction(100)),
    Case("1e3", Fraction(1000)),
    Case("1T", Fraction(10**12)),
    Case("1P", Fraction(10**15)),
    Case("1Ti", Fraction(1 << 40)),
    Case("1Pi", Fraction(1 << 50)),
    Case(4, Fraction(4)),
    Case(0.1, Fraction(1, 10)),
    Case(1e21, Fraction(10**21)),
    Case(1e-05, Fraction(1, 10**5)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.text))
def test_a_quantity_is_read_exactly(case: Case) -> None:
    assert parse(case.text) == case.want


REFUSED: list[Any] = [
    *("", " 1", "1 ", "1K", "1mi", "1KI", "Mi", "e3", "1e", "1E3i", "0x10", "1_000", "1,5", "--1"),
    *("1..5", "٣", "1e31", "9" * 65, True, None, [], float("nan"), float("inf")),
]


@pytest.mark.parametrize("text", REFUSED, ids=repr)
def test_what_is_no_quantity_is_refused(text: Any) -> None:
    with pytest.raises(BadQuantity):
        parse(text)


@dataclass(frozen=True)
class Units:
    resource: str
    quantity: str
    want: int


UNITS = [
    Units("cpu", "1", 1000),
    Units("cpu", "0.0001", 1),
    Units("cpu", "1.0001", 1001),
    Units("gpu", "0.5", 500),
    Units("memory", "0.5", 1),
    Units("memory", "1.5Ki", 1536),
    Units("memory", "100m", 1),
    Units("nvidia.com/gpu", "2", 2),
    Units("ephemeral-storage", "1G", 10**9),
]


@pytest.mark.parametrize("case", UNITS, ids=lambda case: f"{case.resource} {case.quantity}")
def test_amounts_are_rounded_up_to_whole_units(case: Units) -> None:
    assert units(case.resource, parse(case.quantity)) == case.want


SHOWN = [
    ("cpu", 1500, "1.5"),
    ("cpu", 2000, "2"),
    ("cpu", 0, "0"),
    ("cpu", 1, "0.001"),
    ("memory", 3 << 29, "1.5Gi"),
    ("memory", 1 << 30, "1Gi"),
    ("memory", 1000, "1000"),
    ("hugepages-2Mi", 4 << 20, "4Mi"),
    ("nvidia.com/gpu", 8, "8"),
]


@pytest.mark.parametrize(("resource", "amount", "want"), SHOWN)
def test_amounts_are_shown_as_people_write_them(resource: str, amount: int, want: str) -> None:
    assert shown(resource, amount) == want


@given(st.integers(0, 10**12), st.sampled_from(["n", "u", "m", "", "k", "M", "G", "Ki", "Mi"]))
def test_rounding_up_never_loses_more_than_a_unit(number: int, suffix: str) -> None:
    exact = parse(f"{number}{suffix}")
    assert 0 <= units("memory", exact) - exact < 1
    assert 0 <= units("cpu", exact) - 1000 * exact < 1
