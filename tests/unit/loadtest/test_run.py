"""Runs against a home of our own: what is told at the end, whatever happens on the way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from godel.v1 import cluster_pb2, types_pb2
from loadtest.cluster import ClusterClient, NodeRefused
from loadtest.lives import READY, STARTING, Delays, Lives
from loadtest.nodes import Simulator
from loadtest.report import Report
from loadtest.run import Limits, LoadRun, Options
from loadtest.workload import Workload
from runtime.log import Log
from runtime.placement_client import PlacementClient
from tests.unit.loadtest.builders import a_workload
from tests.unit.loadtest.fake_home import FakeHome, a_home
from tests.waiting import until

LIMITS = Limits(quiet_seconds=0.05, settle_seconds_max=0.3, sample_seconds=0.05)


def nodes(*cpus: int) -> list[cluster_pb2.Node]:
    return [cluster_pb2.Node(name=f"n{i}", allocatable={"cpu": cpu}) for i, cpu in enumerate(cpus)]


@asynccontextmanager
async def a_run(home: FakeHome, work: Workload, **options: Any) -> AsyncIterator[LoadRun]:
    chosen = {"limits": LIMITS, **options}
    async with PlacementClient(home.client) as client, ClusterClient(home.cluster) as cluster:
        await cluster.register(nodes(4000, 4000))
        yield LoadRun(client, cluster, work, Options(**chosen))


async def ran(folder: Path, work: Workload, **options: Any) -> tuple[FakeHome, Report]:
    async with a_home(folder) as home, a_run(home, work, **options) as run:
        return home, await run.run()


@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "rows"])
async def test_all_is_placed_and_measured(tmp_path: Path, is_packed: bool) -> None:
    work = a_workload(["a", "b", "c"], count=2)

    home, report = await ran(tmp_path, work, is_packed=is_packed)

    assert report.is_complete
    assert (report.placed, report.replicas_placed, report.acked) == (3, 6, 3)
    assert report.latency is not None
    assert 0 < report.latency.p50_ms <= report.latency.max_ms
    assert report.usage[-1].ratios["cpu"] == 0.75
    assert json.loads(report.as_json())["placed"] == 3
    assert (home.row_batches > 0) is not is_packed


async def test_what_no_node_fits_waits_rightly(tmp_path: Path) -> None:
    _, report = await ran(tmp_path, a_workload([f"u{i}" for i in range(10)]))

    assert report.placed == 8
    assert report.waiting.units == 2
    assert report.waiting.why == {"insufficient cpu": 2}
    assert report.is_complete


async def test_what_waits_although_it_fits_is_named(tmp_path: Path) -> None:
    async with a_home(tmp_path) as home, a_run(home, a_workload(["a"])) as run:
        home.is_blind = True
        report = await run.run()

    assert report.waiting.fitting == ("a",)
    assert not report.is_complete


async def test_a_unit_refused_for_now_is_submitted_again(tmp_path: Path) -> None:
    async with a_home(tmp_path) as home, a_run(home, a_workload(["a", "b"])) as run:
        home.refusals_left = 3
        report = await run.run()

    assert (report.placed, report.refused, report.unacked) == (2, 0, 0)
    assert report.retried == 3


async def test_a_watch_that_is_cut_off_begins_anew_with_a_snapshot(tmp_path: Path) -> None:
    work = a_workload(["a", "b"])
    work = replace(work, at_s=np.array([0.0, 0.3]))
    async with a_home(tmp_path) as home, a_run(home, work) as run:
        running = asyncio.ensure_future(run.run())
        await until("the first is placed", lambda: run.tally.is_placed[0])
        home.cut_watchers()
        report = await running

    assert report.watch_breaks == 1
    assert report.placed == 2
    assert report.is_complete


async def test_batches_without_an_answer_are_bounded(tmp_path: Path) -> None:
    limits = Limits(batch_units_max=1, unacked_batches_max=2, quiet_seconds=0.05)
    work = a_workload([f"u{i}" for i in range(8)])

    _, report = await ran(tmp_path, work, limits=limits)

    assert report.placed == 8


async def test_units_with_a_run_time_are_reported_done(tmp_path: Path) -> None:
    work = a_workload(["a"], count=2)
    ending = Workload(
        work.classes,
        work.keys,
        work.at_s,
        work.klass,
        work.count,
        work.min,
        work.priority,
        np.array([0.01]),
    )
    async with a_home(tmp_path) as home, a_run(home, ending) as run:
        running = asyncio.ensure_future(run.run())
        await home.reported.wait()
        await running

    done = types_pb2.PHASE_DONE
    assert home.reports == [("a", 0, done), ("a", 1, done)]


async def test_a_refused_node_is_named(tmp_path: Path) -> None:
    bad = cluster_pb2.Node(name="bad", allocatable={"cpu": 1, "pods": -1})
    async with a_home(tmp_path) as home, ClusterClient(home.cluster) as cluster:
        with pytest.raises(NodeRefused, match=r"node bad: allocatable.pods.: negative"):
            await cluster.register([*nodes(1), bad])


async def test_the_node_simulator_reports_also_after_a_cut(tmp_path: Path) -> None:
    async with a_home(tmp_path) as home, PlacementClient(home.client) as client:
        home.free = home.whole = {"n0": 4000}
        lives = Lives(["n0"], Delays(start_s=(0.0, 0.0)), seed=0)
        running = asyncio.ensure_future(Simulator(client, lives, Log("nodes"), None).run())
        await until("it watches", lambda: home.watchers)
        home.place("a", 1000, 1)
        while ("a", 0, READY) not in home.reports:
            home.reported.clear()
            await home.reported.wait()
        home.cut_watchers()
        home.place("b", 1000, 1)
        while ("b", 0, READY) not in home.reports:
            home.reported.clear()
            await home.reported.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert home.reports.index(("b", 0, STARTING)) < home.reports.index(("b", 0, READY))
