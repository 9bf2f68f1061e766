"""The wire contract explains itself, and the code generated from it is current."""

import re

import pytest

from tests.tidy.proto_digest import DIGEST_FILE, current
from tests.tidy.sources import PROTO, proto_files

# A field, an enum's value or an rpc; options in brackets may follow the number.
DECLARED = re.compile(r"^\s*(?:rpc\s+\w+\s*\(|[\w.<>, ]*\b\w+\s*=\s*-?\d+\s*[;\[])")
COMMENT = re.compile(r"^\s*//\s*\S|^\s*\*/|\S.*//\s*\S")


def uncommented(text: str) -> list[int]:
    """Lines that declare a field, value or rpc with no comment on them or just above."""
    lines = text.splitlines()
    return [
        number
        for number, line in enumerate(lines, start=1)
        if DECLARED.match(line)
        and not COMMENT.search(line)
        and not (number > 1 and re.match(r"^\s*(?://\s*\S|.*\*/\s*$)", lines[number - 2]))
    ]


@pytest.mark.parametrize(
    ("text", "want_lines"),
    [
        ("// Bytes on the wire.\nbytes rows = 1;", []),
        ("bytes rows = 1;  // Bytes on the wire.", []),
        ("bytes rows = 1;", [1]),
        ("// One.\nbytes rows = 1;\nbytes more = 2;", [3]),
        ("map<string, int64> a = 3 [deprecated = true];", [1]),
        ("rpc Submit(stream A) returns (stream B);", [1]),
        ("ACCEPTED = 0;", [1]),
        ('syntax = "proto3";\nmessage A {\noption x = true;\n}', []),
    ],
)
def test_rule_finds_bare_declarations(text: str, want_lines: list[int]) -> None:
    assert uncommented(text) == want_lines


def test_every_field_value_and_rpc_has_a_comment() -> None:
    assert proto_files() != []
    found = [
        f"{path.relative_to(PROTO)}:{line}"
        for path in proto_files()
        for line in uncommented(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_generated_code_is_current() -> None:
    assert DIGEST_FILE.read_text(encoding="utf-8") == current(), "run `make proto`"
