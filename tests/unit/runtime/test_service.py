"""One way to run a core: flags, exit codes, restore, health while the disk is full, a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from godel.v1 import release_pb2, release_pb2_grpc, types_pb2
from runtime.service import BAD_CONFIG_STATUS, BROKEN_STATE_STATUS, IN_USE_STATUS

WAIT_SECONDS = 30.0


def run(*arguments: str, package: str = "sharding") -> subprocess.CompletedProcess[str]:
    """A service that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", package, *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A rolling controller: it starts in a moment, having no kernels."""
    with subprocess.Popen(
        [sys.executable, "-m", "sharding", *arguments], stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stderr is not None
            for line in started.stderr:
                if "serving" in line:
                    break
            yield started
        finally:
            started.kill()


@asynccontextmanager
async def stub_of(state: Path) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"unix:{state}/sharding.sock") as channel:
        yield release_pb2_grpc.ReleaseStub(channel)


@pytest.mark.parametrize("package", ["dispatcher", "binder", "scheduler", "sharding"])
def test_every_service_has_help_and_imports_nothing_heavy_for_it(package: str) -> None:
    code = (
        f"import sys, runpy; sys.argv[1:] = ['-h']\n"
        f"try: runpy.run_module({package!r}, run_name='__main__', alter_sys=True)\n"
        f"except SystemExit as end: assert end.code == 0\n"
        f"sys.exit(', '.join({{'numba', 'numpy', 'grpc', 'yaml'}} & set(sys.modules)) or 0)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"usage: python -m {package}" in shown.stdout


@dataclass(frozen=True)
class Case:
    name: str
    flags: tuple[str, ...]
    want_text: str
    package: str = "sharding"
    config: str = ""


CASES = [
    Case("an unknown field", (), "unknown field rows", config="rows: 3\n"),
    Case("an unknown limit", (), "unknown field limits.rows", config="limits:\n  rows: 3\n"),
    Case("a limit of a wrong type", (), "`limits.rows_max`", config="limits: {rows_max: x}\n"),
    Case("no such file", ("--config", "/nowhere/x.yaml"), "/nowhere/x.yaml"),
    Case("a public address", ("--client", "0.0.0.0:7000"), "mutual TLS"),
    Case("a path too long for a socket", ("--state", "/tmp/" + "x" * 110), "1 to 107 bytes"),
    Case(
        "a partition that is none",
        ("--partition", "2", "--partitions", "2"),
        "partition: 2",
        package="scheduler",
    ),
    Case(
        "a plugin nobody has",
        (),
        "limits.profiles: plugin swift: no installed package",
        package="scheduler",
        config="limits:\n  profiles:\n    mine: {swift: 1}\n",
    ),
    Case("a limit of the API", (), "api.wait_ms_max", config="api: {wait_ms_max: 0}\n"),
    Case("a limit of links", (), "links.outbox_fr", config="links: {outbox_frames_max: 0}\n"),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_settings_are_one_line_and_exit_code_2(case: Case, tmp_path: Path) -> None:
    flags = ["--state", str(tmp_path / "state"), *case.flags]
    if case.config:
        path = tmp_path / "settings.yaml"
        path.write_text(case.config)
        flags += ["--config", str(path)]
    ended = run(*flags, package=case.package)
    assert ended.returncode == BAD_CONFIG_STATUS
    assert case.want_text in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_second_process_on_one_state_is_refused(tmp_path: Path) -> None:
    with running("--state", str(tmp_path)) as first:
        second = run("--state", str(tmp_path))
        assert second.returncode == IN_USE_STATUS
        assert "locked by another process" in second.stderr
        assert second.stderr.count("\n") == 1
        assert first.poll() is None
        assert (tmp_path / "sharding.sock").exists()


def test_a_state_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run("--state", str(tmp_path / "file"))
    assert (ended.returncode, ended.stderr.count("\n")) == (BROKEN_STATE_STATUS, 1)


@pytest.mark.parametrize("is_database", [True, False], ids=["a record", "the file"])
def test_a_store_that_cannot_be_read_is_one_line(is_database: bool, tmp_path: Path) -> None:
    with running("--state", str(tmp_path)) as service:
        service.send_signal(signal.SIGTERM)
        service.wait(WAIT_SECONDS)
    path = tmp_path / "sharding.db"
    if is_database:
        with sqlite3.connect(path) as db:
            db.execute("INSERT INTO log (record) VALUES (?)", (b"\x01\x00\x00\x00\xc1",))
        db.close()
    else:
        path.write_bytes(b"no database" * 1000)
    ended = run("--state", str(tmp_path))
    lines = [line for line in ended.stderr.splitlines() if " info " not in line]
    assert ended.returncode == BROKEN_STATE_STATUS
    assert len(lines) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_code_0_and_all_on_disk(
    number: signal.Signals, tmp_path: Path
) -> None:
    column = release_pb2.Column(name="a", spec=types_pb2.ClassSpec(demand={"cpu": 1}))
    spec = release_pb2.Rollingset(name="web", rows=1, columns=[column])
    with running("--state", str(tmp_path)) as service:
        async with stub_of(tmp_path) as stub:
            await stub.Create(release_pb2.CreateRequest(spec=spec), timeout=WAIT_SECONDS)
        service.send_signal(number)
        assert await asyncio.to_thread(service.wait, WAIT_SECONDS) == 0
    with running("--state", str(tmp_path)):
        async with stub_of(tmp_path) as stub:
            request = release_pb2.ListRollingsetsRequest()
            listed = await stub.ListRollingsets(request, timeout=WAIT_SECONDS)
    assert [view.spec.name for view in listed.rollingsets] == ["web"]


def test_the_environment_names_the_state(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "sharding"],
        env={**os.environ, "GODEL_STATE": str(tmp_path / "file")},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert ended.returncode == BROKEN_STATE_STATUS
    assert str(tmp_path / "file") in ended.stderr
