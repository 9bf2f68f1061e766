"""`godel demo`: an embedded home of its own, a mixed load and a release (or a trace), a table."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.exits import REFUSED, Stop

if TYPE_CHECKING:
    from loadtest.demo import Outcome
    from runtime.cli.supervisor import Supervisor

NODES = "1000"
SAY_SECONDS = 1.0


@dataclass(frozen=True)
class Demo:
    """What one call of `godel demo` does."""

    state: Path
    trace: tuple[Path, ...]
    speed: float | None
    seed: int


@click.command(short_help="See it work: services, 1,000 simulated nodes, load, a release.")
@click.option(
    "--trace",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="OpenB trace instead: a directory, or (twice) a file of nodes and a file of tasks.",
)
@click.option("--speed", type=float, help="Trace: at its own times, so many times faster.")
@click.option("--schedulers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--nodes", default=NODES, show_default=True, help="Simulated nodes: N or FILE.")
@click.option("--seed", default=0, show_default=True, help="Seed of load and nodes.")
@click.option("--keep", is_flag=True, help="Keep the state directory, with the logs.")
def demo(
    trace: tuple[Path, ...],
    speed: float | None,
    schedulers: int,
    nodes: str,
    seed: int,
    keep: bool,
) -> None:
    """Start everything in a temporary directory, submit a mixed load beside a release, or a trace.

    Exit code 1 when something that should be placed is not, or the release did not keep its bound.
    """
    from runtime.cli.supervisor import StartFailed, Supervisor, commands, is_cache_cold
    from runtime.log import Log

    begin = time.monotonic()
    if trace:
        nodes = _nodes_of(trace)
    directory = Path(tempfile.mkdtemp(prefix="godel-demo-"))
    plan = Demo(directory, trace, speed, seed)
    click.echo(
        f"starting binder, dispatcher, {schedulers} schedulers, sharding and nodes", err=True
    )
    if is_cache_cold():
        click.echo("the first start compiles the kernels: half a minute or so", err=True)
    is_kept = True
    try:
        services = commands(directory, schedulers=schedulers, nodes=nodes, seed=seed)
        outcome = asyncio.run(_run(Supervisor(directory, services, Log("up")), plan))
        is_kept = keep or not outcome.is_complete
    except (StartFailed, ValueError) as error:
        raise Stop(REFUSED, str(error)) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        is_kept = keep
        raise click.Abort from None
    finally:
        if is_kept:
            click.echo(f"state and logs are in {directory}", err=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    _show(outcome, time.monotonic() - begin)
    if not outcome.is_complete:
        raise Stop(REFUSED)


def _nodes_of(trace: tuple[Path, ...]) -> str:
    from loadtest import openb

    try:
        nodes, tasks = openb.find_files(trace)
        openb.read_nodes(nodes)
        openb.read_tasks(tasks)
    except openb.BadTrace as error:
        raise click.BadParameter(str(error), param_hint="--trace") from None
    return str(nodes.absolute())


async def _run(supervisor: Supervisor, plan: Demo) -> Outcome:
    """Start, play, stop; a signal ends it early, in order."""
    work = asyncio.current_task()
    assert work is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        begin = time.monotonic()
        await supervisor.start(_waiting_teller())
        click.echo(f"all healthy after {time.monotonic() - begin:.1f} s", err=True)
        keeping = asyncio.ensure_future(supervisor.run())
        try:
            return await _play(plan)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await supervisor.stop()


async def _play(plan: Demo) -> Outcome:
    from loadtest.demo import run_mixed, run_trace
    from loadtest.live import display

    with display("demo") as show:
        if plan.trace:
            return await run_trace(plan.state, plan.trace, plan.speed, show)
        return await run_mixed(plan.state, plan.seed, show)


def _waiting_teller() -> Callable[[list[str]], None]:
    """Says now and then who is not healthy yet."""
    begin = said = time.monotonic()

    def on_waiting(names: list[str]) -> None:
        nonlocal said
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            click.echo(f"{said - begin:4.0f} s: waiting for {', '.join(names)}", err=True)

    return on_waiting


def _show(outcome: Outcome, seconds: float) -> None:
    from loadtest.report import show

    verdict = "all that fits is placed" if outcome.is_complete else "NOT complete, see above"
    more = [*outcome.more(), ("demo", f"{verdict}; {seconds:.0f} s in all")]
    with contextlib.suppress(BrokenPipeError):
        show(outcome.report, more)
