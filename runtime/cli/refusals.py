"""Items of a batch that a service refused: shown by name, and told to scripts by exit code."""

from __future__ import annotations

from typing import Any, NamedTuple

import click
import grpc

from runtime.cli.exits import NOT_FOUND, OK, REFUSED
from runtime.cli.show import table

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class Refused(NamedTuple):
    """One refused item."""

    key: str
    code: str
    field: str
    reason: str
    retry_after_ms: int = 0


def refused_of(key: str, wire: Any) -> Refused:
    """The refusal of the item `key`."""
    code = _NAMES.get(wire.code, str(wire.code))
    return Refused(key, code, wire.field, wire.reason, wire.retry_after_ms)


def refused_call(key: str, error: Any) -> Refused:
    """The refusal of a call that was about one item."""
    return Refused(key, error.code().name, "", " ".join((error.details() or "").split()))


def tell(refused: list[Refused]) -> None:
    """List the refused items on standard error."""
    if refused:
        rows = [each[:4] for each in refused]
        click.echo(table(("REFUSED", "CODE", "FIELD", "REASON"), rows), err=True)


def code_of(refused: list[Refused]) -> int:
    """Exit code: not found when that is all that went wrong."""
    if not refused:
        return OK
    return NOT_FOUND if all(each.code == "NOT_FOUND" for each in refused) else REFUSED
