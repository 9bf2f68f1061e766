"""Answers for people and for scripts: aligned tables, and messages as JSON or YAML.

A message becomes the fields of the API under their own names, with numbers as numbers and enum
values without their prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

GAP = "  "


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as their widest cell; whole numbers are aligned to the right."""
    cells = [[*row] for row in rows]
    widths = [
        max(len(str(cell)) for cell in column) for column in zip(headers, *cells, strict=True)
    ]
    is_number = [
        bool(cells) and all(isinstance(row[i], int) for row in cells) for i in range(len(headers))
    ]
    lines = []
    for row in (headers, *cells):
        parts = [
            str(cell).rjust(width) if right else str(cell).ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        lines.append(GAP.join(parts).rstrip())
    return "\n".join(lines)


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    """One line per name and value; empty values are left out."""
    kept = [(name, str(value)) for name, value in rows if str(value)]
    width = max((len(name) for name, _ in kept), default=0)
    return "\n".join(f"{name.ljust(width)}{GAP}{value}" for name, value in kept)


def plain(message: Any) -> Any:
    """A wire message as dictionaries, lists and scalars."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, str | bytes | bool | float):
        return value
    if isinstance(value, int):
        return enum_name(field.enum_type, value) if field.enum_type else value
    if hasattr(value, "DESCRIPTOR"):
        return plain(value)
    if isinstance(value, Mapping):
        return dict(sorted(value.items()))
    return [_value(field, each) for each in value]


def enum_name(enum: Any, number: int) -> str:
    """The name of an enum's value without the enum's own name: READY for PHASE_READY."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = "".join(f"_{c}" if c.isupper() else c for c in enum.name).strip("_").upper()
    return str(value.name).removeprefix(f"{prefix}_")


def emit(output: str, content: Any, people: Callable[[], str]) -> None:
    """Print `content` as JSON or YAML, or else the text for people."""
    if output == "json":
        import json

        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), nl=False)
    elif text := people():
        click.echo(text)


def line(content: Any) -> str:
    """One line of JSON, for streams."""
    import json

    return json.dumps(content, ensure_ascii=False)


def age(us: float) -> str:
    """A duration for people, in one unit."""
    seconds = us / 1e6
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    if seconds >= 10:
        return f"{int(seconds)}s"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{max(us, 0) / 1000:.1f}ms"


def counted(count: int, noun: str) -> str:
    """A count with its noun: 1 unit, 1,000 units."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The items in runs of at most `size`."""
    return (items[i : i + size] for i in range(0, len(items), size))
