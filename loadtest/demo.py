"""What `godel demo` submits and how it judges the end: a mixed load beside one release, or a trace.

The load draws from a seed; some of it can never fit, to show how waiting is explained. The
services are running already; everything here goes through the public API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from godel.v1 import cluster_pb2, release_pb2, types_pb2
from loadtest import openb
from loadtest.arrivals import poisson
from loadtest.cluster import ClusterClient
from loadtest.live import rows_of
from loadtest.mix import GIB, MIB, MIXES, Kind, draw
from loadtest.release import Released, Service
from loadtest.report import Report, Rows
from loadtest.run import Limits, LoadRun, Options
from loadtest.workload import Workload
from runtime.config import client_address
from runtime.placement_client import PlacementClient

PREFIX = "demo/"
SERVICE = "demo-web"
UNITS_PER_SECOND = 2000.0
SECONDS = 6.0
SERVICE_ROWS = 12
MAX_UNAVAILABLE = 3
RELEASE_SECONDS_MAX = 45.0
SHOW_SECONDS = 1.0
NEVER_FITS = (
    Kind({"cpu": 4000, "gpu": 8000}, weight=0.1),
    Kind({"cpu": 1000}, weight=0.1, selector={"zone": "nowhere"}),
    Kind({"cpu": 32_000, "memory": 64 * GIB}, weight=0.05, count=1200),
)
"""Devices and a label that no simulated node has; 1,200 replicas that need a whole node each."""


@dataclass(frozen=True)
class Outcome:
    """What the demo ends with."""

    report: Report
    released: Released | None = None

    @property
    def is_complete(self) -> bool:
        """Whether everything that should be placed is, and the release kept its bound."""
        return self.report.is_complete and (self.released is None or self.released.is_complete)

    def more(self) -> Rows:
        """Rows of the table beyond the report's."""
        return [] if self.released is None else self.released.lines()


def mixed_load(seed: int) -> Workload:
    """Singles of several classes, gangs, priorities, and a few units that never fit."""
    rng = np.random.default_rng(seed)
    return draw(
        (*MIXES["mixed"], *NEVER_FITS), poisson(UNITS_PER_SECOND, SECONDS, rng), rng, PREFIX
    )


def versions() -> tuple[release_pb2.Rollingset, release_pb2.Rollingset]:
    """The service as v1 and as v2, which asks for more."""
    made = []
    for cpu in (500, 750):
        web = types_pb2.ClassSpec(demand={"cpu": cpu, "memory": 512 * MIB})
        cache = types_pb2.ClassSpec(demand={"cpu": 250, "memory": 2 * GIB})
        columns = [
            release_pb2.Column(name="web", spec=web, count=3),
            release_pb2.Column(name="cache", spec=cache, count=1),
        ]
        made.append(
            release_pb2.Rollingset(
                name=SERVICE,
                rows=SERVICE_ROWS,
                columns=columns,
                max_unavailable=str(MAX_UNAVAILABLE),
                place=types_pb2.PLACE_KEEP,
                priority=1000,
            )
        )
    return made[0], made[1]


async def run_mixed(state: Path, seed: int, show: Callable[[Rows], None]) -> Outcome:
    """The load, and the release beside it."""
    async with (
        PlacementClient(client_address(state, "dispatcher")) as client,
        ClusterClient(client_address(state, "binder")) as cluster,
    ):
        service = Service(client, client_address(state, "sharding"), *versions())
        run = LoadRun(client, cluster, mixed_load(seed), Options("godel demo", PREFIX))
        try:
            await service.create()
            both = asyncio.ensure_future(_both(run, service))
            await _shown(both, lambda: show(rows_of(run) + service.released.lines()))
            return both.result()
        finally:
            await service.close()


async def _both(run: LoadRun, service: Service) -> Outcome:
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(run.run())
        releasing = group.create_task(service.release(RELEASE_SECONDS_MAX))
    return Outcome(loading.result(), releasing.result())


async def run_trace(
    state: Path, places: Sequence[Path], speed: float | None, show: Callable[[Rows], None]
) -> Outcome:
    """The tasks of a trace; the node simulator has registered its nodes. Raises BadTrace."""
    nodes_path, tasks_path = openb.find_files(places)
    nodes = [openb.node_message(node) for node in openb.read_nodes(nodes_path)]
    work = openb.workload(openb.read_tasks(tasks_path), speed=speed, prefix="trace/")
    options = Options(
        name=f"godel demo, trace {nodes_path.name}, {tasks_path.name}",
        prefix="trace/",
        limits=Limits(sample_seconds=0.5),
        labels=labels_of(nodes),
    )
    async with (
        PlacementClient(client_address(state, "dispatcher")) as client,
        ClusterClient(client_address(state, "binder")) as cluster,
    ):
        run = LoadRun(client, cluster, work, options)
        running = asyncio.ensure_future(run.run())
        await _shown(running, lambda: show(rows_of(run)))
        return Outcome(running.result())


def labels_of(nodes: Sequence[cluster_pb2.Node]) -> dict[str, dict[str, str]]:
    """Labels of nodes by name."""
    return {node.name: dict(node.labels) for node in nodes}


async def _shown(work: asyncio.Future[Any], show: Callable[[], None]) -> None:
    try:
        while not (await asyncio.wait((work,), timeout=SHOW_SECONDS))[0]:
            show()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
