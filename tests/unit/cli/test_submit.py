"""`godel submit`: all files are checked first; what is refused is listed by key."""

import io
import sys
from pathlib import Path

import grpc
import pytest

from cell.reasons import Status
from godel.v1 import release_pb2
from tests.unit.cli.canned import CannedCell, a_refusal
from tests.unit.cli.conftest import Godel

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  template: {spec: {containers: [{resources: {requests: {cpu: 1}}}]}}
"""
ROLLINGSET = """
apiVersion: godel.dev/v1
kind: Rollingset
metadata: {name: shop}
spec: {rows: 3, columns: [{name: web, demand: {cpu: 1}}]}
"""
BAD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [], nodeName: n}\n"


def a_file(folder: Path, text: str, name: str = "a.yaml") -> str:
    """A file of this text."""
    (folder / name).write_text(text)
    return str(folder / name)


def test_units_and_rollingsets_are_submitted(
    godel: Godel, cell: CannedCell, tmp_path: Path
) -> None:
    ran = godel("submit", "-f", a_file(tmp_path, DEPLOYMENT % 3 + "---" + ROLLINGSET))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "submitted 3 units, 1 rollingset\n"
    (request,) = cell.placement.submits
    assert [unit.key for unit in request.units] == [f"default/web-{i}" for i in range(3)]
    assert [entry.spec.demand["cpu"] for entry in request.classes] == [1000]
    assert cell.release.views["shop"].spec.rows == 3


def test_large_submissions_go_in_batches_and_a_class_is_sent_once(
    godel: Godel, cell: CannedCell, tmp_path: Path
) -> None:
    ran = godel("submit", "-f", a_file(tmp_path, DEPLOYMENT % 2500))
    assert ran.out == "submitted 2,500 units\n"
    assert [len(each.units) for each in cell.placement.submits] == [1000, 1000, 500]
    assert [len(each.classes) for each in cell.placement.submits] == [1, 0, 0]


def test_a_fault_in_any_file_keeps_all_from_being_sent(
    godel: Godel, cell: CannedCell, tmp_path: Path
) -> None:
    good = a_file(tmp_path, DEPLOYMENT % 3)
    bad = a_file(tmp_path, f"{ROLLINGSET}---\n{BAD}", "b.yaml")
    ran = godel("submit", "-f", good, "-f", bad)
    assert (ran.code, ran.out) == (2, "")
    want = f"godel: {bad}: document 2: spec.containers: needs at least one container\n"
    assert ran.err == want
    assert (cell.placement.submits, cell.release.views) == ([], {})


def test_a_file_that_is_not_there_is_bad_input(godel: Godel, tmp_path: Path) -> None:
    ran = godel("submit", "-f", str(tmp_path / "none.yaml"))
    assert ran.code == 2
    assert "No such file" in ran.err


def test_refused_units_are_listed_by_key(godel: Godel, cell: CannedCell, tmp_path: Path) -> None:
    key = "default/web-1"
    cell.placement.refusals[key] = a_refusal(0, Status.ALREADY_EXISTS, "another unit has this key")
    ran = godel("submit", "-f", a_file(tmp_path, DEPLOYMENT % 3))
    assert (ran.code, ran.out) == (1, "submitted 2 units; 1 refused\n")
    head, row = ran.err.splitlines()
    assert head.split() == ["REFUSED", "CODE", "FIELD", "REASON"]
    assert row.split(maxsplit=3) == [key, "ALREADY_EXISTS", "key", "another unit has this key"]


def test_units_refused_for_now_are_tried_again(
    godel: Godel, cell: CannedCell, tmp_path: Path
) -> None:
    refusal = a_refusal(0, Status.RESOURCE_EXHAUSTED, "full", retry_after_ms=1)
    cell.placement.refusals = {"default/web-0": refusal, "default/web-2": refusal}
    ran = godel("submit", "-f", a_file(tmp_path, DEPLOYMENT % 3))
    assert (ran.code, ran.out) == (0, "submitted 3 units\n")
    again = cell.placement.submits[1]
    assert [unit.key for unit in again.units] == ["default/web-0", "default/web-2"]
    assert len(again.classes) == 1


def test_units_that_cannot_be_tried_again_in_time_are_refused(
    godel: Godel, cell: CannedCell, tmp_path: Path
) -> None:
    refusal = a_refusal(0, Status.RESOURCE_EXHAUSTED, "full", retry_after_ms=3_600_000)
    cell.placement.refusals = {"default/web-0": refusal}
    ran = godel("submit", "-f", a_file(tmp_path, DEPLOYMENT % 1))
    assert (ran.code, ran.out) == (1, "submitted 0 units; 1 refused\n")


def test_refusals_as_json(godel: Godel, cell: CannedCell, tmp_path: Path) -> None:
    cell.placement.refusals["default/web-0"] = a_refusal(0, Status.UNIMPLEMENTED, "not yet")
    cell.release.put(release_pb2.Rollingset(name="shop"))
    ran = godel("submit", "-o", "json", "-f", a_file(tmp_path, DEPLOYMENT % 2 + "---" + ROLLINGSET))
    assert ran.code == 1
    assert ran.json() == {
        "submitted": ["unit/default/web-1"],
        "refused": [
            {
                "key": "default/web-0",
                "code": "UNIMPLEMENTED",
                "field": "key",
                "reason": "not yet",
                "retry_after_ms": 0,
            },
            {
                "key": "rollingset/shop",
                "code": "ALREADY_EXISTS",
                "field": "",
                "reason": "name: exists with another spec",
                "retry_after_ms": 0,
            },
        ],
        "warnings": [],
    }


def test_standard_input_is_read(
    godel: Godel, cell: CannedCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DEPLOYMENT % 1).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert godel("submit", "-f", "-", "-o", "name").out == "unit/default/web-0\n"


def test_warnings_go_to_standard_error(godel: Godel, tmp_path: Path) -> None:
    ran = godel("submit", "-f", a_file(tmp_path, DEPLOYMENT % 0))
    assert (ran.code, ran.out) == (0, "submitted 0 units\n")
    assert ran.err.startswith("godel: warning: ")
    assert "asks for no pods" in ran.err


def test_a_dry_run_asks_no_service(godel: Godel, cell: CannedCell, tmp_path: Path) -> None:
    file = a_file(tmp_path, DEPLOYMENT % 2 + "---" + ROLLINGSET)
    shown = godel("submit", "--dry-run", "-o", "json", "-f", file).json()
    assert [unit["key"] for unit in shown["units"]] == ["default/web-0", "default/web-1"]
    assert shown["classes"][0]["spec"]["demand"] == {"cpu": 1000}
    assert shown["rollingsets"][0]["place"] == "KEEP"
    assert "rollingset/shop" in godel("submit", "--dry-run", "-f", file).out
    assert (cell.placement.submits, cell.release.views) == ([], {})


@pytest.mark.parametrize(
    ("failure", "want"),
    [(grpc.StatusCode.UNAVAILABLE, 3), (grpc.StatusCode.DEADLINE_EXCEEDED, 4)],
)
def test_a_broken_stream_says_how_far_it_came(
    godel: Godel, cell: CannedCell, tmp_path: Path, failure: grpc.StatusCode, want: int
) -> None:
    cell.placement.failure = failure
    ran = godel("submit", "-f", a_file(tmp_path, DEPLOYMENT % 2))
    assert ran.code == want
    assert "0 of 2 units answered; submit the same files again" in ran.err


def test_units_refused_are_told_even_if_the_controller_is_gone(
    godel: Godel, cell: CannedCell, tmp_path: Path
) -> None:
    cell.placement.refusals["default/web-0"] = a_refusal(0, Status.UNIMPLEMENTED, "not yet")
    file = a_file(tmp_path, DEPLOYMENT % 1 + "---" + ROLLINGSET)
    ran = godel("submit", "--sharding", "unix:/nowhere.sock", "-f", file)
    assert ran.code == 3
    assert "default/web-0" in ran.err
    assert "sharding at unix:/nowhere.sock: cannot be reached" in ran.err
