"""Scores against kube-scheduler's formulas in whole numbers, for every use of small capacities."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import floor

import numpy as np
import pytest

from scheduler.framework.shares import inverse_of, share_of
from scheduler.plugins.balanced.kernel import balanced, balanced_of, evenness_of
from scheduler.plugins.least.kernel import least, least_of
from scheduler.plugins.most.kernel import most, most_of

GB = 1 << 30
CAPACITIES = [*range(1, 130), 1000, 96_000, 129 * GB, 3 << 40]


def share(used: int, capacity: int) -> float:
    return share_of(float(capacity), inverse_of(float(capacity)), float(used))


def uses(capacity: int) -> list[int]:
    """All of a small capacity, the neighbourhood of every percent of a large one."""
    if capacity <= 1000:
        return list(range(capacity + 1))
    at = {capacity * percent // 100 + step for percent in range(101) for step in (-1, 0, 1)}
    return sorted(used for used in at if 0 <= used <= capacity)


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_least_and_most_round_down_exactly(capacity: int) -> None:
    for used in uses(capacity):
        y = share(used, capacity)
        assert least_of(y, 0.0, 1.0, 0.0) == (capacity - used) * 100 // capacity, used
        assert most_of(0.0, y, 0.0, 1.0) == used * 100 // capacity, used


@pytest.mark.parametrize(
    ("one", "other"), [(1, 11), (7, 13), (10, 49), (64, 64), (100, 93), (3, 125)]
)
def test_two_resources(one: int, other: int) -> None:
    for a, b in product(range(one + 1), range(other + 1)):
        x, y = share(a, one), share(b, other)
        free = (one - a) * 100 // one + (other - b) * 100 // other
        assert least_of(x, y, 1.0, 1.0) == free // 2
        assert most_of(x, y, 1.0, 1.0) == (a * 100 // one + b * 100 // other) // 2
        apart = abs(Fraction(a, one) - Fraction(b, other))
        assert evenness_of(x, y, 1.0) == floor(100 * (1 - apart / 2)), (a, b)


def test_a_resource_that_is_not_there_is_left_out() -> None:
    assert least_of(0.0, 0.0, 0.0, 0.0) == most_of(0.0, 0.0, 0.0, 0.0) == 0
    assert evenness_of(90.0, 0.0, 0.0) == 100
    assert inverse_of(0.0) == 0.0


def test_use_beyond_what_there_is_counts_as_all() -> None:
    assert share_of(4.0, 25.0, 8.0) == 100.0


def test_balanced_is_what_a_replica_betters() -> None:
    for before, after in product(range(50, 101), repeat=2):
        assert balanced_of(before, after) == 50 + (50 + after - before) // 2


@pytest.mark.parametrize("kernel", [least, most, balanced])
def test_columns_score_feasible_nodes_only_and_add(kernel: object) -> None:
    cpu = np.array([[30.0, 30.0]] * 3 + [[1.0, 1.0]])
    score = np.array([5, 5], np.int64)
    kernel(cpu, cpu, np.array([True, False]), score)  # type: ignore[operator]
    assert score[0] > 5
    assert score[1] == 5
