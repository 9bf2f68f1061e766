"""The command itself: its help is light, its errors are one line, its exit codes are kept."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.cli.main import COMMANDS, run
from tests.unit.cli.canned import CannedCell, a_unit
from tests.unit.cli.conftest import Godel

HEAVY = (
    "cryptography",
    "grpc",
    "google.protobuf",
    "numba",
    "numpy",
    "yaml",
    "msgspec",
    "rich",
    "asyncio",
)
OURS = ("submit", "get", "watch", "cancel", "nodes", "release", "health", "certs")

LOADED = """
import sys
from runtime.cli.main import run
code = run(sys.argv[1:])
print(code, *[name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in OURS)], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(heavy=HEAVY), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith("Usage: godel")
    assert ran.stderr == "0\n"


def test_help_names_every_command(godel: Godel) -> None:
    out = godel("--help").out
    assert all(f"  {name}  " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_of_the_table_is_there(name: str) -> None:
    module, attribute, _ = COMMANDS[name]
    __import__(module)
    assert getattr(sys.modules[module], attribute).name == name


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["get", "--fly"],
        ["get", "-o", "xml"],
        ["submit"],
        ["nodes", "cordon"],
        ["nodes", "fly"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_line_and_bad_input(godel: Godel, arguments: list[str]) -> None:
    ran = godel(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("godel: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "service"),
    [
        (["get"], "dispatcher"),
        (["watch"], "dispatcher"),
        (["watch", "--for", "bound"], "dispatcher"),
        (["cancel", "a"], "dispatcher"),
        (["nodes"], "binder"),
        (["nodes", "remove", "a"], "binder"),
        (["release"], "sharding"),
        (["release", "watch", "a"], "sharding"),
    ],
    ids=str,
)
def test_a_service_that_is_not_there_is_unreachable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], service: str
) -> None:
    code = run([*arguments, "--state", str(tmp_path)])
    ran = capsys.readouterr()
    assert (code, ran.out) == (3, "")
    assert ran.err.startswith(
        f"godel: {service} at unix:{tmp_path}/{service}.sock: cannot be reached"
    )
    assert ran.err.count("\n") == 1


def test_the_cell_is_found_by_option_environment_or_address(
    cell: CannedCell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cell.placement.units = {"a": a_unit("a")}
    state = str(cell.state)
    socket = f"{state}/dispatcher.sock"
    monkeypatch.chdir(tmp_path)
    assert run(["get"]) == 3
    assert run(["--state", state, "get"]) == 0
    assert run(["get", "--state", state]) == 0
    assert run(["get", "--dispatcher", f"unix:{socket}"]) == 0
    assert run(["get", "--dispatcher", socket]) == 0
    monkeypatch.setenv("GODEL_STATE", state)
    assert run(["get"]) == 0
    assert run(["--state", str(tmp_path), "get"]) == 3
    monkeypatch.setenv("GODEL_STATE", str(tmp_path))
    monkeypatch.setenv("GODEL_DISPATCHER", socket)
    assert run(["get"]) == 0


def test_no_command_is_bad_input_with_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_name_that_is_no_unicode_is_bad_input(godel: Godel) -> None:
    ran = godel("get", "\udcff")
    assert ran.code == 2
    assert ran.err == "godel: '\\udcff' is no Unicode text\n"


def test_a_reader_that_has_gone_is_no_failure(cell: CannedCell) -> None:
    cell.placement.units = {f"{i:060}": a_unit(f"{i:060}") for i in range(3000)}
    command = f"{sys.executable} -m runtime.cli --state {cell.state} get | head -1"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("KEY")


@pytest.mark.parametrize("code", [0, 7, None])
def test_a_service_alone_gets_its_arguments_as_they_are(
    monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    seen: list[list[str]] = []

    def main(arguments: list[str]) -> int | None:
        seen.append(arguments)
        return code

    monkeypatch.setitem(sys.modules, "binder.__main__", SimpleNamespace(main=main))
    assert run(["binder", "--state", "x", "--help", "-v", "y"]) == (code or 0)
    assert seen == [["--state", "x", "--help", "-v", "y"]]
