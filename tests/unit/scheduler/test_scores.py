"""Scores against kube-scheduler's formulas in whole numbers, for every use of small capacities."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import ceil, floor

import numpy as np
import pytest

from scheduler.framework.shares import inverse_of, share_of
from scheduler.plugins.balanced.kernel import balanced, balanced_of, evenness_of
from scheduler.plugins.least.kernel import least, least_of
from scheduler.plugins.most.kernel import most, most_of
from scheduler.plugins.ratio.kernel import ratio
from scheduler.plugins.ratio.plugin import Point, Ratio, RatioArgs

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


CORNERS = ((0, 10), (30, 4), (70, 4), (100, 0))
"""Utilization and score, falling and level."""


@pytest.mark.parametrize("corners", [CORNERS, ((40, 0), (80, 10)), ((50, 7),)])
def test_a_shape_is_a_line_of_points(corners: tuple[tuple[int, int], ...]) -> None:
    """Between corners it is a straight line, cut towards the corner before."""
    shape = tuple(Point(at, score) for at, score in corners)
    plugin = Ratio(RatioArgs(shape))
    for at, points in enumerate(plugin._line.tolist()):
        before = max((c for c in corners if c[0] <= at), default=corners[0])
        after = min((c for c in corners if c[0] >= at), default=corners[-1])
        part = Fraction(at - before[0], after[0] - before[0]) if after[0] > before[0] else 0
        exact = 10 * before[1] + part * 10 * (after[1] - before[1])
        assert points == (floor(exact) if after[1] >= before[1] else ceil(exact)), at


@pytest.mark.parametrize("capacity", [1, 7, 100, 999])
def test_the_ratio_of_several_resources_is_their_mean_without_those_of_no_points(
    capacity: int,
) -> None:
    line = Ratio(RatioArgs((Point(20, 0), Point(100, 10))))._line
    weight = np.array([3, 2], np.int64)
    used = np.arange(capacity + 2, dtype=np.int64)
    uses = np.stack([used, used[::-1]])
    score = np.zeros(len(used), np.int64)
    ratio(uses, np.full_like(uses, capacity), weight, line, np.ones(len(used), np.bool_), score)
    for node in range(len(used)):
        full = [min(int(each) * 100 // capacity, 100) for each in uses[:, node]]
        found = [(int(line[at]), w) for at, w in zip(full, (3, 2), strict=True) if line[at]]
        total, weights = sum(p * w for p, w in found), sum(w for _, w in found)
        assert score[node] == (floor(Fraction(total, weights) + Fraction(1, 2)) if found else 0)
