"""`godel watch`: changes as lines, or waiting for a word, with an exit code for each end."""

import json

import grpc
import pytest

from cell.reasons import Reason
from godel.v1 import placement_pb2, types_pb2
from runtime.cli.watch import common_prefix
from tests.unit.cli.canned import CannedCell, a_unit
from tests.unit.cli.conftest import Godel

END = placement_pb2.WatchReply(is_snapshot_end=True)
GONE = grpc.StatusCode.UNAVAILABLE
WHOLE = 4294967295


def a_snapshot(*units: placement_pb2.UnitView) -> placement_pb2.WatchReply:
    """A whole snapshot."""
    return placement_pb2.WatchReply(snapshot=units, is_snapshot_end=True)


def a_change(key: str, phase: str, **fields: object) -> placement_pb2.WatchReply:
    """One change of a whole unit."""
    number = types_pb2.Phase.Value(f"PHASE_{phase}")
    change = placement_pb2.Change(key=key, ordinal=WHOLE, phase=number)
    for name, value in fields.items():
        setattr(change, name, value)
    return placement_pb2.WatchReply(changes=[change], at_us=1_700_000_000_123_456)


def know(cell: CannedCell, **words: str) -> placement_pb2.WatchReply:
    """Let the dispatcher know units by word; their snapshot."""
    cell.placement.units = {key: a_unit(key, word) for key, word in words.items()}
    return a_snapshot(*cell.placement.units.values())


def test_waiting_for_what_is_so_already_ends_at_once(godel: Godel, cell: CannedCell) -> None:
    cell.placement.replies = [[know(cell, a="BOUND", b="RUNNING", c="DONE")]]
    ran = godel("watch", "--for", "bound", "--timeout", "60")
    assert (ran.code, ran.out) == (0, "3 units bound\n")


def test_waiting_ends_when_the_last_unit_has_come_so_far(godel: Godel, cell: CannedCell) -> None:
    cell.placement.replies = [[know(cell, a="WAITING", b="DONE"), a_change("a", "DONE")]]
    cell.placement.words_after = {"a": "DONE"}
    ran = godel("watch", "a", "unit/b", "--for", "done", "--timeout", "60")
    assert (ran.code, ran.out) == (0, "2 units done\n")


def test_many_changed_units_are_asked_for_by_one_list(godel: Godel, cell: CannedCell) -> None:
    keys = [f"x/{i}" for i in range(30)]
    snapshot = know(cell, **dict.fromkeys(keys, "WAITING"))
    changes = placement_pb2.WatchReply()
    for key in keys:
        changes.changes.extend(a_change(key, "BOUND").changes)
    cell.placement.replies = [[snapshot, changes]]
    cell.placement.words_after = dict.fromkeys(keys, "BOUND")
    ran = godel("watch", "--prefix", "x/", "--for", "bound", "--timeout", "60")
    assert (ran.code, ran.out) == (0, "30 units bound\n")
    assert [request.prefix for request in cell.placement.lists] == ["x/"]


def test_a_finished_unit_that_is_forgotten_has_the_word_told_last(
    godel: Godel, cell: CannedCell
) -> None:
    snapshot = know(cell, a="RUNNING")
    cell.placement.units = {}
    cell.placement.replies = [[snapshot, a_change("a", "DONE")]]
    assert godel("watch", "a", "--for", "done", "--timeout", "60").code == 0


@pytest.mark.parametrize("word", ["FAILED", "CANCELLED"])
def test_a_unit_that_is_lost_ends_the_wait(godel: Godel, cell: CannedCell, word: str) -> None:
    cell.placement.replies = [[know(cell, a="WAITING", b="RUNNING"), a_change("b", word)]]
    cell.placement.words_after = {"b": word}
    ran = godel("watch", "--for", "done", "--timeout", "60")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"godel: b is {word.lower()} (1 of 2)\n"


def test_a_wait_that_takes_too_long_is_a_time_out(godel: Godel, cell: CannedCell) -> None:
    cell.placement.replies = [[know(cell, a="WAITING", b="BOUND")]]
    ran = godel("watch", "--for", "bound", "--timeout", "2", "-o", "json")
    assert ran.code == 4
    assert ran.json() == {"goal": "bound", "met": 1, "units": {"a": "WAITING", "b": "BOUND"}}
    assert ran.err == "godel: 1 of 2 are not bound yet, such as a (waiting)\n"


@pytest.mark.parametrize("arguments", [("none",), ("--prefix", "zzz")], ids=str)
def test_nothing_to_wait_for_is_not_found(
    godel: Godel, cell: CannedCell, arguments: tuple[str, ...]
) -> None:
    cell.placement.replies = [[END]]
    assert godel("watch", *arguments, "--for", "bound", "--timeout", "60").code == 5


def test_a_wait_that_fell_behind_begins_anew(godel: Godel, cell: CannedCell) -> None:
    cell.placement.replies = [
        [know(cell, a="WAITING"), grpc.StatusCode.RESOURCE_EXHAUSTED],
        [know(cell, a="BOUND")],
    ]
    ran = godel("watch", "a", "--for", "bound", "--timeout", "60")
    assert (ran.code, ran.out) == (0, "1 unit bound\n")
    assert "fell behind" in ran.err


def test_a_dispatcher_that_goes_away_is_unreachable(godel: Godel, cell: CannedCell) -> None:
    cell.placement.replies = [[know(cell, a="WAITING"), GONE]]
    assert godel("watch", "a", "--for", "bound", "--timeout", "60").code == 3


def test_following_shows_what_is_there_and_each_change(godel: Godel, cell: CannedCell) -> None:
    shortage = {
        "reason": Reason.INSUFFICIENT_RESOURCE,
        "resource": "cpu",
    }
    bound = a_change("a", "BOUND", ordinal=3, group=1, node="n7")
    cell.placement.replies = [
        [know(cell, a="WAITING", b="BOUND"), a_change("a", "WAITING", **shortage), bound, GONE]
    ]
    ran = godel("watch", "a")
    lines = [line.split(maxsplit=1) for line in ran.out.splitlines()]
    assert ran.code == 3
    assert lines[0] == ["a", "waiting  1 waiting"]
    assert lines[1][1] == "a  waiting  insufficient cpu"
    assert lines[2][1] == "a  1/3  bound  n7"
    assert lines[2][0].endswith(".123")
    assert len(lines) == 3


def test_following_as_json_is_one_object_per_line(godel: Godel, cell: CannedCell) -> None:
    cell.placement.replies = [[END, a_change("a", "BOUND", node="n7"), GONE]]
    ran = godel("watch", "--changes-only", "-o", "json")
    assert not cell.placement.watches[0].is_snapshot_wanted
    (shown,) = [json.loads(line) for line in ran.out.splitlines()]
    assert shown["at_us"] == 1_700_000_000_123_456
    assert (shown["change"]["phase"], shown["change"]["reason"]) == ("BOUND", "NONE")


def test_the_end_of_following_is_no_failure(godel: Godel, cell: CannedCell) -> None:
    cell.placement.replies = [[END]]
    ran = godel("watch", "--timeout", "0.01")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize(
    ("keys", "want"),
    [(("a/b",), "a/b"), (("a/b", "a/c"), "a/"), (("a", "ab"), "a"), (("x", "y"), "")],
)
def test_keys_are_watched_by_their_shared_beginning(keys: tuple[str, ...], want: str) -> None:
    assert common_prefix(keys) == want


def test_keys_and_a_prefix_do_not_go_together(godel: Godel) -> None:
    assert godel("watch", "a", "--prefix", "b").code == 2
