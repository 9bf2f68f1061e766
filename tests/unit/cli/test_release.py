"""`godel release`: specs from files, small edits as new versions, and how far a release is."""

import json
from pathlib import Path

import pytest

from godel.v1 import release_pb2
from tests.unit.cli.canned import CannedCell
from tests.unit.cli.conftest import Godel

SHOP = """
apiVersion: godel.dev/v1
kind: Rollingset
metadata: {name: shop}
spec:
  rows: 3
  max_unavailable: 50%%
  columns: [{name: web, count: 2, demand: {cpu: %s}}]
"""


def a_file(folder: Path, text: str) -> str:
    """A file of this text."""
    (folder / "a.yaml").write_text(text)
    return str(folder / "a.yaml")


def a_spec(*columns: str) -> release_pb2.Rollingset:
    """A rollingset of three rows; each column asks for one cpu in zone a."""
    spec = release_pb2.Rollingset(name="shop", rows=3)
    for name in columns or ("web",):
        column = spec.columns.add(name=name, count=1)
        column.spec.demand["cpu"] = 1000
        column.spec.selector["zone"] = "a"
    return spec


def test_create(godel: Godel, cell: CannedCell, tmp_path: Path) -> None:
    ran = godel("release", "create", "-f", a_file(tmp_path, SHOP % 1))
    assert ran.code == 0
    assert "max_unavailable  50%" in ran.out
    spec = cell.release.views["shop"].spec
    assert (spec.rows, spec.columns[0].count, spec.columns[0].spec.demand["cpu"]) == (3, 2, 1000)


def test_several_rollingsets_as_json_are_a_list(godel: Godel, tmp_path: Path) -> None:
    text = SHOP % 1 + "---" + (SHOP % 1).replace("shop", "till")
    ran = godel("release", "create", "-o", "json", "-f", a_file(tmp_path, text))
    assert [view["spec"]["name"] for view in ran.json()] == ["shop", "till"]


def test_what_exists_with_another_spec_is_refused(
    godel: Godel, cell: CannedCell, tmp_path: Path
) -> None:
    cell.release.put(a_spec())
    ran = godel("release", "create", "-f", a_file(tmp_path, SHOP % 1))
    assert (ran.code, ran.out) == (1, "")
    assert "ALREADY_EXISTS: name: exists with another spec" in ran.err


def test_a_unit_is_no_rollingset(godel: Godel, tmp_path: Path) -> None:
    text = "apiVersion: godel.dev/v1\nkind: Unit\nmetadata: {name: u}\nspec: {groups: [{}]}\n"
    ran = godel("release", "create", "-f", a_file(tmp_path, text))
    assert ran.code == 2
    assert "document 1: u is no rollingset" in ran.err


def test_update_from_a_file(godel: Godel, cell: CannedCell, tmp_path: Path) -> None:
    cell.release.put(a_spec())
    ran = godel("release", "update", "shop", "-f", a_file(tmp_path, SHOP % 2))
    assert ran.code == 0
    (request,) = cell.release.updates
    assert request.spec.columns[0].spec.demand["cpu"] == 2000
    assert request.generation == 0


def test_a_file_about_another_rollingset_is_bad_input(
    godel: Godel, cell: CannedCell, tmp_path: Path
) -> None:
    ran = godel("release", "update", "till", "-f", a_file(tmp_path, SHOP % 2))
    assert (ran.code, cell.release.updates) == (2, [])


def test_edits_make_a_new_version_of_the_spec_that_was_seen(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec())
    edits = ("--demand", "cpu=2", "--demand", "memory=4Gi", "--label", "disk=ssd")
    more = ("--label", "zone=", "--rows", "5", "--max-unavailable", "2", "--keep", "10%")
    assert godel("release", "update", "rollingset/shop", *edits, *more).code == 0
    (request,) = cell.release.updates
    column = request.spec.columns[0].spec
    assert dict(column.demand) == {"cpu": 2000, "memory": 4 << 30}
    assert dict(column.selector) == {"disk": "ssd"}
    assert (request.spec.rows, request.spec.max_unavailable, request.spec.keep) == (5, "2", "10%")
    assert request.generation == 1


def test_an_edit_names_its_column(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec("web", "log"))
    assert godel("release", "update", "shop", "--demand", "log:cpu=3").code == 0
    columns = cell.release.updates[0].spec.columns
    assert [column.spec.demand["cpu"] for column in columns] == [1000, 3000]


@pytest.mark.parametrize(
    "edit",
    [
        ("--demand", "cpu=2"),
        ("--demand", "db:cpu=2"),
        ("--demand", "web:cpu"),
        ("--demand", "web:=2"),
        ("--demand", "web:cpu=two"),
        ("--demand", "web:cpu=-1"),
        ("--demand", "web:cpu=1e30"),
        ("--rows", "-1"),
        (),
    ],
    ids=" ".join,
)
def test_a_bad_edit_changes_nothing(godel: Godel, cell: CannedCell, edit: tuple[str, ...]) -> None:
    cell.release.put(a_spec("web", "log"))
    ran = godel("release", "update", "shop", *edit)
    assert (ran.code, ran.out, cell.release.updates) == (2, "", [])
    assert ran.err.count("\n") == 1


def test_pause_and_resume(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec())
    codes = [godel("release", verb, "shop").code for verb in ("pause", "resume")]
    asked = [(each.spec.is_paused, each.generation) for each in cell.release.updates]
    assert (codes, asked) == ([0, 0], [(True, 1), (False, 2)])


def test_rollingsets_are_listed_by_default(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec()).why = "row 2: insufficient cpu"
    lines = [line.split(maxsplit=5) for line in godel("release").out.splitlines()]
    assert lines[1] == ["shop", "Rolling", "0/3", "1", "0", "row 2: insufficient cpu"]
    assert godel("release", "-o", "name").out == "rollingset/shop\n"


def test_delete(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec())
    assert godel("release", "delete", "shop", "-o", "json").json()["word"] == "Deleting"
    assert godel("release", "delete", "none").code == 5


def test_watch_until_settled(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec())
    cell.release.words = ["Rolling", "Rolling", "Settled"]
    ran = godel("release", "watch", "shop", "--for", "settled", "--timeout", "60")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "shop Settled 0/3 ready (v1 0/3)"


def test_watch_as_json_lines_until_it_is_deleted(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec())
    cell.release.words = ["Deleting", "Deleted"]
    ran = godel("release", "watch", "shop", "-o", "json")
    words = [json.loads(line)["word"] for line in ran.out.splitlines()]
    assert (ran.code, words) == (0, ["Deleting", "Deleted"])


def test_what_is_deleted_instead_is_no_success(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec())
    cell.release.words = ["Deleted"]
    assert godel("release", "watch", "shop", "--for", "settled").code == 1
    assert godel("release", "watch", "shop", "--for", "deleted").code == 0


def test_what_is_gone_already_is_deleted(godel: Godel) -> None:
    assert godel("release", "watch", "none", "--for", "deleted").code == 0
    assert godel("release", "watch", "none", "--for", "settled").code == 5


def test_a_release_that_stands_still_is_a_time_out(godel: Godel, cell: CannedCell) -> None:
    cell.release.put(a_spec())
    ran = godel("release", "watch", "shop", "--for", "settled", "--timeout", "0.05")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == "godel: shop is not settled yet, but not shown\n"
