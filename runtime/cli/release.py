"""`godel release`: rollingsets, and their way from one version to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import click

from runtime.cli.exits import BAD_INPUT, OK, REFUSED, TIME_OUT, Stop
from runtime.cli.options import ListByDefault, Reach, reaches, shows

ROLLINGSET = "rollingset/"
GOALS = ("settled", "canary", "paused", "deleted")
"""Words of a rollingset that `watch --for` waits for."""

_file = click.option(
    *("-f", "--file", "files"),
    metavar="FILE",
    multiple=True,
    help="File with Rollingset documents: YAML or JSON, a directory, or -; may be repeated.",
)


@click.group(cls=ListByDefault)
def release() -> None:
    """Create rollingsets and release new versions; without a sub-command, list them."""


@release.command("list")
@reaches("sharding")
@shows()
def list_rollingsets(reach: Reach, output: str) -> None:
    """Show all rollingsets."""
    from godel.v1 import release_pb2
    from runtime.cli.connect import service
    from runtime.cli.rollingsets import rollingset_table
    from runtime.cli.show import emit, plain

    with service(reach, "sharding") as stub:
        reply = stub.ListRollingsets(release_pb2.ListRollingsetsRequest(), timeout=reach.timeout)
    views = list(reply.rollingsets)

    def people() -> str:
        if output == "name":
            return "\n".join(f"{ROLLINGSET}{view.spec.name}" for view in views)
        return rollingset_table(views)

    emit(output, {"rollingsets": [plain(view) for view in views]}, people)


@release.command("get")
@click.argument("name")
@reaches("sharding")
@shows("table", "name", "json", "yaml")
def get_rollingset(name: str, reach: Reach, output: str) -> None:
    """Show one rollingset with its rows."""
    from godel.v1 import release_pb2

    request = release_pb2.GetRollingsetRequest(name=_bare(name))
    _show(output, _call(reach, "GetRollingset", request))


@release.command("create")
@_file
@reaches("sharding")
@shows("table", "name", "json", "yaml")
def create(files: tuple[str, ...], reach: Reach, output: str) -> None:
    """Create rollingsets. The same spec again is no error."""
    from godel.v1 import release_pb2

    requests = [release_pb2.CreateRequest(spec=spec) for spec in _specs(files)]
    _show(output, *[_call(reach, "Create", request) for request in requests])


@release.command("update")
@click.argument("name", required=False)
@_file
@click.option(
    *("--demand", "demands"),
    metavar="[COLUMN:]RESOURCE=QUANTITY",
    multiple=True,
    help="New version: another demand of a column; may be repeated. 0 takes it out.",
)
@click.option(
    *("--label", "labels"),
    metavar="[COLUMN:]KEY=VALUE",
    multiple=True,
    help="New version: a label that a column's nodes must have; KEY= takes it out.",
)
@click.option("--rows", type=click.IntRange(min=0), help="Number of rows.")
@click.option("--max-unavailable", help="Rows that may be unavailable: a count or a percentage.")
@click.option("--keep", help="Rows that stay off the new version: a count or a percentage.")
@reaches("sharding")
@shows("table", "name", "json", "yaml")
def update(
    name: str | None,
    files: tuple[str, ...],
    demands: tuple[str, ...],
    labels: tuple[str, ...],
    rows: int | None,
    max_unavailable: str | None,
    keep: str | None,
    reach: Reach,
    output: str,
) -> None:
    """Replace a rollingset's spec from a file, or change some of it. Changed columns are a new
    version, which is released row by row.

    COLUMN may be left out where there is only one.
    """
    from godel.v1 import release_pb2

    edits = (*demands, *labels, rows, max_unavailable, keep)
    is_edited = any(each is not None for each in edits)
    if bool(files) == is_edited or (is_edited and not name):
        raise Stop(BAD_INPUT, "give -f FILE, or NAME with what to change")
    if files:
        specs = _specs(files)
        if name and [spec.name for spec in specs] != [_bare(name)]:
            raise Stop(BAD_INPUT, f"the files do not hold just the rollingset {_bare(name)}")
        requests = [release_pb2.UpdateRequest(spec=spec) for spec in specs]
        _show(output, *[_call(reach, "Update", request) for request in requests])
        return

    def edit(spec: Any) -> None:
        for demand in demands:
            _edit_demand(spec, demand)
        for label in labels:
            _edit_label(spec, label)
        if rows is not None:
            spec.rows = rows
        spec.max_unavailable = max_unavailable or spec.max_unavailable
        spec.keep = keep or spec.keep

    _show(output, _edited(reach, str(name), edit))


@release.command("pause")
@click.argument("name")
@reaches("sharding")
@shows("table", "name", "json", "yaml")
def pause(name: str, reach: Reach, output: str) -> None:
    """Let a release stand still where it is."""
    _show(output, _edited(reach, name, lambda spec: setattr(spec, "is_paused", True)))


@release.command("resume")
@click.argument("name")
@reaches("sharding")
@shows("table", "name", "json", "yaml")
def resume(name: str, reach: Reach, output: str) -> None:
    """Let a paused release go on."""
    _show(output, _edited(reach, name, lambda spec: setattr(spec, "is_paused", False)))


@release.command("delete")
@click.argument("name")
@reaches("sharding")
@shows("table", "name", "json", "yaml")
def delete(name: str, reach: Reach, output: str) -> None:
    """End all rows of a rollingset, then forget it; `watch NAME --for deleted` waits for that."""
    from godel.v1 import release_pb2

    _show(output, _call(reach, "Delete", release_pb2.DeleteRequest(name=_bare(name))))


@release.command("watch")
@click.argument("name")
@click.option("--for", "goal", type=click.Choice(GOALS), help="Wait for this, then end.")
@reaches("sharding", timeout=None)
@shows("table", "json")
def watch(name: str, goal: str | None, reach: Reach, output: str) -> int:
    """Follow a release until the rollingset is deleted, or until it has come so far.

    With --for, ends with 1 when it is deleted instead, and with 4 at the time-out.
    """
    import grpc

    from godel.v1 import release_pb2
    from runtime.cli.connect import service
    from runtime.cli.rollingsets import rollingset_line
    from runtime.cli.show import line, plain
    from runtime.cli.stream import Stream

    deadline = None if reach.timeout is None else time.monotonic() + reach.timeout
    request = release_pb2.WatchRollingsetRequest(name=_bare(name))
    with service(reach, "sharding") as stub:
        stream = Stream(lambda: stub.WatchRollingset(request))
        word = ""
        while word != "deleted":
            try:
                view = stream.next(deadline)
            except grpc.RpcError as error:
                if goal != "deleted" or error.code() != grpc.StatusCode.NOT_FOUND:
                    raise
                return OK
            if view is None:
                return OK if goal is None else _late(name, goal, word)
            word = view.word.lower()
            click.echo(line(plain(view)) if output == "json" else rollingset_line(view))
            if word == goal:
                return OK
    if goal is None:
        return OK
    raise Stop(REFUSED, f"{_bare(name)} is deleted")


def _late(name: str, goal: str, word: str) -> int:
    raise Stop(TIME_OUT, f"{_bare(name)} is not {goal} yet, but {word or 'not shown'}")


def _bare(name: str) -> str:
    return name.removeprefix(ROLLINGSET)


def _call(reach: Reach, method: str, request: Any) -> Any:
    from runtime.cli.connect import service

    with service(reach, "sharding") as stub:
        return getattr(stub, method)(request, timeout=reach.timeout)


def _show(output: str, *views: Any) -> None:
    """One view stands alone in JSON, several are a list."""
    from runtime.cli.rollingsets import rollingset_text
    from runtime.cli.show import emit, plain

    content = [plain(view) for view in views]

    def people() -> str:
        if output == "name":
            return "\n".join(f"{ROLLINGSET}{view.spec.name}" for view in views)
        return "\n\n".join(rollingset_text(view) for view in views)

    emit(output, content if len(views) > 1 else content[0], people)


def _specs(files: Iterable[str]) -> list[Any]:
    """The rollingsets of the files, and nothing else."""
    from runtime.cli.submit import read
    from runtime.cli.wire import rollingset_message

    if not files:
        raise Stop(BAD_INPUT, "give -f FILE")
    asked = read(files, "default")
    for warning in asked.warnings:
        click.echo(f"godel: warning: {warning}", err=True)
    if asked.units:
        key = asked.units[0].key
        raise Stop(BAD_INPUT, f"{asked.places[key]}: {key} is no rollingset: use `godel submit`")
    if not asked.rollingsets:
        raise Stop(BAD_INPUT, "no rollingset in the files")
    return [rollingset_message(each) for each in asked.rollingsets]


def _edited(reach: Reach, name: str, edit: Callable[[Any], None]) -> Any:
    """Change the spec that is there now; refused when it changes meanwhile."""
    from godel.v1 import release_pb2

    view = _call(reach, "GetRollingset", release_pb2.GetRollingsetRequest(name=_bare(name)))
    edit(view.spec)
    request = release_pb2.UpdateRequest(spec=view.spec, generation=view.generation)
    return _call(reach, "Update", request)


def _edit_demand(spec: Any, text: str) -> None:
    from runtime.quantities import BadQuantity, parse, units

    column, resource, quantity = _split(spec, text, "--demand")
    try:
        amount = units(resource, parse(quantity))
    except BadQuantity as error:
        raise Stop(BAD_INPUT, f"--demand {text}: {error}") from None
    if not 0 <= amount < 1 << 63:
        raise Stop(BAD_INPUT, f"--demand {text}: out of range")
    column.spec.demand[resource] = amount


def _edit_label(spec: Any, text: str) -> None:
    column, key, value = _split(spec, text, "--label")
    if value:
        column.spec.selector[key] = value
    else:
        column.spec.selector.pop(key, None)


def _split(spec: Any, text: str, option: str) -> tuple[Any, str, str]:
    """Column, name and value of an edit."""
    head, equals, value = text.partition("=")
    name, colon, key = head.rpartition(":")
    if not equals or not key:
        raise Stop(BAD_INPUT, f"{option} {text}: needs [COLUMN:]NAME=VALUE")
    columns = {column.name: column for column in spec.columns}
    if not colon and len(columns) == 1:
        return spec.columns[0], key, value
    if name not in columns:
        known = ", ".join(columns)
        raise Stop(BAD_INPUT, f"{option} {text}: name one of the columns {known}")
    return columns[name], key, value
