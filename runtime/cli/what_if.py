"""`godel what-if`: would this fit, and where? Manifests in, placements or feasible nodes out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from runtime.cli.exits import BAD_INPUT, OK, REFUSED, Stop
from runtime.cli.options import shows

if TYPE_CHECKING:
    from runtime.cli.trial import Trial
    from runtime.cli.trial_cluster import TrialCluster, Waiting
    from scheduler.verdicts import Verdicts

Line = dict[str, Any]
"""One replica: file, pod, node, feasible, scores, reasons by node."""
REASONS_SHOWN_MAX = 4


@click.command("what-if")
@click.option(
    *("-f", "--file", "files"),
    metavar="FILE",
    multiple=True,
    required=True,
    help="YAML or JSON file, a directory of them, or - for standard input; may be repeated.",
)
@click.option("--feasible", is_flag=True, help="Place nothing: show each replica's nodes.")
@click.option("--profile", metavar="PROFILE", help="Place everything with this profile.")
@click.option("--each", is_flag=True, help="Every file is a cluster of its own.")
@shows("table", "json")
def what_if(
    files: tuple[str, ...], feasible: bool, profile: str | None, each: bool, output: str
) -> int:
    """Say where what waits would go.

    The files are one cluster: nodes, pods that run (with their node), and pods, workloads or units
    that wait. They are placed in the queue's order, each seeing those before it; no service is
    asked. Exit code 1 when not all of them find a node.
    """
    from runtime.kernel_cache import export_kernel_cache

    export_kernel_cache()
    is_all_placed = True
    lines: list[Line] = []
    for cluster in _clusters(files, profile or "", is_each=each):
        for line in _lines(cluster, is_placed=not feasible):
            is_all_placed &= bool(line["feasible"] if feasible else line["node"])
            if output == "json":
                click.echo(_json(line))
            else:
                lines.append(line)
    if output != "json":
        click.echo(_table(lines, is_feasible=feasible))
    return OK if is_all_placed else REFUSED


def _clusters(files: tuple[str, ...], profile: str, *, is_each: bool) -> Iterator[TrialCluster]:
    from runtime.cli.trial_cluster import trial_cluster
    from runtime.documents import BadDocument, files_of, read_all
    from runtime.fields import BadManifest

    try:
        named = [name for path in files for name in files_of(path)]
        read = ((name, read_all([name])) for name in named)
        groups = ([each] for each in read) if is_each else [list(read)]
        for group in groups:
            yield trial_cluster(group, profile)
    except (BadDocument, BadManifest) as error:
        raise Stop(BAD_INPUT, str(error)) from None


def _lines(cluster: TrialCluster, *, is_placed: bool) -> Iterator[Line]:
    from runtime.cli.trial import Trial

    trial = Trial(cluster)
    names = [node.name for node in cluster.nodes]
    for asked in cluster.waiting:
        waiting = cluster.renewed(asked) if is_placed else asked
        if waiting.unit is None:
            yield _line(waiting.file, waiting.name, reasons={n: [waiting.refusal] for n in names})
        elif is_placed:
            yield from _placed(cluster, trial, waiting)
        else:
            yield from _judged(trial, waiting)


def _placed(cluster: TrialCluster, trial: Trial, waiting: Waiting) -> Iterator[Line]:
    assert waiting.unit is not None
    for found in trial.place(waiting.unit):
        if found.node:
            cluster.placed(waiting.unit, found.node)
        name = waiting.replica(found.group, found.ordinal)
        yield _line(waiting.file, name, found.node, found.verdicts)


def _judged(trial: Trial, waiting: Waiting) -> Iterator[Line]:
    assert waiting.unit is not None
    for g, group in enumerate(waiting.unit.groups):
        verdicts = trial.verdicts(group.klass, group.pin)
        for ordinal in range(group.count):
            yield _line(waiting.file, waiting.replica(g, ordinal), "", verdicts)


def _line(
    file: str,
    pod: str,
    node: str = "",
    verdicts: Verdicts | None = None,
    reasons: dict[str, list[str]] | None = None,
) -> Line:
    if verdicts is not None:
        reasons = {name: list(texts) for name, texts in sorted(verdicts.reasons.items())}
    return {
        "file": file,
        "pod": pod,
        "node": node,
        "feasible": sorted(verdicts.feasible) if verdicts else [],
        "scores": dict(verdicts.scores) if verdicts else {},
        "reasons": reasons or {},
    }


def _json(line: Line) -> str:
    import msgspec

    return msgspec.json.encode(line).decode()


def _table(lines: list[Line], *, is_feasible: bool) -> str:
    from runtime.cli.show import table

    if is_feasible:
        rows = [(line["pod"], len(line["feasible"]), _nodes(line), _why(line)) for line in lines]
        return table(("REPLICA", "NODES", "FEASIBLE", "WHY NOT"), rows)
    found = [
        (line["pod"], line["node"] or "-", "" if line["node"] else _why(line)) for line in lines
    ]
    return table(("REPLICA", "NODE", "WHY NOT"), found)


def _nodes(line: Line) -> str:
    """The feasible nodes, the best first."""
    scores = line["scores"]
    ranked = sorted(line["feasible"], key=lambda name: (-scores[name]["total"], name))
    return ", ".join(f"{name} ({scores[name]['total']})" for name in ranked) or "-"


def _why(line: Line) -> str:
    """How many nodes refuse for each reason, the most first."""
    counts: dict[str, int] = {}
    for texts in line["reasons"].values():
        for each in texts:
            counts[each] = counts.get(each, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {reason}" for reason, count in ranked[:REASONS_SHOWN_MAX])
