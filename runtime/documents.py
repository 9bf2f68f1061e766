"""Documents out of YAML and JSON files, directories and standard input, each with its place.

YAML is read as Kubernetes reads it: dates stay text, and a key that stands twice is an error, not
a silent choice. Everything is read before anything is used.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

SUFFIXES = (".yaml", ".yml", ".json")
"""Files of a directory that are read, in the order of their names."""
FILE_BYTES_MAX = 256 << 20
STDIN = "-"


class BadDocument(ValueError):
    """A file that cannot be read; the text names file, document number and line."""


class Document(NamedTuple):
    """One document: where it stands (file and number, from 1), and what it says."""

    place: str
    content: Any


def read_all(paths: Iterable[str]) -> list[Document]:
    """All documents of files, directories and "-" (standard input). Raises BadDocument."""
    found = []
    for path in paths:
        for file in files_of(path):
            found += documents(_text(file), "standard input" if file == STDIN else file)
    return found


def documents(text: str, name: str) -> list[Document]:
    """The documents of a text; empty ones are left out. Raises BadDocument."""
    found = []
    number = 0
    try:
        for content in _parsed(text):
            number += 1
            if content is not None:
                found.append(Document(f"{name}: document {number}", content))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadDocument(f"{name}: document {number + 1}: {_reason(error)}") from None
    return found


def files_of(path: str) -> list[str]:
    """The files that a path means: itself, or those of a directory. Raises BadDocument."""
    if path == STDIN or not os.path.isdir(path):
        return [path]
    files = sorted(str(each) for each in Path(path).iterdir() if each.suffix in SUFFIXES)
    if not files:
        raise BadDocument(f"{path}: has no file that ends in {', '.join(SUFFIXES)}")
    return files


def _text(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == STDIN else _bytes(Path(file))
        return content.decode("utf-8-sig")
    except OSError as error:
        raise BadDocument(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadDocument(f"{file}: is no UTF-8 text ({error})") from None


def _bytes(file: Path) -> bytes:
    if file.stat().st_size > FILE_BYTES_MAX:
        raise BadDocument(f"{file}: larger than {FILE_BYTES_MAX} bytes")
    return file.read_bytes()


def _parsed(text: str) -> Iterator[Any]:
    """JSON is tried first where it looks like that: its tabs are not YAML."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            yield json.loads(text, object_pairs_hook=_unique)
            return
        except json.JSONDecodeError:
            pass
    yield from yaml.load_all(text, Loader=_Loader)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key!r} stands twice")
        made[key] = value
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "too deep"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML without dates, in which no key of a mapping stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.value.__hash__ is None:
                continue
            if key_node.value in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands twice", key_node.start_mark
                )
            keys.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
