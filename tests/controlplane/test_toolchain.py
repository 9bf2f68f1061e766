"""Which Go builds the control plane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.controlplane import toolchain
from tests.controlplane.toolchain import go_command


@dataclass(frozen=True)
class Case:
    """What the `go` on PATH says of itself, None when there is none."""

    name: str
    said: str | None
    want_wheel: bool


CASES = [
    Case("the version of go.mod", "go version go1.26.8 linux/amd64", want_wheel=False),
    Case("a newer one", "go version go1.30 linux/arm64", want_wheel=False),
    Case("an older one", "go version go1.9.7 linux/amd64", want_wheel=True),
    Case("one that says nothing we know", "version unknown", want_wheel=True),
    Case("none", None, want_wheel=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_go_that_is_new_enough_is_used_else_the_wheel(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[Path] = []
    monkeypatch.setattr(toolchain, "_install", installed.append)
    on_path = tmp_path / "go"
    if case.said is not None:
        on_path.write_text(f"#!/bin/sh\necho {case.said}\n")
        on_path.chmod(0o755)
    found = go_command(tmp_path / "cache", {"PATH": str(tmp_path)})
    assert (found != str(on_path)) is case.want_wheel
    assert bool(installed) is case.want_wheel
    assert all(found == str(folder / "go" / "bin" / "go") for folder in installed)
