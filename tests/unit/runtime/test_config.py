"""Settings: file, environment and flags in this order, and one line that names what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.config import BadConfig, ServiceConfig, load, section


class Settings(ServiceConfig, frozen=True, kw_only=True):
    name: str = "x"
    count: int = 1


class Limits(msgspec.Struct, frozen=True):
    rows_max: int = 10


@dataclass(frozen=True)
class Case:
    name: str
    file: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)
    want: Mapping[str, Any] = field(default_factory=dict)
    want_error: str = ""


CASES = [
    Case("defaults without anything", want={"name": "x", "count": 1, "state": "godel-state"}),
    Case("the file gives fields", file="count: 7\n", want={"count": 7}),
    Case(
        "the environment wins over the file",
        file="state: a\n",
        environ={"GODEL_STATE": "b"},
        want={"state": "b"},
    ),
    Case(
        "a flag wins over both",
        file="state: a\n",
        environ={"GODEL_STATE": "b"},
        flags={"state": "c", "count": None},
        want={"state": "c", "count": 1},
    ),
    Case("an unknown field is named", file="cuont: 7\n", want_error="unknown field cuont"),
    Case("a wrong type names the field", file="count: many\n", want_error="count"),
    Case("a name that no peer takes is refused", file='name: "a b"\n', want_error="name: 'a b'"),
    Case("a list is no settings", file="- a\n", want_error="needs fields, found list"),
    Case("broken YAML names the file", file="a: [\n", want_error="settings.yaml"),
    Case("an unreadable file is named", file=None, flags={}, want_error="absent.yaml"),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_load(case: Case, tmp_path: Path) -> None:
    path = None
    if case.file is not None:
        path = tmp_path / "settings.yaml"
        path.write_text(case.file)
    elif case.want_error:
        path = tmp_path / "absent.yaml"
    text_path = None if path is None else str(path)
    if case.want_error:
        with pytest.raises(BadConfig, match=case.want_error) as raised:
            load(Settings, text_path, case.flags, case.environ)
        assert case.want_error.split()[0] in str(raised.value)
        return
    settings = load(Settings, text_path, case.flags, case.environ)
    assert {name: getattr(settings, name) for name in case.want} == case.want


@pytest.mark.parametrize(
    ("fields", "want_error"),
    [
        ({"rows_max": 5}, ""),
        ({"rows": 5}, r"unknown field limits\.rows; known are rows_max"),
        ({"rows_max": "x"}, r"Expected `int`, got `str` - at `limits\.rows_max`"),
    ],
    ids=["good", "unknown", "wrong type"],
)
def test_a_section_names_its_fields_by_path(fields: dict[str, Any], want_error: str) -> None:
    if not want_error:
        assert section(Limits, fields) == Limits(5)
        return
    with pytest.raises(BadConfig, match=want_error):
        section(Limits, fields)
