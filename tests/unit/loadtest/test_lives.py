"""What simulated nodes report, and what they keep quiet about."""

from godel.v1 import placement_pb2
from loadtest.lives import DONE, READY, STARTING, Delays, Due, Lives, packed_reports
from tests.unit.loadtest.builders import (
    WHOLE_UNIT,
    a_change,
    a_view,
    in_columns,
    in_snapshot,
)

FIXED = Delays(start_s=(1.0, 1.0))


def lives(delays: Delays = FIXED, seed: int = 0) -> Lives:
    return Lives(["n"], delays, seed)


def said(lives: Lives, now_s: float) -> list[tuple[str, int, int, int]]:
    return [
        (due.replica.key, due.replica.ordinal, due.revision, due.phase)
        for due in lives.take_due(now_s, 100)
    ]


def bound(
    key: str = "a", *, ordinal: int = 0, revision: int = 1, node: str = "n"
) -> placement_pb2.Change:
    return a_change("BOUND", key=key, ordinal=ordinal, revision=revision, node=node)


def test_a_bound_replica_starts_at_once_and_is_ready_after_its_delay() -> None:
    node = lives()
    node.apply(in_columns(bound(ordinal=3)), 10.0)

    assert said(node, 10.0) == [("a", 3, 1, STARTING)]
    assert said(node, 10.9) == []
    assert said(node, 11.0) == [("a", 3, 1, READY)]
    assert node.next_s is None


def test_replicas_on_other_nodes_are_somebody_elses() -> None:
    node = lives()
    node.apply(in_columns(bound("a", node="other"), bound("b")), 0.0)

    assert said(node, 0.0) == [("b", 0, 1, STARTING)]
    assert len(node) == 1


def test_a_change_told_twice_is_reported_once() -> None:
    node = lives()
    node.apply(in_columns(bound(), bound()), 0.0)

    assert said(node, 5.0) == [("a", 0, 1, STARTING), ("a", 0, 1, READY)]


def test_a_new_revision_is_reported_anew_and_the_old_one_no_more() -> None:
    node = lives()
    node.apply(in_columns(bound()), 0.0)
    node.apply(in_columns(bound(revision=2)), 0.5)

    assert said(node, 5.0) == [("a", 0, 2, STARTING), ("a", 0, 2, READY)]


def test_what_is_cancelled_or_moved_is_not_reported() -> None:
    node = lives()
    node.apply(in_columns(bound("a"), bound("b"), bound("c")), 0.0)
    node.apply(in_columns(a_change("CANCELLED", key="a", ordinal=WHOLE_UNIT)), 0.0)
    node.apply(in_columns(a_change("FAILED", key="b")), 0.0)
    node.apply(in_columns(bound("c", node="other")), 0.0)

    assert said(node, 5.0) == []
    assert len(node) == 0


def test_with_a_run_time_a_ready_replica_is_done_and_forgotten() -> None:
    node = lives(Delays(start_s=(1.0, 1.0), run_s=(2.0, 2.0), run_prefix="job/"))
    node.apply(in_columns(bound("job/a"), bound("web/a")), 0.0)
    said(node, 1.0)

    assert said(node, 3.0) == [("job/a", 0, 1, DONE)]
    assert len(node) == 1


def test_a_snapshot_after_a_restart_repeats_what_is_not_ready() -> None:
    node = lives()
    views = [
        a_view("BOUND", "BOUND", key="a"),
        a_view("RUNNING", "READY", key="b", revision=2),
        a_view("RUNNING", "STARTING", key="c"),
        a_view("DONE", "DONE", key="d"),
    ]
    node.apply(in_snapshot(*views), 0.0)

    want = [("a", 0, 1, STARTING), ("a", 0, 1, READY), ("c", 0, 1, READY)]
    assert said(node, 5.0) == want
    assert len(node) == 3


def test_delays_are_the_seeds_and_within_bounds() -> None:
    def ready_at(seed: int) -> list[float]:
        node = lives(Delays(start_s=(1.0, 2.0)), seed)
        node.apply(in_columns(*[bound(f"u-{i}") for i in range(50)]), 0.0)
        return [due.at_s for due in node.take_due(9.0, 1000) if due.phase == READY]

    assert ready_at(1) == ready_at(1)
    assert ready_at(1) != ready_at(2)
    assert all(1.0 <= at_s < 2.0 for at_s in ready_at(1))
    assert max(ready_at(1)) - min(ready_at(1)) > 0.5


def test_a_batch_is_bounded_and_the_rest_stays_due() -> None:
    node = lives()
    node.apply(in_columns(*[bound(f"u-{i}") for i in range(5)]), 0.0)

    assert len(node.take_due(0.0, 3)) == 3
    assert len(node.take_due(0.0, 3)) == 2


def test_a_report_owed_again_comes_later() -> None:
    node = lives()
    node.apply(in_columns(bound()), 0.0)
    (starting,) = node.take_due(0.0, 10)
    node.again(starting, 0.25)

    assert said(node, 0.2) == []
    assert said(node, 0.25) == [("a", 0, 1, STARTING)]


def test_reports_travel_as_columns() -> None:
    node = lives()
    node.apply(in_columns(bound("a", ordinal=7, revision=3)), 0.0)
    due: list[Due] = node.take_due(0.0, 10)

    packed = packed_reports(due)

    assert list(packed.keys) == ["a"]
    assert packed.ordinal == (7).to_bytes(4, "little")
    assert packed.revision == (3).to_bytes(4, "little")
    assert packed.phase == bytes([STARTING])
