"""`python -m tests.controlplane.build`: the control plane's programs, built once into a cache.

Owns the cache folder, keyed by the Go sources and sums, so that equal sources are built once on a
machine however many clones it has. Callers ask `programs` for paths and wait while another process
builds. etcd, kube-apiserver and kubectl are taken from KUBEBUILDER_ASSETS where that has them, and
kubectl from PATH; nothing else that is installed is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.leash import leashed
from tests.controlplane.toolchain import NoToolchain, go_command

FOLDER = Path(__file__).resolve().parent
CACHE_VARIABLE = "GODEL_CONTROLPLANE_CACHE"
ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
RELEASE = re.compile(r"\bk8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)")

OURS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
    "oracle",
)
PROGRAMS = (*OURS, "kwok")
FROM_ASSETS = ("etcd", "kube-apiserver", "kubectl")
NICE = 10
"""A build runs beside tests that wait for conditions, and gives way to them."""
PARALLEL = max(2, (os.cpu_count() or 2) // 2)
SOURCES = ("*.go", "go.mod", "go.sum")
DIGEST_BYTES = 8


class BuildFailed(RuntimeError):
    """A program could not be built; the text is what the toolchain said."""


def programs(environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Path of every program, built first where it is missing. Raises BuildFailed."""
    found = installed(environ)
    folder = cache_folder(environ) / key()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in PROGRAMS if name not in found]
    if not all((folder / name).exists() for name in wanted):
        with _locked(folder.with_suffix(".lock")):
            missing = [name for name in wanted if not (folder / name).exists()]
            if missing:
                _build(missing, folder, environ)
    return found | {name: folder / name for name in wanted}


def installed(environ: Mapping[str, str]) -> dict[str, Path]:
    """The programs that need no build."""
    found = {}
    kubectl = shutil.which("kubectl", path=environ.get("PATH"))
    if kubectl:
        found["kubectl"] = Path(kubectl)
    assets = environ.get(ASSETS_VARIABLE)
    if assets:
        there = ((name, Path(assets) / name) for name in FROM_ASSETS)
        found |= {name: path for name, path in there if os.access(path, os.X_OK)}
    return found


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where builds of all keys are kept."""
    chosen = environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    caches = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(caches) / "godel" / "controlplane"


def key() -> str:
    """Hash the Go sources and sums, as hex."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path in sorted(path for pattern in SOURCES for path in FOLDER.rglob(pattern)):
        for part in (path.relative_to(FOLDER).as_posix().encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a key; the kernel lets go of it when its holder dies."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(names: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
    """Build into a folder beside `folder` and move what is whole into it."""
    start = time.monotonic()
    print(f"building {', '.join(names)} into {folder}", flush=True)
    try:
        go = go_command(folder.parent, environ)
    except NoToolchain as error:
        raise BuildFailed(str(error)) from None
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    packages = [f"./cmd/{name}" for name in names if name in OURS]
    if packages:
        _compile(go, FOLDER, packages, partial, environ)
    if "kwok" in names:
        _compile(go, FOLDER / "kwok", ["sigs.k8s.io/kwok/cmd/kwok"], partial, environ)
    for name in names:
        (partial / name).rename(folder / name)
    partial.rmdir()
    print(f"built in {(time.monotonic() - start) / 60:.1f} min", flush=True)


def _compile(
    go: str, module: Path, packages: Sequence[str], target: Path, environ: Mapping[str, str]
) -> None:
    flags = f"{environ.get('GOFLAGS', '')} -p={PARALLEL}".strip()
    settings = {"CGO_ENABLED": "0", "GOFLAGS": flags, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    build = (go, "build", "-trimpath", "-buildvcs=false", "-ldflags", _stamps())
    done = subprocess.run(
        leashed("nice", "-n", str(NICE), *build, "-o", f"{target}{os.sep}", *packages),
        cwd=module,
        env={**environ, **settings},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise BuildFailed(f"go build {' '.join(packages)}:\n{done.stdout}")


def _stamps() -> str:
    """Linker flags: no symbols, and the version that the programs report: the module's own."""
    found = RELEASE.search((FOLDER / "go.mod").read_text(encoding="utf-8"))
    assert found is not None
    values = dict(zip(("gitVersion", "gitMajor", "gitMinor"), found.groups(), strict=True))
    stamped = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    pairs = (f"-X {path}.{name}={value}" for path in stamped for name, value in values.items())
    return " ".join(("-s", "-w", *pairs))


def main() -> int:
    """Build what is missing and say where everything is; 1 when that fails."""
    try:
        for name, path in programs().items():
            print(f"{name:<24} {path}")
    except BuildFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
