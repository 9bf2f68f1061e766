"""What carries the speed of placing, each taken away in turn: `python -m tests.bench.ablation`.

Same rows and same calibration scan as `kernels`; what is taken away is patched here, never switched
in production code.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

import scheduler.placement
from cell.fit.neighbours import Neighbours, Rows
from scheduler.placement import Batch
from scheduler.slots import NEVER, ClassSlots
from tests.bench.calibration import Calibration
from tests.bench.kernels import Case, cases, sample_us

ROUNDS = 5
Patch = Callable[[], AbstractContextManager[object]]


def _no_cache() -> AbstractContextManager[object]:
    """No keys are kept from one call to the next."""
    hold = ClassSlots.hold

    def forgetful(self: ClassSlots, present: Rows, call: int) -> int:
        self.columns.seen[:] = NEVER
        return hold(self, present, call)

    return mock.patch.object(ClassSlots, "hold", forgetful)


def _no_repair() -> AbstractContextManager[object]:
    """A class that is behind is scanned, however little changed; counters are made anew for nodes
    that changed."""

    def recount(self: Neighbours, nodes: Rows) -> None:
        self._is_stale = True

    stack = ExitStack()
    stack.enter_context(mock.patch.object(scheduler.placement, "LOG_SIZE", 0))
    stack.enter_context(mock.patch.object(Neighbours, "_remap", recount))
    return stack


def _one_by_one(case: Case) -> Case:
    """Each unit in a call of its own."""

    def single() -> Iterator[Batch]:
        for each in case.batches():
            for i in range(len(each.total)):
                row = slice(i, i + 1)
                yield Batch(
                    start=np.arange(2),
                    total=each.total[row],
                    klass=each.klass[row],
                    pin=each.pin[row],
                    want=each.want[row],
                    min=each.min[row],
                )

    units = len(next(case.batches()).total)
    return replace(case, batches=single, warm=case.warm * units)


def _whole(case: Case) -> Case:
    return case


VARIANTS: dict[str, tuple[Callable[[Case], Case], Patch]] = {
    "all": (_whole, ExitStack),
    "no class cache": (_whole, _no_cache),
    "no repair": (_whole, _no_repair),
    "no batches": (_one_by_one, ExitStack),
    "neither cache nor batches": (_one_by_one, _no_cache),
}
NAMES = ("gang of 100", "gangs of 10, one class", "64 classes in turn", "affinity and spread")


def main() -> None:
    """Measure in turn and print medians of ratios to the scan."""
    calibration = Calibration()
    known = [case for case in cases() if case.name in NAMES or case.is_moving]
    table = Table(title=f"Placing, multiples of C, medians of {ROUNDS} interleaved rounds")
    table.add_column("row")
    for name in VARIANTS:
        table.add_column(name)
    for case in known:
        ratios: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for _ in range(ROUNDS):
            for name, (change, patch) in VARIANTS.items():
                if case.is_moving and change is _one_by_one:
                    continue
                with patch():
                    ratios[name].append(sample_us(change(case)) / calibration.sample_us())
        cells = (f"{np.median(each):.3f}" if each else "" for each in ratios.values())
        table.add_row(case.name, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
