"""The command `godel`: a table of sub-commands, each imported only when it is called.

`--help` must stay under 0.2 s, so nothing here may import grpc, numba, numpy, msgspec or yaml. A
sub-command is a click command named by module and attribute; its one-line help stands in the table.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from runtime.cli.exits import BAD_INPUT, INTERRUPTED, OK, Stop

COMMANDS: dict[str, tuple[str, str, str]] = {
    "up": ("runtime.cli.up", "up", "Run all services on this machine."),
    "demo": ("runtime.cli.demo", "demo", "Run everything on simulated nodes and show it live."),
    "load": ("runtime.cli.load", "load", "Load a running cell and report rates and latencies."),
    "submit": ("runtime.cli.submit", "submit", "Submit units, rollingsets, Kubernetes manifests."),
    "what-if": ("runtime.cli.what_if", "what_if", "Say where what waits in files would go."),
    "get": ("runtime.cli.get", "get", "Show units and rollingsets, and why they wait."),
    "watch": ("runtime.cli.watch", "watch", "Follow units, or wait until they are bound or done."),
    "cancel": ("runtime.cli.cancel", "cancel", "End units and free their room."),
    "nodes": ("runtime.cli.nodes", "nodes", "List, register, cordon and remove nodes."),
    "release": ("runtime.cli.release", "release", "Create rollingsets and release new versions."),
    "health": ("runtime.cli.health", "health", "Ask a service whether it serves."),
    "certs": ("runtime.cli.certs", "certs", "Make certificates for mutual TLS."),
    "dispatcher": ("runtime.cli.services", "dispatcher", "Run a dispatcher alone."),
    "scheduler": ("runtime.cli.services", "scheduler", "Run a scheduler alone."),
    "binder": ("runtime.cli.services", "binder", "Run a binder alone."),
    "sharding": ("runtime.cli.services", "sharding", "Run a rolling controller alone."),
}
"""Module, attribute and help of every sub-command, in the order in which they are shown."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of a name, imported now."""
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, _, help_) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="godel-scheduler", prog_name="godel")
@click.option(
    "--state",
    metavar="DIR",
    envvar="GODEL_STATE",
    default="godel-state",
    show_default=True,
    help="State directory of the cell, where its sockets are.",
)
def godel(state: str) -> None:
    """A cluster scheduler: dispatcher, parallel schedulers, binder, rolling controller.

    Commands find a cell by its state directory: --state, here or behind the command, or the
    environment variable GODEL_STATE. Exit codes: 0 well, 1 some items refused or condition not
    met, 2 bad input, 3 unreachable, 4 time-out, 5 not found.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. Errors are one line on standard error."""
    try:
        code = godel.main(arguments, prog_name="godel", standalone_mode=False)
    except Stop as stop:
        if str(stop):
            click.echo(f"godel: {stop}", err=True)
        return stop.code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        return BAD_INPUT
    except click.ClickException as error:
        click.echo(f"godel: {error.format_message()}", err=True)
        return BAD_INPUT
    except UnicodeEncodeError as error:
        click.echo(f"godel: {error.object!a} is no Unicode text", err=True)
        return BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has gone; nor may the flush at exit find it gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code if isinstance(code, int) else OK


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `godel`."""
    sys.exit(run(arguments))
