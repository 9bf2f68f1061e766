"""`godel get`: units and rollingsets as the services see them, with why they wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import click

from runtime.cli.exits import BAD_INPUT, Stop
from runtime.cli.options import Reach, reaches, shows

WORDS = ("waiting", "placing", "bound", "running", "done", "failed", "cancelled")
ROLLINGSET = "rollingset/"
UNIT = "unit/"


@click.command()
@click.argument("names", metavar="[KEY | unit/KEY | rollingset/NAME]...", nargs=-1)
@click.option("--prefix", default="", help="Only units whose key begins with this.")
@click.option("--word", type=click.Choice(WORDS, case_sensitive=False), help="Only these units.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many units.")
@click.option("--summary", is_flag=True, help="Only the counts, and what waiting units wait for.")
@reaches("dispatcher", "sharding")
@shows()
def get(
    names: tuple[str, ...],
    prefix: str,
    word: str | None,
    limit: int,
    summary: bool,
    reach: Reach,
    output: str,
) -> None:
    """Show units by name, or all of them; with one name, its replicas too.

    A pod is a unit whose key is NAMESPACE/NAME/UID; NAMESPACE/NAME finds it as well.
    """
    if names and (prefix or word or limit or summary):
        raise Stop(BAD_INPUT, "names stand alone: --prefix, --word, --limit, --summary list units")
    if not names:
        _list(reach, output, prefix=prefix, word=word or "", limit=limit, is_summary=summary)
        return
    sets = [each.removeprefix(ROLLINGSET) for each in names if each.startswith(ROLLINGSET)]
    keys = [each.removeprefix(UNIT) for each in names if not each.startswith(ROLLINGSET)]
    views = _views(reach, "dispatcher", keys) + _views(reach, "sharding", sets)
    _show(views, output)


def _views(reach: Reach, name: str, keys: Iterable[str]) -> list[Any]:
    """What a service says of each key; the first unknown one ends the command."""
    if not keys:
        return []
    from godel.v1 import release_pb2
    from runtime.cli.connect import service

    with service(reach, name) as stub:
        if name == "dispatcher":
            return [view for key in keys for view in _units(stub, key, reach.timeout)]
        named = [release_pb2.GetRollingsetRequest(name=key) for key in keys]
        return [stub.GetRollingset(each, timeout=reach.timeout) for each in named]


def _units(stub: Any, key: str, timeout: float | None) -> list[Any]:
    """The unit of a key; of a pod's NAMESPACE/NAME those of all pods that have had this name, for
    their keys end with the pod's uid. Raises RpcError when there is none."""
    import grpc

    from godel.v1 import placement_pb2

    try:
        return [stub.Get(placement_pb2.GetRequest(key=key), timeout=timeout)]
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND or key.count("/") != 1:
            raise
        request = placement_pb2.ListRequest(prefix=f"{key}/")
        replies = stub.List(request, timeout=timeout)
        found = [unit.key for reply in replies for unit in reply.units]
        if not found:
            raise
    return [stub.Get(placement_pb2.GetRequest(key=each), timeout=timeout) for each in found]


def _show(views: list[Any], output: str) -> None:
    """One view stands alone in JSON, several are a list."""
    from runtime.cli.rollingsets import is_rollingset, rollingset_text
    from runtime.cli.show import emit, plain

    def text(view: Any) -> str:
        if is_rollingset(view):
            return f"{ROLLINGSET}{view.spec.name}" if output == "name" else rollingset_text(view)
        return f"{UNIT}{view.key}" if output == "name" else unit_text(view)

    content = [plain(view) for view in views]
    gap = "\n" if output == "name" else "\n\n"
    emit(output, content if len(views) > 1 else content[0], lambda: gap.join(map(text, views)))


