"""Files, directories and streams of documents; faults of YAML and JSON told by their place."""

import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.documents import BadDocument, documents, read_all
from runtime.manifests import submission


def test_documents_are_numbered_as_they_stand_and_empty_ones_left_out() -> None:
    found = documents("a: 1\n---\n# nothing\n---\nb: 2\n", "f")
    assert found == [("f: document 1", {"a": 1}), ("f: document 3", {"b": 2})]


def test_dates_stay_text() -> None:
    (found,) = documents("at: 2024-01-01T00:00:00Z", "f")
    assert found.content == {"at": "2024-01-01T00:00:00Z"}


def test_anchors_and_merged_keys_are_read() -> None:
    (found,) = documents("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n", "f")
    assert found.content["d"] == {"b": 1, "c": 3}


def test_json_with_tabs_is_read() -> None:
    assert documents('{\n\t"a": [1]\n}', "f")[0].content == {"a": [1]}


def test_flow_yaml_that_only_looks_like_json_is_read() -> None:
    assert documents("{a: b}", "f")[0].content == {"a": "b"}


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    want: str


BAD = [
    Case(
        "a key twice", "a: 1\nb: {c: 1,\n  c: 2}\n", "f: document 1: line 3, column 3: the key 'c'"
    ),
    Case("a key twice in JSON", '{"a": 1, "a": 2}', "f: document 1: the key 'a' stands twice"),
    Case("an open list in the second", "a: 1\n---\nb: [1\n", "f: document 2: line 4"),
    Case("no such anchor", "a: *b", "f: document 1: line 1, column 4"),
    Case("a tag of Python", "!!python/object/apply:os.getcwd []", "f: document 1: line 1"),
    Case("a control character", "a: \x01", "f: document 1: "),
    Case("too deep", "[" * 5000, "f: document 1: "),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_fault_names_file_document_and_line(case: Case) -> None:
    with pytest.raises(BadDocument) as caught:
        documents(case.text, "f")
    assert str(caught.value).startswith(case.want)
    assert "\n" not in str(caught.value)


def test_a_directory_is_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", "notes.txt"):
        (tmp_path / name).write_text(f'"{name}"')
    assert [each.content for each in read_all([str(tmp_path)])] == ["a.yaml", "b.yml", "c.json"]


def test_a_directory_without_a_file_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDocument, match="has no file that ends in"):
        read_all([str(tmp_path)])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDocument, match=r"x\.yaml: No such file"):
        read_all([str(tmp_path / "x.yaml")])


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfea")
    with pytest.raises(BadDocument, match="no UTF-8"):
        read_all([str(tmp_path / "x.yaml")])


def test_standard_input_is_a_file_named_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa: 1")))
    assert read_all(["-"]) == [("standard input: document 1", {"a": 1})]


def test_every_manifest_of_the_guide_can_be_submitted() -> None:
    guide = (Path(__file__).parents[3] / "docs/guides/manifests.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    asked = submission(documents("---\n".join(blocks), "guide"))
    assert [unit.key for unit in asked.units] == ["train-42", "research/train"]
    assert [rollingset.name for rollingset in asked.rollingsets] == ["shop"]
    assert dict(asked.units[1].groups[0].klass.demand)["cpu"] == 8100
