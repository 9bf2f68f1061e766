"""From legs to lines in the form of `make bench`, with the marks that they are held to."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.k8s.ground import Measured
from tests.bench.report import Line

RAW = "raw-"
PACED = "-paced"
MARKS = {
    ("drain", "raw"): 0.7,
    ("drain", "kube-scheduler"): 2.0,
    ("created-bound", "null-client"): 0.7,
}
"""The least ratio of a name to its reference."""
Legs = Mapping[str, list[Measured]]


def lines(nodes: int, legs: Legs) -> list[Line]:
    """All results of one cluster size; ratios are of medians over interleaved rounds. What was not
    measured is left out."""
    return [*_drains(nodes, legs), *_created(nodes, legs), *_paced(nodes, legs)]


def _drains(nodes: int, legs: Legs) -> list[Line]:
    rates = {name: _median(of, lambda leg: leg.drain_rate) for name, of in legs.items()}
    raws = [name for name in legs if name.startswith(RAW)]
    measured = {
        name: (rates[name], legs[name])
        for name in (*raws, "kube-scheduler", "drain", "drain-events")
        if name in legs
    }
    if raws:
        best = max(raws, key=lambda name: rates[name])
        measured["raw"] = measured[best]
    references = {name: "raw" for name in measured}
    return _lines(nodes, measured, [*references.items(), ("drain", "kube-scheduler")])


def _created(nodes: int, legs: Legs) -> list[Line]:
    measured = {
        name: (_median(legs[name], lambda leg: leg.created_rate), legs[name])
        for name in ("null-client", "created-bound")
        if name in legs
    }
    found = _lines(nodes, measured, [(name, "null-client") for name in measured])
    for line in found:
        line.p50, line.p99 = _percentiles(legs[line.name])
    return found


def _lines(
    nodes: int, measured: Mapping[str, tuple[float, list[Measured]]], pairs: list[tuple[str, str]]
) -> list[Line]:
    found = []
    for name, reference in pairs:
        if name in measured and reference in measured:
            (value, of), (limit, _) = measured[name], measured[reference]
            line = Line(name, nodes, value, "pods/s", reference, value / limit, len(of))
            line.cpu_us_per_unit = _cpu(of)
            found.append(line)
    return found


def _paced(nodes: int, legs: Legs) -> list[Line]:
    reference = "null-client" + PACED
    found = []
    for name in (reference, "created-bound" + PACED):
        if name in legs and reference in legs:
            of = legs[name]
            (p50, p99), (r50, r99) = _percentiles(of), _percentiles(legs[reference])
            line = Line(name, nodes, p50, "ms p50", reference, p50 / r50, len(of), _cpu(of))
            line.p99, line.p99_ratio = p99, p99 / r99
            found.append(line)
    return found


def _median(of: list[Measured], figure: Callable[[Measured], float]) -> float:
    return statistics.median(figure(leg) for leg in of)


def _percentiles(of: list[Measured]) -> tuple[float, float]:
    p50, p99 = np.percentile([ms for leg in of for ms in leg.latencies_ms], [50, 99])
    return float(p50), float(p99)


def _cpu(of: list[Measured]) -> dict[str, float]:
    """Medians per role."""
    return {
        role: round(statistics.median(leg.cpu_us[role] for leg in of), 1) for role in of[0].cpu_us
    }


def verdict(line: Line) -> str:
    """Whether the line's mark is met; empty where it has none."""
    mark = MARKS.get((line.name, line.reference))
    if mark is None:
        return ""
    return f"{mark} {'met' if line.ratio >= mark else 'MISSED'}"


def show(nodes: int, results: list[Line], about: str) -> None:
    """The table a person reads, and the verdicts on the marks."""
    table = Table(title=f"{nodes} nodes; {about}")
    heads = ("name", "value", "ratio", "to", "mark", "p50 ms", "p99 ms", "x", "CPU us/pod by role")
    for column in heads:
        table.add_column(column)
    for line in results:
        costs = ", ".join(f"{role} {us:.0f}" for role, us in line.cpu_us_per_unit.items())
        table.add_row(
            line.name,
            f"{line.value:,.1f} {line.unit}",
            f"{line.ratio:.2f}",
            line.reference,
            verdict(line),
            _text(line.p50),
            _text(line.p99),
            _text(line.p99_ratio),
            costs,
        )
    Console(width=170).print(table)


def _text(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.2f}"