def _list(
    reach: Reach, output: str, *, prefix: str, word: str, limit: int, is_summary: bool
) -> None:
    from godel.v1 import placement_pb2
    from runtime.cli.connect import service
    from runtime.cli.show import emit, plain

    request = placement_pb2.ListRequest(
        prefix=prefix, word=word.upper(), is_summary=is_summary, count_max=limit
    )
    units: list[Any] = []
    summary = placement_pb2.Summary()
    with service(reach, "dispatcher") as stub:
        for reply in stub.List(request, timeout=reach.timeout):
            if reply.HasField("summary"):
                summary = reply.summary
            units.extend(reply.units)
    content = {"summary": plain(summary), "units": [plain(unit) for unit in units]}

    def people() -> str:
        if output == "name":
            return "\n".join(f"{UNIT}{unit.key}" for unit in units)
        if is_summary:
            return summary_text(summary)
        return unit_table(units, is_wide=output == "wide")

    emit(output, content, people)


def summary_text(summary: Any) -> str:
    """Units per word, and waiting ones per reason."""
    from runtime.cli.show import table

    words = sorted(summary.words.items(), key=lambda each: WORDS.index(each[0].lower()))
    parts = [table(("WORD", "UNITS"), [(word.capitalize(), count) for word, count in words])]
    if summary.why:
        why = sorted(summary.why.items(), key=lambda each: (-each[1], each[0]))
        parts.append(table(("WAITING", "WHY"), [(count, reason) for reason, count in why]))
    return "\n\n".join(parts)


def unit_table(units: list[Any], *, is_wide: bool) -> str:
    """One line per unit."""
    from runtime.cli.show import age, table

    now_us = time.time() * 1e6
    headers: list[str] = ["KEY", "WORD", "REPLICAS", "AGE", "WHY"]
    cells: list[Callable[[Any], Any]] = [
        lambda unit: unit.key,
        lambda unit: unit.word.capitalize(),
        lambda unit: phases_text(unit.phases),
        lambda unit: age(now_us - unit.submitted_at_us) if unit.submitted_at_us else "",
        lambda unit: unit.why,
    ]
    if is_wide:
        headers[4:4] = ["PRIORITY", "REVISION", "ATTEMPTS", "BOUND AFTER", "UID"]
        cells[4:4] = [
            lambda unit: unit.priority,
            lambda unit: unit.revision,
            lambda unit: unit.attempts,
            _bound_after,
            lambda unit: unit.uid,
        ]
    return table(headers, [[cell(unit) for cell in cells] for unit in units])


def unit_text(unit: Any) -> str:
    """Everything about one unit."""
    from godel.v1 import types_pb2
    from runtime.cli.show import age, enum_name, pairs, table

    now_us = time.time() * 1e6
    phase = types_pb2.Phase.DESCRIPTOR
    head = pairs(
        (
            ("unit", unit.key),
            ("word", unit.word.capitalize()),
            ("replicas", phases_text(unit.phases)),
            ("why", unit.why),
            ("wakes on", ", ".join(unit.wakes)),
            ("priority", unit.priority),
            ("revision", unit.revision),
            ("attempts", unit.attempts),
            ("age", age(now_us - unit.submitted_at_us) if unit.submitted_at_us else ""),
            ("bound after", _bound_after(unit)),
            ("uid", unit.uid),
        )
    )
    rows = [
        (each.group, each.ordinal, enum_name(phase, each.phase).lower(), each.node)
        for each in unit.replicas
    ]
    return f"{head}\n\n{table(('GROUP', 'ORDINAL', 'PHASE', 'NODE'), rows)}" if rows else head


def phases_text(phases: Any) -> str:
    """Replicas per phase, in the order in which a replica goes through them."""
    from godel.v1 import types_pb2

    order = {name.removeprefix("PHASE_"): i for i, name in enumerate(types_pb2.Phase.keys())}
    named = sorted(phases.items(), key=lambda each: order.get(each[0].upper(), len(order)))
    return ", ".join(f"{count} {name.lower()}" for name, count in named if count)


def _bound_after(unit: Any) -> str:
    from runtime.cli.show import age

    return age(unit.bound_at_us - unit.submitted_at_us) if unit.bound_at_us else ""
