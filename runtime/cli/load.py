"""`godel load`: a seeded load, or a trace, against any running home; reports as table or JSON."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.exits import BAD_INPUT, REFUSED, UNREACHABLE, Stop
from runtime.cli.options import Reach, reaches, shows

if TYPE_CHECKING:
    from godel.v1 import cluster_pb2
    from loadtest.report import Report
    from loadtest.run import LoadRun
    from loadtest.workload import Workload

CONNECT_SECONDS_MAX = 10.0
SHOW_SECONDS = 1.0


@click.command(short_help="Run a load or a trace against a running home.")
@reaches("dispatcher", "binder", timeout=CONNECT_SECONDS_MAX)
@click.option(
    "--trace",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="OpenB trace: a directory, or (twice) a file of nodes and a file of tasks.",
)
@click.option("--speed", type=float, help="Trace: arrivals at its own times, so many times faster.")
@click.option("--at-once", is_flag=True, help="Trace: all tasks at once (the default).")
@click.option("--ending", is_flag=True, help="Trace with --speed: tasks end as they did there.")
@click.option("--no-nodes", is_flag=True, help="Trace: do not register its nodes.")
@click.option("--rate", type=float, help="Units per second.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="With --rate.")
@click.option(
    "--mix", default="mixed", show_default=True, help="mixed, singles, gangs, or a YAML file."
)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant", "at-once"]),
    default="poisson",
    show_default=True,
    help="With --rate; at-once: rate times seconds units at once.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--rows", is_flag=True, help="Submit row messages instead of packed columns.")
@click.option("--prefix", help="Of all keys.  [default: load-TIME/]")
@click.option("--cancel", is_flag=True, help="Cancel all units at the end.")
@click.option(
    "--settle",
    "settle_seconds",
    type=float,
    default=60.0,
    show_default=True,
    help="Seconds without any change after which the run ends incomplete.",
)
@shows("table", "json")
def load(
    reach: Reach,
    trace: tuple[Path, ...],
    speed: float | None,
    at_once: bool,
    ending: bool,
    no_nodes: bool,
    rate: float | None,
    seconds: float,
    mix: str,
    arrivals: str,
    seed: int,
    rows: bool,
    prefix: str | None,
    cancel: bool,
    settle_seconds: float,
    output: str,
) -> None:
    """Submit units by schedule, never waiting for placements, and report what became of them.

    A run is done when each unit is placed or refused, or waits with a reason while no node has room
    for it. Exit code 1: something waits that should be placed, or was not answered.
    """
    if bool(trace) == (rate is not None):
        raise click.UsageError("give either --trace or --rate")
    if speed is not None and at_once:
        raise click.UsageError("--speed and --at-once exclude each other")
    if ending and speed is None:
        raise click.UsageError("--ending needs --speed")
    prefix = f"load-{int(time.time())}/" if prefix is None else prefix
    nodes: list[cluster_pb2.Node] = []
    try:
        if trace:
            nodes, work = read_trace(trace, speed=speed, is_ending=ending, prefix=prefix)
        else:
            assert rate is not None
            work = drawn(mix, arrivals, rate, seconds, seed, prefix)
    except ValueError as error:
        raise Stop(BAD_INPUT, str(error)) from None
    name = f"trace {', '.join(map(str, trace))}" if trace else f"load {mix} at {rate:g} units/s"
    plan = Plan(name, prefix, work, nodes, not no_nodes, not rows, settle_seconds, cancel)
    report = _reported(reach, plan)
    if output == "json":
        click.echo(report.as_json())
    else:
        from loadtest.report import show

        show(report)
    if not report.is_complete:
        raise Stop(REFUSED)


@dataclass(frozen=True)
class Plan:
    """What one call of `godel load` does."""

    name: str
    prefix: str
    work: Workload
    nodes: list[cluster_pb2.Node]
    is_registering: bool
    is_packed: bool
    settle_seconds: float
    is_cancelling: bool


def read_trace(
    places: tuple[Path, ...], *, speed: float | None, is_ending: bool, prefix: str
) -> tuple[list[cluster_pb2.Node], Workload]:
    """Nodes and tasks of a trace. Raises BadTrace."""
    from loadtest import openb

    nodes_path, tasks_path = openb.find_files(places)
    nodes = [openb.node_message(node) for node in openb.read_nodes(nodes_path)]
    tasks = openb.read_tasks(tasks_path)
    return nodes, openb.workload(tasks, speed=speed, is_ending=is_ending, prefix=prefix)


def drawn(mix: str, arrivals: str, rate: float, seconds: float, seed: int, prefix: str) -> Workload:
    """A seeded workload. Raises BadMix, ValueError."""
    import numpy as np

    from loadtest import arrivals as processes
    from loadtest.mix import draw, named_or_read

    rng = np.random.default_rng(seed)
    match arrivals:
        case "poisson":
            at_s = processes.poisson(rate, seconds, rng)
        case "constant":
            at_s = processes.constant(rate, seconds)
        case _:
            at_s = processes.at_once(len(processes.constant(rate, seconds)))
    return draw(named_or_read(mix), at_s, rng, prefix)


def _reported(reach: Reach, plan: Plan) -> Report:
    import grpc

    from runtime.cli.connect import stop_of

    try:
        return asyncio.run(_run(reach, plan))
    except grpc.aio.AioRpcError as error:
        raise stop_of(error, reach.address("dispatcher")) from None


async def _run(reach: Reach, plan: Plan) -> Report:
    from loadtest.cluster import ClusterClient, NodeRefused
    from loadtest.run import Limits, LoadRun, Options
    from runtime.cli.connect import identity_of
    from runtime.placement_client import PlacementClient

    dispatcher, binder_address = reach.address("dispatcher"), reach.address("binder")
    async with (
        PlacementClient(dispatcher, identity_of(reach, "dispatcher")) as client,
        ClusterClient(binder_address, identity_of(reach, "binder")) as binder,
    ):
        try:
            await client.wait_ready(reach.timeout or CONNECT_SECONDS_MAX)
            await binder.wait_ready(reach.timeout or CONNECT_SECONDS_MAX)
        except TimeoutError:
            raise Stop(UNREACHABLE, f"no cell at {dispatcher} and {binder_address}") from None
        if plan.nodes and plan.is_registering:
            try:
                await binder.register(plan.nodes)
            except NodeRefused as error:
                raise Stop(REFUSED, str(error)) from None
        options = Options(
            name=plan.name,
            prefix=plan.prefix,
            is_packed=plan.is_packed,
            limits=Limits(settle_seconds_max=plan.settle_seconds),
            labels={node.name: dict(node.labels) for node in plan.nodes},
        )
        run = LoadRun(client, binder, plan.work, options)
        report = await shown(plan.name, run)
        if plan.is_cancelling:
            await run.cancel_units()
        return report


async def shown(title: str, run: LoadRun) -> Report:
    """Run it while its progress is shown on stderr."""
    from loadtest.live import display, rows_of

    work = asyncio.ensure_future(run.run())
    try:
        with display(title) as show:
            while not (await asyncio.wait((work,), timeout=SHOW_SECONDS))[0]:
                show(rows_of(run))
        return work.result()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
