"""Figures and verdict of a run."""

import json

import msgspec
import numpy as np
import pytest

from godel.v1 import cluster_pb2
from loadtest.report import (
    Latency,
    Report,
    UsageSample,
    Waiting,
    headline,
    latency_of,
    lines,
    usage_of,
)

NOTHING_WAITS = Waiting(0, {}, ())


def a_report(**changed: object) -> Report:
    report = Report(
        name="run",
        seconds=2.0,
        submit_seconds=1.0,
        units=3,
        replicas=3,
        acked=3,
        refused=0,
        refused_why={},
        retried=0,
        placed=3,
        replicas_placed=3,
        ended=0,
        lost=0,
        unacked=0,
        placed_rate=1.5,
        late_ms_max=0.0,
        watch_breaks=0,
        latency=Latency(1.0, 2.0, 3.0, 4000.0),
        usage=(UsageSample(0.0, {"cpu": 0.25}, 2),),
        waiting=NOTHING_WAITS,
    )
    return msgspec.structs.replace(report, **changed)


def test_latency_counts_from_due_and_leaves_out_what_was_not_placed() -> None:
    placed_at_s = np.array([1.0, 2.0, np.nan, -1.0])
    due_s = np.array([0.5, 1.0, 0.0, 0.0])

    latency = latency_of(placed_at_s, due_s)

    assert latency is not None
    assert (latency.p50_ms, latency.max_ms) == (750.0, 1000.0)
    assert latency_of(np.array([np.nan]), np.array([0.0])) is None


def test_usage_is_the_share_over_all_nodes() -> None:
    views = [
        cluster_pb2.NodeView(name="a", allocatable={"cpu": 3, "gpu": 0}, used={"cpu": 1}),
        cluster_pb2.NodeView(name="b", allocatable={"cpu": 1, "gpu": 4}, used={"gpu": 1}),
    ]

    assert usage_of(views, 1.0) == UsageSample(1.0, {"cpu": 0.25, "gpu": 0.25}, 2)


@pytest.mark.parametrize(
    ("waiting", "unacked", "want"),
    [
        (NOTHING_WAITS, 0, True),
        (Waiting(2, {"insufficient cpu": 2}, ()), 0, True),
        (Waiting(2, {"insufficient cpu": 2}, ("a",)), 0, False),
        (Waiting(2, {"insufficient cpu": 1, "": 1}, ()), 0, False),
        (NOTHING_WAITS, 1, False),
    ],
)
def test_a_run_is_complete_when_all_is_placed_or_rightly_waits(
    waiting: Waiting, unacked: int, want: bool
) -> None:
    report = a_report(waiting=waiting, unacked=unacked)

    assert report.is_complete is want
    assert json.loads(report.as_json())["is_complete"] is want


@pytest.mark.parametrize(
    ("why", "want"),
    [
        ("", "no reason given"),
        ("no scheduler is connected", "no scheduler is connected"),
        ("no node fits: 12 insufficient cpu", "no node fits: insufficient cpu"),
        ("no node fits: 12 a, 3 b", "no node fits: a"),
    ],
)
def test_a_headline_has_no_counts(why: str, want: str) -> None:
    assert headline(why) == want


def test_the_table_shows_the_peak_when_the_end_is_lower() -> None:
    usage = (UsageSample(0.0, {"cpu": 0.5}, 1), UsageSample(1.0, {"cpu": 0.25}, 1))
    shown = dict(lines(a_report(usage=usage)))

    assert (shown["utilisation"], shown["  at most"]) == ("cpu 25.0 %", "cpu 50.0 %")
    assert "  at most" not in dict(lines(a_report(usage=usage[:1])))


def test_the_table_says_what_waits_and_the_verdict_of_the_fit_check() -> None:
    why = {"no node fits: 9 gpu, 2 cpu": 3, "no node fits: 8 gpu, 3 cpu": 1, "untolerated taint": 1}
    shown = lines(a_report(waiting=Waiting(5, why, ())))

    at = shown.index(("waiting", "5; for each no node fits"))
    assert shown[at + 1 : at + 3] == [
        ("", "4: no node fits: gpu"),
        ("", "1: untolerated taint"),
    ]
    wrong = dict(lines(a_report(waiting=Waiting(1, {"x": 1}, ("key",)))))
    assert wrong["waiting"] == "1; for 1 there is room (key, …): should be placed"
