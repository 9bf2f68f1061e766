"""Options that many commands share: where the services are, how long to wait, how to show.

Imports click only, so that a wrong option costs no import of grpc.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import click

STATE_DEFAULT = "godel-state"
TIMEOUT_SECONDS = 60.0
Command = Callable[..., Any]


class Reach(NamedTuple):
    """Where the services of a cell listen for clients, and how long a call may take.

    `tls` is a directory of `godel certs`, or a mounted Secret: what we show to a service.
    """

    state: str
    addresses: dict[str, str | None]
    timeout: float | None
    tls: str | None = None

    def address(self, service: str) -> str:
        """The address of a service: the one given, or its socket in the state directory."""
        given = self.addresses.get(service)
        if given:
            return f"unix:{given}" if given.startswith("/") else given
        from runtime.config import client_address

        return client_address(self.state, service)


class ListByDefault(click.Group):
    """A group that lists when no sub-command is named."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Options alone are those of `list`."""
        is_help = arguments[:1] in (["-h"], ["--help"])
        if not is_help and (not arguments or arguments[0].startswith("-")):
            arguments = ["list", *arguments]
        return super().parse_args(context, arguments)


def reaches(
    *services: str, timeout: float | None = TIMEOUT_SECONDS
) -> Callable[[Command], Command]:
    """Options that say where `services` are; the command receives them as `reach`."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(*, state: str | None, timeout: float | None, tls: str | None, **given: Any) -> Any:
            addresses = {service: given.pop(service) for service in services}
            state = state or click.get_current_context().find_root().params.get("state")
            reach = Reach(state or STATE_DEFAULT, addresses, timeout, tls)
            return command(reach=reach, **given)

        decorated = click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=timeout,
            show_default=timeout is not None,
            help="Seconds to wait; exit code 4 when they are over.",
        )(run)
        for service in reversed(services):
            decorated = click.option(
                f"--{service}",
                metavar="ADDRESS",
                envvar=f"GODEL_{service.upper()}",
                help=f"Address of the {service}, unix:PATH or HOST:PORT.",
            )(decorated)
        decorated = click.option(
            "--tls",
            metavar="DIR",
            envvar="GODEL_TLS",
            help="Directory with tls.crt, tls.key and ca.crt, for an address on the network.",
        )(decorated)
        return click.option(
            "--state",
            metavar="DIR",
            help="State directory of the cell, where its sockets are.",
        )(decorated)

    return decorate


def shows(*forms: str) -> Callable[[Command], Command]:
    """The option -o; the command receives it as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(forms or ("table", "wide", "name", "json", "yaml")),
        default="table",
        show_default=True,
        help="How to show the answer.",
    )
