"""Rules between replicas where a scheduler places: gangs, and tables of odd sizes."""

from __future__ import annotations

import pytest

from cell.between import Between, HostPort
from scheduler.kernels.layout import BLOCK
from scheduler.kernels.place import _best_of_all
from tests.unit.scheduler.builders import Bench, a_class, a_node, a_unit, placed, refused

ALONE = a_class(between=Between(ports=(HostPort(80),)))


@pytest.mark.parametrize("count", [1, BLOCK, BLOCK + 36, 3 * BLOCK - 1])
def test_a_gang_of_replicas_that_want_one_port_takes_a_node_each(count: int) -> None:
    bench = Bench([a_node(name=f"n{i}") for i in range(count)])
    assert refused(bench.assign_all(a_unit(1, ALONE, count=count + 1)))
    rows = placed(bench.assign_all(a_unit(2, ALONE, count=count)))
    assert sorted(node for *_, node in rows) == list(range(count))
    assert refused(bench.assign_all(a_unit(3, ALONE)))


def test_nodes_that_only_fill_the_last_block_are_not_looked_up() -> None:
    """Read as Python reads it, which sees what lies beyond an array."""
    count = BLOCK + 36
    bench = Bench([a_node(name=f"n{i}") for i in range(count)])
    bench.assign_all(a_unit(1, ALONE))
    tables, slots = bench.core.tables, bench.core._placement._slots.columns
    counts, classes = tables.neighbours.columns, bench.core._classes.columns
    assert len(counts.why) < tables.padded_count
    assert _best_of_all.py_func(counts, classes, slots, 0, tables.padded_count) >= 0  # type: ignore[attr-defined]
