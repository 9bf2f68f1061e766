"""Options that say what a command shows to a service on the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.canned import CannedCell, a_unit
from tests.unit.cli.conftest import Godel


def test_nothing_is_sent_over_the_network_without_certificates(godel: Godel) -> None:
    ran = godel("get", "--dispatcher", "10.0.0.1:7")
    assert (ran.code, ran.out) == (2, "")
    assert "dispatcher at 10.0.0.1:7: not on loopback" in ran.err


@pytest.mark.parametrize("command", [["get"], ["load", "--rate", "1"]], ids=" ".join)
def test_files_that_are_not_there_are_named(
    command: list[str], godel: Godel, tmp_path: Path
) -> None:
    ran = godel(*command, "--dispatcher", "127.0.0.1:7", "--tls", str(tmp_path))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"--tls.certificate: {tmp_path}/tls.crt: No such file" in ran.err


def test_a_socket_on_this_machine_is_shown_nothing(
    godel: Godel, cell: CannedCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GODEL_TLS", str(tmp_path))
    cell.placement.units["a"] = a_unit("a")
    assert godel("get", "-o", "name").out == "unit/a\n"
