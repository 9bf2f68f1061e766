"""From rounds to the lines of the report: medians, ratios to the reference, CPU per unit."""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ECHOES_PER_NULL_BATCH = 6
NULL_HANDICAP_MAX = 1.5
ROLES = ("client", "dispatcher", "scheduler", "binder")

Cpu = dict[str, list[dict[str, float]]]


@dataclass
class Line:
    """One result."""

    name: str
    nodes: int
    value: float
    unit: str
    reference: str
    ratio: float
    rounds: int
    cpu_us_per_unit: dict[str, float] = field(default_factory=dict)
    p50: float | None = None
    """ms from submit to bound, where `value` is something else."""
    p99: float | None = None
    p99_ratio: float | None = None
    cpu_ratio: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The object of build/bench/*.json."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class NullHandicapped(RuntimeError):
    """The null pipeline cost too much: ratios to it would flatter us."""


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Per role."""
    return {role: round(statistics.median(r[role] for r in rounds), 2) for role in ROLES}


def check_null(rounds: list[dict[str, float]], echo_us: float) -> None:
    """Raise NullHandicapped when 100 rows of null cost more than 1.5 times six echoes."""
    cost = sum(medians(rounds).values()) * 100
    limit = NULL_HANDICAP_MAX * ECHOES_PER_NULL_BATCH * echo_us
    if cost > limit:
        raise NullHandicapped(f"{cost:.0f} us of CPU per 100 rows, limit {limit:.0f}: run is void")


def lines(
    nodes: int,
    rounds: int,
    rates: dict[str, list[float]],
    cpu: Cpu,
    latencies: dict[str, list[float]],
    lone_rounds: int,
) -> list[Line]:
    """All results of one cluster size. Ratios are of medians over interleaved rounds; the reference
    of a lone unit is null at one row plus two fdatasyncs."""
    null = statistics.median(rates["null"])
    null_cpu = medians(cpu["null"])
    result = [Line("null-saturated", nodes, null, "rows/s", "null", 1.0, rounds, null_cpu)]
    for name in ("singles-saturated", "packed-saturated", "gangs-saturated"):
        value = statistics.median(rates[name])
        line = Line(name, nodes, value, "placements/s", "null", value / null, rounds)
        line.cpu_us_per_unit = medians(cpu[name])
        line.cpu_ratio = {r: round(line.cpu_us_per_unit[r] / null_cpu[r], 2) for r in ROLES}
        line.p50, line.p99 = (float(p) for p in np.percentile(latencies[name], [50, 99]))
        result.append(line)
    paced = Line("singles-20pct", nodes, 0.0, "ms p50", "null", 0.0, rounds)
    paced.cpu_us_per_unit = medians(cpu["singles-20pct"])
    _percentiles(paced, latencies["singles-20pct"], latencies["null-20pct"])
    lone = Line("lone-unit", nodes, 0.0, "ms p50", "null", 0.0, lone_rounds)
    reference = np.array(latencies["null"]) + np.array(latencies["fdatasync"])
    _percentiles(lone, latencies["lone-unit"], reference.tolist())
    return [*result, paced, lone]


def _percentiles(line: Line, samples: list[float], reference: list[float]) -> None:
    p50, p99 = np.percentile(samples, [50, 99])
    r50, r99 = np.percentile(reference, [50, 99])
    line.value, line.ratio = float(p50), float(p50 / r50)
    line.p99, line.p99_ratio = float(p99), float(p99 / r99)


def show(nodes: int, results: list[Line], echo_us: float) -> None:
    """The table a person reads."""
    table = Table(title=f"{nodes} nodes; echo of 100 rows: {echo_us:.0f} us CPU")
    heads = (
        "name",
        "value",
        "x null",
        "p50 ms",
        "p99 ms",
        "x null",
        "CPU us/unit c/d/s/b",
        "x null",
    )
    for column in heads:
        table.add_column(column)
    for line in results:
        costs = "/".join(f"{line.cpu_us_per_unit[r]:.1f}" for r in ROLES if line.cpu_us_per_unit)
        multiples = "/".join(f"{line.cpu_ratio[r]:.1f}" for r in ROLES if line.cpu_ratio)
        table.add_row(
            line.name,
            f"{line.value:,.2f} {line.unit}",
            f"{line.ratio:.2f}",
            "" if line.p50 is None else f"{line.p50:.2f}",
            "" if line.p99 is None else f"{line.p99:.2f}",
            "" if line.p99_ratio is None else f"{line.p99_ratio:.2f}",
            costs,
            multiples,
        )
    Console(width=140).print(table)


SIZES = 10_000, 100_000
SIZE_RATIO_MIN = 0.5


def show_sizes(results: list[Line]) -> None:
    """Rates on a large cluster in terms of those on a smaller one, both as multiples of the null
    pipeline of their own rounds."""
    small, large = ({r.name: r.ratio for r in results if r.nodes == size} for size in SIZES)
    table = Table(title=f"Rates at {SIZES[1]} nodes, of those at {SIZES[0]}")
    for column in ("name", "ratio", "mark", ""):
        table.add_column(column)
    for name in (
        n for n in small if n in large and n.endswith("saturated") and n != "null-saturated"
    ):
        ratio = large[name] / small[name]
        note = "" if ratio >= SIZE_RATIO_MIN else "MISSED"
        table.add_row(name, f"{ratio:.2f}", f"{SIZE_RATIO_MIN}", note)
    if table.row_count:
        Console(width=140).print(table)
