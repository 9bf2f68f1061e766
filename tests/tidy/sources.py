"""The files of the repository, for the rules in this folder; findings are named path:line."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROTO = ROOT / "proto"
PACKAGES = ("binder", "cell", "dispatcher", "loadtest", "runtime", "scheduler", "sharding")
TEXT_SUFFIXES = frozenset(
    ("", ".cfg", ".go", ".json", ".md", ".mod", ".proto", ".py", ".sh", ".toml", ".txt", ".yaml")
)
NOT_OURS = frozenset(("build", "dist", "__pycache__"))
HIDDEN_OURS = frozenset((".ci", ".gitignore"))


@dataclass(frozen=True)
class Module:
    """A parsed Python source."""

    path: Path
    text: str
    tree: ast.Module

    def at(self, line: int) -> str:
        """The place of a finding, as path:line."""
        return f"{self.path.relative_to(ROOT)}:{line}"


@cache
def python_modules() -> tuple[Module, ...]:
    """Every hand-written Python module of the packages and the tests, in path order."""
    found = []
    for package in (*PACKAGES, "tests"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found.append(Module(path, text, ast.parse(text)))
    return tuple(found)


def text_files(folder: Path = ROOT) -> Iterator[Path]:
    """Every hand-written text file of the repository, in path order."""
    for path in sorted(folder.iterdir()):
        if path.name in NOT_OURS or (path.name.startswith(".") and path.name not in HIDDEN_OURS):
            continue
        if path.is_dir():
            yield from text_files(path)
        elif path.suffix in TEXT_SUFFIXES and "_pb2" not in path.name:
            yield path


def proto_files() -> list[Path]:
    """The sources of the wire contract, in path order."""
    return sorted(PROTO.rglob("*.proto"))


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, methods and nested ones included."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def classes(module: Module) -> Iterator[ast.ClassDef]:
    """Every class of a module."""
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef))
