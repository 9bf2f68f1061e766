"""`godel health`: exit codes that a probe can rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.canned import CannedCell
from tests.unit.cli.conftest import Godel


def test_nobody_at_the_address_is_unreachable(godel: Godel, tmp_path: Path) -> None:
    ran = godel("health", f"unix:{tmp_path}/nobody.sock")
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)


def test_a_service_without_health_is_no_health(godel: Godel, cell: CannedCell) -> None:
    ran = godel("health", f"unix:{cell.state}/dispatcher.sock", "--alive")
    assert ran.code == 1
    assert "UNIMPLEMENTED" in ran.err


@pytest.mark.parametrize("address", ["10.0.0.1:7", "example.org:7", "nonsense"])
def test_only_this_machine_is_asked(godel: Godel, address: str) -> None:
    ran = godel("health", address)
    assert (ran.code, ran.out) == (2, "")
    assert address in ran.err
