"""`godel cancel`: by key or prefix, in batches, and what was not there."""

import pytest

from tests.unit.cli.canned import CannedCell, a_unit
from tests.unit.cli.conftest import Godel


def know(cell: CannedCell, *keys: str, word: str = "BOUND") -> None:
    """Let the dispatcher know units."""
    cell.placement.units |= {key: a_unit(key, word) for key in keys}


def test_units_are_cancelled_by_key(godel: Godel, cell: CannedCell) -> None:
    know(cell, "a", "b")
    ran = godel("cancel", "a", "unit/b")
    assert (ran.code, ran.out) == (0, "cancelled 2 units\n")
    assert list(cell.placement.cancels[0].keys) == ["a", "b"]


def test_a_prefix_is_all_that_still_live_in_batches(godel: Godel, cell: CannedCell) -> None:
    know(cell, *(f"x/{i}" for i in range(1500)), "y/1")
    know(cell, "x/done", word="DONE")
    ran = godel("cancel", "--prefix", "x/")
    assert ran.out == "cancelled 1,500 units\n"
    assert [len(each.keys) for each in cell.placement.cancels] == [1000, 500]


def test_all_needs_to_be_said(godel: Godel, cell: CannedCell) -> None:
    know(cell, "a", "b")
    assert godel("cancel").code == 2
    assert godel("cancel", "a", "--all").code == 2
    assert godel("cancel", "--prefix", "").code == 2
    assert cell.placement.cancels == []
    assert godel("cancel", "--all", "-o", "name").out.split() == ["unit/a", "unit/b"]


@pytest.mark.parametrize(
    ("arguments", "want"), [(["none"], 5), (["a", "none"], 5), (["--prefix", "zzz"], 5)]
)
def test_what_is_not_there_is_not_found(
    godel: Godel, cell: CannedCell, arguments: list[str], want: int
) -> None:
    know(cell, "a")
    assert godel("cancel", *arguments).code == want


def test_as_json(godel: Godel, cell: CannedCell) -> None:
    know(cell, "a")
    shown = godel("cancel", "a", "b", "-o", "json").json()
    assert shown["cancelled"] == ["unit/a"]
    assert [(each["key"], each["code"]) for each in shown["refused"]] == [("b", "NOT_FOUND")]
