"""The Dockerfile's steps without an engine: its RUN lines, then the services from what they make.

The tree belongs to somebody else and cannot be written, and the home is empty, as in a pod.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PYTHON_MIN = (3, 11)
USER = 65532
BUILD_SECONDS_MAX = 280.0
WAIT_SECONDS = 60.0
SERVICES = ("dispatcher", "scheduler", "binder", "sharding")


def python_for_all() -> Path:
    """A Python that another user may run, too: the image's is one."""
    for path in (Path(sys.base_prefix) / "bin" / "python3", Path("/usr/bin/python3")):
        if path.exists() and is_open(path) and version_of(path) >= PYTHON_MIN:
            return path
    pytest.skip("no Python here that another user may run")


def is_open(path: Path) -> bool:
    """Whether anybody gets to the file, or we are not root and need not ask."""
    if os.geteuid() != 0:
        return True
    real = path.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (real, *real.parents))


def version_of(python: Path) -> tuple[int, ...]:
    code = "import sys; print(*sys.version_info[:2])"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, said.split()))


def run_lines() -> list[str]:
    """What the Dockerfile runs."""
    return re.findall(r"^RUN (.+)$", DOCKERFILE.read_text(), re.MULTILINE)


def copied() -> list[str]:
    """What the engine is given of the clone."""
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


class Image:
    """The tree that the RUN lines made, and a folder that stands for the pod's volumes."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "opt" / "godel"
        self.volume = folder / "var" / "godel"
        self.volume.mkdir(parents=True)
        self._build(folder)
        for path in (self.tree, *self.tree.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222 | 0o444)
        if os.geteuid() == 0:
            os.chown(self.volume, USER, USER)

    def _build(self, folder: Path) -> None:
        shutil.copytree(ROOT, folder / "src", ignore=lambda at, names: _left_out(Path(at), names))
        tools = folder / "bin"
        tools.mkdir()
        shim = tools / "python"
        # The image's Python has pip; the one that all may run here need not have it.
        shim.write_text(
            f'#!/bin/sh\n[ "$2" = pip ] && exec {sys.executable} "$@"\n'
            f'exec {python_for_all()} "$@"\n'
        )
        shim.chmod(0o755)
        for line in run_lines():
            for place in ("/opt/godel", "/wheels", "/src"):
                line = line.replace(place, f"{folder}{place}")
            ran = subprocess.run(
                ["sh", "-euc", line],
                cwd=folder / "src",
                env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                timeout=BUILD_SECONDS_MAX,
                check=False,
            )
            assert ran.returncode == 0, f"{line}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"

    def command(self, *arguments: str) -> dict[str, Any]:
        """Arguments of a subprocess as the container would start it."""
        drop = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        return {
            "args": [str(self.tree / "bin" / arguments[0]), *arguments[1:]],
            "cwd": self.volume,
            "env": {
                "PATH": f"{self.tree}/bin",
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": str(self.volume),
            },
            "text": True,
            **drop,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the image to its end."""
        return subprocess.run(
            **self.command(*arguments), capture_output=True, timeout=WAIT_SECONDS, check=False
        )


def _left_out(at: Path, names: list[str]) -> set[str]:
    kept = set(copied()) if at == ROOT else set(names)
    return {name for name in names if name not in kept or name == "__pycache__"}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Built once; its folder can be entered by all, which pytest's own cannot."""
    folder = Path(tempfile.mkdtemp(prefix="godel-image-"))
    folder.chmod(0o755)
    yield Image(folder)
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
    shutil.rmtree(folder)


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_help(service: str, image: Image) -> None:
    for command in (("python", "-m", service, "-h"), ("godel", service, "-h")):
        ran = image.run(*command)
        assert (ran.returncode, ran.stderr) == (0, ""), command
        assert ran.stdout.startswith("usage:")


def test_nobody_writes_the_tree(image: Image) -> None:
    ran = image.run("python", "-c", "import runtime; print(runtime.__file__)")
    assert ran.stdout.startswith(str(image.tree))
    code = "import os, runtime; open(os.path.dirname(runtime.__file__) + '/x', 'w')"
    assert "PermissionError" in image.run("python", "-c", code).stderr


def test_the_kubernetes_client_is_there_and_no_maker_of_certificates(image: Image) -> None:
    assert image.run("python", "-c", "import aiohttp, kubernetes.aio.client").returncode == 0
    assert "godel-scheduler[certs]" in image.run("godel", "certs", "x").stderr


@pytest.mark.parametrize("service", ["sharding", "scheduler"])
def test_a_service_serves_and_answers_its_probe(service: str, image: Image) -> None:
    """The scheduler compiles kernels into its volume."""
    state = image.volume / service
    with subprocess.Popen(
        **image.command("godel", service, "--state", str(state), "--name", service),
        stderr=subprocess.PIPE,
    ) as started:
        try:
            assert started.stderr is not None
            lines = []
            for line in started.stderr:
                lines.append(line)
                if "serving" in line:
                    break
            probe = image.run("godel", "health", f"unix:{state}/{service}.sock")
            assert (probe.returncode, probe.stdout) == (0, "SERVING\n"), "".join(lines)
            started.send_signal(signal.SIGTERM)
            assert started.wait(WAIT_SECONDS) == 0
        finally:
            started.kill()
