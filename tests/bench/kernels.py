"""The placement's rows: time per placement in multiples of the calibration scan, in the same run.

Every sample begins with tables of its own, warmed by a batch; what is timed is
`scheduler.placement.Placement` over `NodeTables`, Python around the kernel included, and with nodes
that change the stream's message too. Samples of all rows and of the scan take turns.
"""

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cell.classes import ClassSpec, Toleration
from cell.requirements import Operator, Requirement, Term
from scheduler.placement import Batch
from tests.bench import between
from tests.bench.calibration import NODES, Calibration
from tests.bench.tables import KEYS, RESOURCES, ZONES, Residents, Tables, batch

ROWS_MAX = 800
"""Rows of one Assign."""


@dataclass(frozen=True)
class Case:
    """One row. The first of `batches` warm the tables."""

    name: str
    mark: float
    classes: list[ClassSpec]
    batches: Callable[[], Iterator[Batch]]
    warm: int = 1
    residents: Residents | None = None
    is_moving: bool = False
    """Whether a node says before each batch that it is in another zone."""


@dataclass
class Line:
    """What came of a case: medians over rounds."""

    name: str
    us_per_placement: float
    multiple: float
    """Of the calibration scan: the median of each round's own ratio."""
    spread: tuple[float, float]
    mark: float

    @property
    def is_reached(self) -> bool:
        """Whether the mark is."""
        return self.multiple <= self.mark


def filtered(count: int, resources: int = 2) -> list[ClassSpec]:
    """Classes that differ in demand, all with selector, affinity and tolerations."""
    need = Requirement("pool", Operator.IN, ("pool-0", "pool-1", "pool-2"))
    named = [name for name in RESOURCES if name != "pods"][:resources]
    return [
        ClassSpec(
            demand=tuple((name, 1 + (i % 97 if name == "cpu" else i // 97)) for name in named),
            selector=(("pool", f"pool-{i % 2}"),),
            affinity=(Term((need,)),),
            tolerations=(Toleration(KEYS[3], "Exists"),),
        )
        for i in range(count)
    ]


def _cycle(classes: int, rows: int, calls: int, replicas: int = 1) -> Iterator[Batch]:
    for call in range(calls):
        yield batch(np.arange(call * rows, (call + 1) * rows) % classes, replicas)


def cases() -> list[Case]:
    """The table of DESIGN's marks; a class that comes again 64 gangs later is scanned again."""
    rings = {"classes": between.classes(), "residents": between.residents(NODES), "mark": 3.0}
    each = between.PLACED
    return [
        Case("gang of 1,000", 0.01, filtered(64), lambda: _cycle(64, 1, 84, 1_000), 64),
        Case("gang of 100", 0.04, filtered(64), lambda: _cycle(64, 8, 40, 100), 8),
        Case("gangs of 10, one class", 0.05, filtered(1), lambda: _cycle(1, 80, 25, 10)),
        Case("all different", 1.5, filtered(2_000, 7), lambda: _cycle(2_000, ROWS_MAX, 5), 2),
        Case("64 classes in turn", 0.3, filtered(64), lambda: _cycle(64, ROWS_MAX, 20)),
        Case("affinity and spread", batches=lambda: _cycle(each, 100, 12), **rings),  # type: ignore[arg-type]
        Case(
            "the same, a node in 100 changes",
            batches=lambda: _cycle(each, 100, 12),
            is_moving=True,
            **rings,  # type: ignore[arg-type]
        ),
    ]


def sample_us(case: Case) -> float:
    """Microseconds per placement, with tables of its own."""
    tables = Tables(NODES, case.classes, case.residents)
    made, seconds = 0, 0.0
    for number, units in enumerate(case.batches()):
        moving = tables.move(37 * number % NODES, number % ZONES) if case.is_moving else 0.0
        refused, placed, placing = tables.place(units)
        if refused:
            raise RuntimeError(f"{case.name}: {refused} units found no room")
        if number >= case.warm:
            made += placed
            seconds += moving + placing
    return seconds / made * 1e6


def measure(rounds: int) -> tuple[float, list[Line]]:
    """The scan's microseconds, and a line per case."""
    calibration, scans = Calibration(), list[float]()
    known = cases()
    samples: dict[str, list[tuple[float, float]]] = {case.name: [] for case in known}
    for case in known:
        sample_us(case)
    for _ in range(rounds):
        for case in known:
            before = calibration.sample_us()
            took = sample_us(case)
            scan = (before + calibration.sample_us()) / 2
            scans.append(scan)
            samples[case.name].append((took, took / scan))
    return statistics.median(scans), [_line(case, samples[case.name]) for case in known]


def _line(case: Case, samples: list[tuple[float, float]]) -> Line:
    ratios = [ratio for _, ratio in samples]
    took = statistics.median(took for took, _ in samples)
    spread = min(ratios), max(ratios)
    return Line(case.name, took, statistics.median(ratios), spread, case.mark)


def show(scan_us: float, lines: list[Line]) -> None:
    """The table a person reads."""
    table = Table(title=f"Placing, {NODES} nodes; calibration scan C: {scan_us:.1f} us")
    for column in ("per placement", "us", "x C", "least and most", "mark", ""):
        table.add_column(column)
    for line in lines:
        table.add_row(
            line.name,
            f"{line.us_per_placement:.3f}",
            f"{line.multiple:.4f}",
            f"{line.spread[0]:.4f} to {line.spread[1]:.4f}",
            f"{line.mark:g}",
            "" if line.is_reached else "MISSED",
        )
    Console(width=140).print(table)


def run(rounds: int) -> None:
    """Measure, print, and write build/bench/kernels.json."""
    scan_us, lines = measure(rounds)
    show(scan_us, lines)
    target = Path("build/bench/kernels.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    found = {"scan_us": scan_us, "lines": [asdict(line) for line in lines]}
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written: {target}")
