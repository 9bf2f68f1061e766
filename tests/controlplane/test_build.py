"""Where programs come from: assets, PATH, the cache, and a build that others wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.controlplane import build
from tests.controlplane.build import ASSETS_VARIABLE, CACHE_VARIABLE, PROGRAMS, key, programs


@dataclass(frozen=True)
class Case:
    """What is installed, and what is then built; `assets` None when the variable is not set."""

    name: str
    assets: tuple[str, ...] | None = None
    on_path: tuple[str, ...] = ()
    want_built: set[str] = field(default_factory=lambda: set(PROGRAMS))


CASES = [
    Case("everything is built where nothing is installed"),
    Case("kubectl on PATH is used", on_path=("kubectl",), want_built={*PROGRAMS} - {"kubectl"}),
    Case("an API server on PATH is not", on_path=("kube-apiserver", "etcd", "kwok")),
    Case(
        "assets are used",
        assets=("etcd", "kube-apiserver", "kubectl"),
        want_built={"oracle", "kube-controller-manager", "kube-scheduler", "kwok"},
    ),
    Case("assets that lack one have it built", assets=("etcd",), want_built={*PROGRAMS} - {"etcd"}),
]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The sets of programs that were built; a build of this kind needs no toolchain."""
    builds: list[set[str]] = []

    def fake(names: Sequence[str], folder: Path, _: object) -> None:
        builds.append(set(names))
        install(folder, names)

    monkeypatch.setattr(build, "_build", fake)
    return builds


def install(folder: Path, names: Sequence[str]) -> Path:
    """Put programs into a folder."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_only_what_is_missing_is_built_and_once(
    case: Case, tmp_path: Path, built: list[set[str]]
) -> None:
    environ = {
        "PATH": str(install(tmp_path / "path", case.on_path)),
        CACHE_VARIABLE: str(tmp_path / "cache"),
    }
    if case.assets is not None:
        environ[ASSETS_VARIABLE] = str(install(tmp_path / "assets", case.assets))
    found = programs(environ)
    assert built == [case.want_built]
    assert set(found) == set(PROGRAMS)
    for name, path in found.items():
        assert (path.parent == tmp_path / "cache" / key()) is (name in case.want_built)
    assert programs(environ) == found
    assert len(built) == 1


def test_the_key_follows_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    main = tmp_path / "cmd" / "etcd" / "main.go"
    main.parent.mkdir(parents=True)
    main.write_text("package main\n")
    before = key()
    (tmp_path / "notes.md").write_text("not a source\n")
    assert key() == before
    main.write_text("package main // changed\n")
    assert key() != before
