"""`godel get`: what units wait for and what would wake them, for people and for scripts."""

import time

import yaml

from godel.v1 import placement_pb2, release_pb2, types_pb2
from tests.unit.cli.canned import CannedCell, a_unit
from tests.unit.cli.conftest import Godel

NOW_US = time.time_ns() // 1000


def know(cell: CannedCell, *units: placement_pb2.UnitView) -> None:
    """Let the dispatcher know units."""
    cell.placement.units = {unit.key: unit for unit in units}


def a_waiting(key: str) -> placement_pb2.UnitView:
    """A unit that waits for room, since an hour ago."""
    return a_unit(
        key,
        "WAITING",
        why="insufficient cpu",
        wakes=["room freed", "node added"],
        submitted_at_us=NOW_US - 3 * 3_600_000_000,
        attempts=4,
    )


def test_one_unit_with_why_it_waits_and_what_would_wake_it(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_waiting("default/a"))
    ran = godel("get", "default/a")
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines()[:4])
    assert ran.code == 0
    assert lines["unit"] == "default/a"
    assert lines["word"] == "Waiting"
    assert lines["replicas"] == "1 waiting"
    assert lines["why"] == "insufficient cpu"
    assert "wakes on  room freed, node added" in ran.out.replace("   ", "  ")
    assert "age" in ran.out
    assert "3h" in ran.out


def test_a_units_replicas_with_their_nodes(godel: Godel, cell: CannedCell) -> None:
    unit = a_unit("a", "RUNNING", submitted_at_us=NOW_US, bound_at_us=NOW_US + 5000)
    unit.phases["BOUND"] = 2
    unit.replicas.add(group=1, ordinal=7, phase=types_pb2.PHASE_BOUND, node="n3")
    know(cell, unit)
    out = godel("get", "unit/a").out
    assert ["1", "7", "bound", "n3"] in [line.split() for line in out.splitlines()]
    assert "2 bound, 1 ready" in out
    assert "5.0ms" in out


def test_one_unit_as_json_is_an_object_of_the_apis_fields(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_waiting("a"))
    shown = godel("get", "a", "-o", "json").json()
    assert shown["word"] == "WAITING"
    assert shown["phases"] == {"WAITING": 1}
    assert shown["wakes"] == ["room freed", "node added"]
    assert shown["attempts"] == 4
    assert shown["submitted_at_us"] == NOW_US - 3 * 3_600_000_000
    assert shown["bound_at_us"] == 0
    assert shown["replicas"] == [{"group": 0, "ordinal": 0, "phase": "WAITING", "node": ""}]


def test_a_pod_is_found_without_its_uid(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_waiting("shop/web/u-1"), a_unit("shop/web-2/u-2"), a_unit("shop/api/u-3"))
    assert godel("get", "shop/web", "-o", "json").json()["key"] == "shop/web/u-1"
    assert godel("get", "shop/api", "shop/web", "-o", "name").out.split() == [
        "unit/shop/api/u-3",
        "unit/shop/web/u-1",
    ]
    unknown = godel("get", "shop/we")
    assert (unknown.code, "shop/we" in unknown.err) == (5, True)


def test_several_units_as_yaml_are_a_list(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_unit("a"), a_unit("b"))
    shown = yaml.safe_load(godel("get", "a", "b", "-o", "yaml").out)
    assert [unit["key"] for unit in shown] == ["a", "b"]


def test_all_units_are_a_table(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_waiting("default/long-name"), a_unit("b"))
    lines = godel("get").out.splitlines()
    assert lines[0].split() == ["KEY", "WORD", "REPLICAS", "AGE", "WHY"]
    assert lines[1].split(maxsplit=5) == [
        *("default/long-name", "Waiting", "1", "waiting", "3h"),
        "insufficient cpu",
    ]
    assert lines[1].index("Waiting") == lines[2].index("Bound") == lines[0].index("WORD")
    assert all(line == line.rstrip() for line in lines)


def test_wide_shows_more(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_waiting("a"))
    assert "ATTEMPTS" in godel("get", "-o", "wide").out


def test_names_can_be_given_to_get_again(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_unit("a"), a_unit("b"))
    names = godel("get", "-o", "name").out.split()
    assert names == ["unit/a", "unit/b"]
    assert godel("get", *names).code == 0


def test_filters_are_the_dispatchers(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_waiting("x/a"), a_unit("x/b"), a_waiting("y/c"))
    ran = godel("get", "--prefix", "x/", "--word", "Waiting", "--limit", "5", "-o", "json")
    (request,) = cell.placement.lists
    assert (request.prefix, request.word, request.count_max) == ("x/", "WAITING", 5)
    assert [unit["key"] for unit in ran.json()["units"]] == ["x/a"]
    assert ran.json()["summary"] == {
        "words": {"BOUND": 1, "WAITING": 2},
        "why": {"insufficient cpu": 2},
    }


def test_a_summary_counts_words_and_reasons(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_waiting("a"), a_unit("b", "RUNNING"), a_waiting("c"))
    lines = [line.split() for line in godel("get", "--summary").out.splitlines()]
    assert lines[1:3] == [["Waiting", "2"], ["Running", "1"]]
    assert lines[-1] == ["2", "insufficient", "cpu"]


def test_an_unknown_unit_is_not_found(godel: Godel, cell: CannedCell) -> None:
    know(cell, a_unit("a"))
    ran = godel("get", "a", "b")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.endswith("NOT_FOUND: key: no unit b\n")


def test_names_and_filters_do_not_go_together(godel: Godel) -> None:
    assert godel("get", "a", "--prefix", "b").code == 2


def test_a_rollingset_by_name(godel: Godel, cell: CannedCell) -> None:
    spec = release_pb2.Rollingset(name="shop", rows=3, max_unavailable="1")
    spec.columns.add(name="web", count=2).spec.demand["cpu"] = 1500
    view = cell.release.put(spec)
    view.rows.add(ordinal=2, key="shop/2", version=1, replicas=2, why="insufficient cpu")
    out = godel("get", "rollingset/shop").out
    assert "rollingset       shop" in out
    assert "cpu 1.5" in out
    assert "insufficient cpu" in out
    assert godel("get", "rollingset/shop", "-o", "json").json()["spec"]["columns"][0] == {
        "name": "web",
        "spec": {
            "demand": {"cpu": 1500},
            "selector": {},
            "tolerations": [],
            "profile": "",
            "wishes": [],
            "features": [],
            "places": [],
            "unasked": {},
        },
        "count": 2,
    }
    assert godel("get", "rollingset/none").code == 5
