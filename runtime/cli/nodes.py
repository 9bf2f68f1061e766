"""`godel nodes`: the nodes of the cluster, as the binder knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from runtime.cli.exits import BAD_INPUT, Stop
from runtime.cli.options import ListByDefault, Reach, reaches, shows

if TYPE_CHECKING:
    from runtime.cli.refusals import Refused

BATCH_NODES_MAX = 1000
RESOURCES_FIRST = ("cpu", "memory", "gpu", "nvidia.com/gpu")
"""Resources that have a column of their own, where any node has them."""


@click.group(cls=ListByDefault)
def nodes() -> None:
    """List, register, cordon and remove nodes; without a sub-command, list them."""


@nodes.command("list")
@click.option("--prefix", default="", help="Only nodes whose name begins with this.")
@reaches("binder")
@shows()
def list_nodes(prefix: str, reach: Reach, output: str) -> None:
    """Show nodes with what is used of them."""
    from godel.v1 import cluster_pb2
    from runtime.cli.connect import service
    from runtime.cli.show import emit, plain

    request = cluster_pb2.ListNodesRequest(prefix=prefix)
    with service(reach, "binder") as stub:
        views = [
            view for reply in stub.ListNodes(request, timeout=reach.timeout) for view in reply.nodes
        ]

    def people() -> str:
        if output == "name":
            return "\n".join(f"node/{view.name}" for view in views)
        return node_table(views, is_wide=output == "wide")

    emit(output, {"nodes": [plain(view) for view in views]}, people)


@nodes.command("register")
@click.option(
    *("-f", "--file", "files"),
    metavar="FILE",
    multiple=True,
    required=True,
    help="Kubernetes Node objects: YAML or JSON file, directory, or -; may be repeated.",
)
@reaches("binder")
@shows("table", "name", "json", "yaml")
def register(files: tuple[str, ...], reach: Reach, output: str) -> int:
    """Add nodes, or update those present. Nothing is sent when any file has a fault."""
    from godel.v1 import cluster_pb2
    from runtime.cli.wire import node_message
    from runtime.documents import BadDocument, read_all
    from runtime.fields import BadManifest
    from runtime.node_manifest import nodes as nodes_of

    try:
        specs = nodes_of(read_all(files))
    except (BadDocument, BadManifest) as error:
        raise Stop(BAD_INPUT, str(error)) from None
    messages = [node_message(spec) for spec in specs]
    names = [spec.name for spec in specs]
    return _send(
        reach,
        output,
        "registered",
        names,
        lambda stub, run: stub.Register(
            cluster_pb2.RegisterRequest(nodes=messages[run]), timeout=reach.timeout
        ),
    )


@nodes.command("cordon")
@click.argument("names", nargs=-1, required=True)
@reaches("binder")
@shows("table", "name", "json", "yaml")
def cordon(names: tuple[str, ...], reach: Reach, output: str) -> int:
    """Let no new replicas onto nodes."""
    return _cordon(names, reach, output, is_cordoned=True)


@nodes.command("uncordon")
@click.argument("names", nargs=-1, required=True)
@reaches("binder")
@shows("table", "name", "json", "yaml")
def uncordon(names: tuple[str, ...], reach: Reach, output: str) -> int:
    """Let new replicas onto nodes again."""
    return _cordon(names, reach, output, is_cordoned=False)


@nodes.command("remove")
@click.argument("names", nargs=-1, required=True)
@reaches("binder")
@shows("table", "name", "json", "yaml")
def remove(names: tuple[str, ...], reach: Reach, output: str) -> int:
    """Remove nodes; what is bound there has failed."""
    from godel.v1 import cluster_pb2

    listed = [name.removeprefix("node/") for name in names]
    return _send(
        reach,
        output,
        "removed",
        listed,
        lambda stub, run: stub.Remove(
            cluster_pb2.RemoveRequest(names=listed[run]), timeout=reach.timeout
        ),
    )


def _cordon(names: Sequence[str], reach: Reach, output: str, *, is_cordoned: bool) -> int:
    from godel.v1 import cluster_pb2

    listed = [name.removeprefix("node/") for name in names]
    return _send(
        reach,
        output,
        "cordoned" if is_cordoned else "uncordoned",
        listed,
        lambda stub, run: stub.Cordon(
            cluster_pb2.CordonRequest(names=listed[run], is_cordoned=is_cordoned),
            timeout=reach.timeout,
        ),
    )


def _send(
    reach: Reach,
    output: str,
    verb: str,
    names: list[str],
    call: Callable[[Any, slice], Any],
) -> int:
    """Call once per batch of the named nodes, and say what was refused."""
    from runtime.cli.connect import service
    from runtime.cli.refusals import code_of, refused_of, tell
    from runtime.cli.show import counted, emit

    refused: list[Refused] = []
    with service(reach, "binder") as stub:
        for first in range(0, len(names), BATCH_NODES_MAX):
            run = slice(first, first + BATCH_NODES_MAX)
            reply = call(stub, run)
            refused += [refused_of(names[first + each.index], each) for each in reply.refused]
    kept = {each.key for each in refused}
    done = [f"node/{name}" for name in names if name not in kept]
    tell(refused)

    def people() -> str:
        return "\n".join(done) if output == "name" else f"{verb} {counted(len(done), 'node')}"

    emit(output, {verb: done, "refused": [each._asdict() for each in refused]}, people)
    return code_of(refused)


def node_table(views: list[Any], *, is_wide: bool) -> str:
    """One line per node: used of allocatable, for the usual resources or for all."""
    from runtime.cli.show import table

    present = {name for view in views for name in view.allocatable}
    resources = [name for name in RESOURCES_FIRST if name in present]
    if is_wide:
        resources += sorted(present - {*resources, "pods"})
    headers = ["NODE", "STATUS", *(name.upper() for name in resources), "PODS"]
    rows = []
    for view in views:
        used = [_used(view, name) for name in (*resources, "pods")]
        status = "cordoned" if view.is_cordoned else "ready"
        row = [view.name, status, *used]
        rows.append([*row, view.claims, view.incarnation, view.generation] if is_wide else row)
    if is_wide:
        headers += ["CLAIMS", "INCARNATION", "GENERATION"]
    return table(headers, rows)


def _used(view: Any, name: str) -> str:
    from runtime.quantities import shown

    if name not in view.allocatable:
        return "-"
    used = view.used.get(name, 0)
    return f"{shown(name, used)}/{shown(name, view.allocatable[name])}"
