"""`godel up`: an embedded home on this machine, each service its own process, in the foreground."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.exits import REFUSED, Stop
from runtime.cli.options import STATE_DEFAULT

if TYPE_CHECKING:
    from runtime.cli.supervisor import Supervisor

SAY_WAITING_SECONDS = 3.0


@click.command(short_help="Run all services on this machine, in the foreground.")
@click.option("--state", metavar="DIR", help="State directory: sockets, stores, logs.")
@click.option(
    "--schedulers", default=2, show_default=True, type=click.IntRange(1, 64), help="Schedulers."
)
@click.option(
    "--nodes",
    metavar="N|FILE",
    default="",
    help="Simulate nodes: a number of like ones, a YAML file or an OpenB CSV file.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the simulated nodes.")
@click.option(
    "--config",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory with binder.yaml, dispatcher.yaml, scheduler.yaml, sharding.yaml; any of them.",
)
@click.pass_context
def up(
    context: click.Context,
    state: str | None,
    schedulers: int,
    nodes: str,
    seed: int,
    config: Path | None,
) -> None:
    """Start dispatcher, schedulers, binder, rolling controller and, with --nodes, a node simulator.

    Each is a process of its own; one that dies is started again. Ctrl-C or SIGTERM ends all.
    """
    from runtime.cli.supervisor import StartFailed, Supervisor, commands
    from runtime.log import Log

    directory = Path(state or _state_of(context)).absolute()
    nodes = _checked_nodes(nodes)
    services = commands(directory, schedulers=schedulers, nodes=nodes, seed=seed, configs=config)
    try:
        supervisor = Supervisor(directory, services, Log("up"))
        asyncio.run(_run(supervisor))
    except StartFailed as error:
        raise Stop(REFUSED, str(error)) from None


def _state_of(context: click.Context) -> str:
    """The state directory given to `godel` itself, if any."""
    found = context.find_root().params.get("state")
    return str(found or STATE_DEFAULT)


def _checked_nodes(nodes: str) -> str:
    """Read the nodes once here, so that a bad file is a clear error and not a restart loop."""
    if not nodes or nodes == "0":
        return ""
    from loadtest.node_files import BadNodes, nodes_of

    try:
        nodes_of(nodes)
    except BadNodes as error:
        raise click.BadParameter(str(error), param_hint="--nodes") from None
    return nodes if nodes.isdecimal() else str(Path(nodes).absolute())


async def _run(supervisor: Supervisor) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    until_signal = asyncio.ensure_future(ended.wait())
    work = asyncio.ensure_future(_start_and_keep(supervisor))
    try:
        await asyncio.wait((work, until_signal), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        work.cancel()
        until_signal.cancel()
        await asyncio.gather(work, return_exceptions=True)
        if ended.is_set():
            click.echo("stopping")
        await supervisor.stop()


async def _start_and_keep(supervisor: Supervisor) -> None:
    begin = said = time.monotonic()

    def on_waiting(names: list[str]) -> None:
        nonlocal said
        if time.monotonic() - said > SAY_WAITING_SECONDS:
            said = time.monotonic()
            click.echo(
                f"waiting for {', '.join(names)} (kernels compile once per version)", err=True
            )

    await supervisor.start(on_waiting)
    click.echo(where(supervisor, time.monotonic() - begin))
    sys.stdout.flush()
    await supervisor.run()


def where(supervisor: Supervisor, seconds: float) -> str:
    """Where everything is, for people."""
    lines = [f"ready after {seconds:.1f} s, state in {supervisor.state}"]
    for child in supervisor.children:
        name = child.command.name
        lines.append(f"  {name:<13} pid {child.pid:<8} {child.command.address}")
    lines.append(f"  {'logs':<13} {supervisor.logs}")
    lines.append(f"try: godel --state {supervisor.state} nodes   (Ctrl-C ends all)")
    return "\n".join(lines)
