"""The story of a failing seed: what happened to one unit, or the last lines of all.

Bodies become text only here. A line of the unit's story is one that names its key or uid; of tables
only the rows about it are shown.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cell.columns import Table
from cell.messages import Changes, Join, Report, Submit
from cell.unit import uid_of
from tests.simulation.world import MS, START_US, World

LAST_LINES = 80
TEXT_MAX = 400


def story(world: World, subject: Any) -> str:
    """The lines about `subject` (a key or a uid), or the last ones when there is none."""
    if subject is None:
        lines = [_line(entry, _plain(entry[3])) for entry in world.story[-LAST_LINES:]]
        return "\n".join(lines)
    key, uid = _names(world, subject)
    lines = []
    for entry in world.story:
        body = entry[3]
        if entry[2].startswith(("FAULT", "starts", "crashes")):
            lines.append(_line(entry, ""))
        elif body is not None:
            shown = _about(body, key, uid)
            if shown:
                lines.append(_line(entry, f"{_kind(body)} {shown}"[:TEXT_MAX]))
    return "\n".join(lines)


def _names(world: World, subject: Any) -> tuple[str, tuple[int, int]]:
    if isinstance(subject, str):
        return subject, uid_of(subject)
    for *_, body in world.story:
        request = getattr(body, "body", None)
        if isinstance(request, Submit):
            keys: tuple[str, ...] = request.keys
        elif isinstance(request, Join):
            keys = tuple(member.gang for member in request.members)
        else:
            continue
        for key in keys:
            if uid_of(key) == subject:
                return key, subject
    return "?", subject


def _line(entry: tuple[int, str, str, Any], text: str) -> str:
    at_us, who, what, _ = entry
    return f"{(at_us - START_US) / MS:10.3f} {who:12} {what} {text}"


def _kind(body: Any) -> str:
    inner = getattr(body, "body", None)
    return type(body).__name__ + (f"({type(inner).__name__})" if inner is not None else "")


def _about(body: Any, key: str, uid: tuple[int, int]) -> str:
    """What a message or record says about the unit, "" for nothing."""
    parts = []
    for name, value in _fields(body):
        if isinstance(value, Table):
            parts += _rows(name, value, uid)
        elif isinstance(value, msgspec.Struct):
            inner = _about(value, key, uid)
            if inner:
                parts.append(inner)
        elif isinstance(value, tuple) and key in value:
            parts.append(_keyed(body, value.index(key), value, key))
        elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            parts += [str(entry) for entry in value if key in _strings(entry)]
    return " ".join(parts)


def _keyed(body: Any, at: int, keys: tuple[str, ...], key: str) -> str:
    if isinstance(body, Changes | Report):
        rows = body.rows.rows()
        return str([rows[i] for i, name in enumerate(keys) if name == key])
    return f"item {at}"


def _strings(entry: Any) -> list[str]:
    return [value for _, value in _fields(entry) if isinstance(value, str)]


def _rows(name: str, table: Table, uid: tuple[int, int]) -> list[str]:
    if "uid_hi" not in table.types:
        return []
    rows = [row for row in table.rows() if (row["uid_hi"], row["uid_lo"]) == uid]
    shown = [{k: v for k, v in row.items() if not k.startswith("uid")} for row in rows]
    return [f"{name}: {shown}"] if shown else []


def _fields(body: Any) -> list[tuple[str, Any]]:
    if isinstance(body, msgspec.Struct):
        return [(name, getattr(body, name)) for name in body.__struct_fields__]
    return []


def _plain(body: Any) -> str:
    if body is None:
        return ""
    parts = []
    for name, value in _fields(body):
        if isinstance(value, Table):
            parts.append(f"{name}: {len(value)} rows")
        elif isinstance(value, msgspec.Struct):
            parts.append(_plain(value))
        else:
            parts.append(f"{name}={value!r}"[:120])
    return f"{type(body).__name__}({', '.join(parts)})"[:TEXT_MAX]
