"""`godel submit`: files in, units and rollingsets out, after all of them have been checked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from runtime.cli.exits import BAD_INPUT, UNREACHABLE, Stop
from runtime.cli.options import Reach, reaches, shows

if TYPE_CHECKING:
    from cell.release import RollingsetSpec
    from cell.unit import UnitSpec
    from runtime.cli.refusals import Refused
    from runtime.manifests import Submission

BATCH_UNITS_MAX = 1000
RETRY_SECONDS_MIN = 0.05


@click.command()
@click.option(
    *("-f", "--file", "files"),
    metavar="FILE",
    multiple=True,
    required=True,
    help="YAML or JSON file, a directory of them, or - for standard input; may be repeated.",
)
@click.option(
    *("-n", "--namespace"),
    default="default",
    show_default=True,
    help="Namespace of Kubernetes manifests that name none.",
)
@click.option("--dry-run", is_flag=True, help="Check the files and show what would be submitted.")
@reaches("dispatcher", "sharding")
@shows("table", "name", "json", "yaml")
def submit(files: tuple[str, ...], namespace: str, dry_run: bool, reach: Reach, output: str) -> int:
    """Submit units, rollingsets and Kubernetes workloads.

    Nothing is submitted when any file has a fault. Submitting the same files again is harmless.
    """
    from runtime.cli.refusals import code_of, tell

    asked = read(files, namespace)
    for warning in asked.warnings:
        click.echo(f"godel: warning: {warning}", err=True)
    if dry_run:
        _show_dry(asked, output)
        return 0
    refused = _submit_units(reach, asked.units) if asked.units else []
    tell(refused)
    if asked.rollingsets:
        refused_sets = _create(reach, asked.rollingsets)
        tell(refused_sets)
        refused += refused_sets
    _show(asked, refused, output)
    return code_of(refused)


def read(files: Iterable[str], namespace: str) -> Submission:
    """What the files ask for; a fault ends the command."""
    from runtime.documents import BadDocument, read_all
    from runtime.fields import BadManifest
    from runtime.manifests import submission

    try:
        return submission(read_all(files), namespace)
    except (BadDocument, BadManifest) as error:
        raise Stop(BAD_INPUT, str(error)) from None


def _submit_units(reach: Reach, units: list[UnitSpec]) -> list[Refused]:
    """Submit all; those refused for now are tried again within the time-out."""
    from runtime.cli.connect import service

    assert reach.timeout is not None
    deadline = time.monotonic() + reach.timeout
    final: list[Refused] = []
    pending = units
    with service(reach, "dispatcher") as stub:
        while pending:
            later = []
            wait = RETRY_SECONDS_MIN
            for unit, refused in _round(stub, pending, deadline - time.monotonic()):
                after = refused.retry_after_ms / 1000
                if after and time.monotonic() + after < deadline:
                    later.append(unit)
                    wait = max(wait, after)
                else:
                    final.append(refused)
            pending = later
            if pending:
                time.sleep(wait)
    return final


def _round(
    stub: Any, units: Sequence[UnitSpec], seconds: float
) -> Iterator[tuple[UnitSpec, Refused]]:
    """One stream of batches; the refused units."""
    import grpc

    from runtime.cli.connect import stop_of
    from runtime.cli.refusals import refused_of
    from runtime.cli.show import batches

    runs = list(batches(units, BATCH_UNITS_MAX))
    acked = 0
    try:
        for number, reply in enumerate(stub.Submit(_requests(runs), timeout=seconds)):
            for wire in reply.refused:
                unit = runs[number][wire.index]
                yield unit, refused_of(unit.key, wire)
            acked += len(runs[number])
    except grpc.RpcError as error:
        stop = stop_of(error, "dispatcher")
        raise Stop(stop.code, f"{stop} ({_so_far(acked, len(units))})") from None
    if acked < len(units):
        raise Stop(UNREACHABLE, f"dispatcher: ended the stream ({_so_far(acked, len(units))})")


def _so_far(acked: int, count: int) -> str:
    return f"{acked:,} of {count:,} units answered; submit the same files again"


def _requests(runs: list[Sequence[UnitSpec]]) -> Iterator[Any]:
    from godel.v1 import placement_pb2
    from runtime.cli.wire import Classes, unit_message

    classes = Classes()
    for number, run in enumerate(runs):
        messages = [unit_message(unit, classes) for unit in run]
        yield placement_pb2.SubmitRequest(batch=number, units=messages, classes=classes.take_new())


def _create(reach: Reach, rollingsets: list[RollingsetSpec]) -> list[Refused]:
    from godel.v1 import release_pb2
    from runtime.cli.connect import service
    from runtime.cli.refusals import refused_call
    from runtime.cli.wire import rollingset_message

    refused = []
    with service(reach, "sharding") as stub:
        for each in rollingsets:
            request = release_pb2.CreateRequest(spec=rollingset_message(each))
            error = attempt(lambda request=request: stub.Create(request, timeout=reach.timeout))
            if error is not None:
                refused.append(refused_call(f"rollingset/{each.name}", error))
    return refused


def attempt(call: Any) -> Any:
    """The error of a call that was refused for what it asks; None when it went well."""
    import grpc

    from runtime.cli.connect import UNREACHABLE_CODES

    try:
        call()
    except grpc.RpcError as error:
        if error.code() in UNREACHABLE_CODES:
            raise
        return error
    return None


def _names(asked: Submission, without: set[str]) -> list[str]:
    names = [f"unit/{unit.key}" for unit in asked.units if unit.key not in without]
    names += [f"rollingset/{each.name}" for each in asked.rollingsets]
    return [name for name in names if name not in without]


def _show(asked: Submission, refused: list[Refused], output: str) -> None:
    from runtime.cli.show import counted, emit

    names = _names(asked, {each.key for each in refused})
    content = {
        "submitted": names,
        "refused": [each._asdict() for each in refused],
        "warnings": asked.warnings,
    }
    sets = sum(name.startswith("rollingset/") for name in names)

    def people() -> str:
        if output == "name":
            return "\n".join(names)
        kinds = [counted(sets, "rollingset")] if asked.rollingsets else []
        if asked.units or not kinds:
            kinds.insert(0, counted(len(names) - sets, "unit"))
        return f"submitted {', '.join(kinds)}" + (f"; {len(refused):,} refused" if refused else "")

    emit(output, content, people)


def _show_dry(asked: Submission, output: str) -> None:
    """What would be submitted, without asking a service."""
    from runtime.cli.show import emit, plain, table
    from runtime.cli.wire import Classes, rollingset_message, unit_message

    classes = Classes()
    units = [plain(unit_message(unit, classes)) for unit in asked.units]
    content = {
        "classes": [plain(entry) for entry in classes.take_new()],
        "units": units,
        "rollingsets": [plain(rollingset_message(each)) for each in asked.rollingsets],
        "warnings": asked.warnings,
    }

    def people() -> str:
        if output == "name":
            return "\n".join(_names(asked, set()))
        rows = [
            (f"unit/{unit.key}", sum(group.count for group in unit.groups), unit.priority)
            for unit in asked.units
        ]
        rows += [
            (
                f"rollingset/{each.name}",
                each.rows * sum(c.count for c in each.columns),
                each.priority,
            )
            for each in asked.rollingsets
        ]
        return table(("NAME", "REPLICAS", "PRIORITY"), rows)

    emit(output, content, people)
