"""Planting: a mutant's file, the copy of the tree, and the edits made to it.

An edit whose passage is not there exactly once is an error: a mutant that does not apply proves
nothing.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import msgspec

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PACKAGES = ("binder", "cell", "dispatcher", "runtime", "scheduler", "sharding", "tests/simulation")
FIRST_SEEDS = HERE / "first_seeds.txt"
SEEDS_MAX = 200


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Replace `old`, which occurs once in the file, by `new`."""

    path: str
    old: str
    new: str


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One planted bug."""

    name: str
    why: str
    edit: tuple[Edit, ...]
    first: int = 0
    """The seed that its hunt begins at."""

    @property
    def seeds(self) -> list[int]:
        """The seeds that it must be found within."""
        return list(range(self.first, self.first + SEEDS_MAX))


class DoesNotApply(Exception):
    """The tree has changed under a mutant."""


def mutants() -> list[Mutant]:
    """All mutants, by name."""
    found = []
    for path in sorted(HERE.glob("*.toml")):
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        found.append(msgspec.convert({"name": path.stem, **entries}, Mutant))
    return found


def first_seeds() -> dict[str, int]:
    """The seed that first found each mutant, as stored."""
    if not FIRST_SEEDS.exists():
        return {}
    lines = FIRST_SEEDS.read_text(encoding="utf-8").split("\n")
    return {name: int(seed) for name, seed in (line.split() for line in lines if line.strip())}


def plant(mutant: Mutant, slot: Path) -> None:
    """Make `slot` a copy of the tree with the mutant in it. Raises DoesNotApply."""
    copy_tree(slot)
    for edit in mutant.edit:
        path = slot / edit.path
        text = path.read_text(encoding="utf-8")
        count = text.count(edit.old)
        if count != 1:
            raise DoesNotApply(f"{mutant.name}: the passage is {count} times in {edit.path}")
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def copy_tree(slot: Path) -> None:
    """Copy what a simulation needs. Times of files are kept: compiled kernels stay valid."""
    for package in PACKAGES:
        target = slot / package
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(ROOT / package, target, ignore=shutil.ignore_patterns("__pycache__"))
    (slot / "tests" / "__init__.py").write_text("", encoding="utf-8")
