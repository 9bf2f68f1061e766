"""Fixtures: a canned cell, and a command line that finds it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runtime.cli.main import run
from tests.unit.cli.canned import CannedCell


class Ran(NamedTuple):
    """How a command line ended, and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


Godel = Callable[..., Ran]


@pytest.fixture
def cell() -> Iterator[CannedCell]:
    """A canned cell; its directory is short, as a socket's path must be."""
    with tempfile.TemporaryDirectory(prefix="godel") as state:
        canned = CannedCell(Path(state))
        yield canned
        canned.stop()


@pytest.fixture
def godel(cell: CannedCell, capsys: pytest.CaptureFixture[str]) -> Godel:
    """Run a command line against the canned cell."""

    def call(*arguments: str) -> Ran:
        code = run(["--state", str(cell.state), *arguments])
        return Ran(code, *capsys.readouterr())

    return call
