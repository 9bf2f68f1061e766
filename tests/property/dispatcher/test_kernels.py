"""Kernels against dumb twins in Python's integers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.columns import mix, sums
from dispatcher.kernels import digest_groups

WORD = (1 << 64) - 1
NUMBERS = st.integers(-1, 3)
GROUP = st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 9), NUMBERS, NUMBERS)
UNITS = st.lists(st.lists(GROUP, min_size=1, max_size=3), max_size=6)
CLASS_HASHES = [11, 1 << 63, WORD, 0]
NAME_HASHES = [5, 1 << 40, WORD - 1, 7]


def mixed(digest: int, value: int) -> int:
    word = (digest ^ (value & WORD)) * 0x9E3779B97F4A7C15 & WORD
    word ^= word >> 29
    word = word * 0xBF58476D1CE4E5B9 & WORD
    return word ^ (word >> 29)


def digest(groups: list[tuple[int, int, int, int, int]]) -> int:
    each = []
    for klass, count, minimum, pin, role in groups:
        word = mixed(mixed(CLASS_HASHES[klass], count), minimum)
        for name in (pin, role):
            word = mixed(word, NAME_HASHES[name] if name >= 0 else 0)
        each.append(word)
    word = mixed(each[0], len(groups))
    for other in each[1:]:
        word = mixed(word, other)
    return word


@given(UNITS)
def test_digests_are_those_of_the_twin(units: list[list[tuple[int, int, int, int, int]]]) -> None:
    rows = np.array([g for groups in units for g in groups], np.int32).reshape(-1, 5)
    out = np.empty(len(units), np.uint64)
    digest_groups(
        np.array(CLASS_HASHES, np.uint64),
        np.array(NAME_HASHES, np.uint64),
        rows[:, 0].copy(),
        rows[:, 1].copy(),
        rows[:, 2].copy(),
        rows[:, 3].copy(),
        rows[:, 4].copy(),
        np.array([len(groups) for groups in units], np.int64),
        out,
    )
    assert out.tolist() == [digest(groups) for groups in units]


@given(st.lists(st.tuples(st.integers(0, WORD), st.integers(-(1 << 31), (1 << 31) - 1))))
def test_mix_is_that_of_the_twin(rows: list[tuple[int, int]]) -> None:
    digests = np.array([word for word, _ in rows], np.uint64)
    values = np.array([value for _, value in rows], np.int32)
    assert mix(digests, values).tolist() == [mixed(*row) for row in rows]


@given(st.lists(st.lists(st.integers(0, 5), max_size=4)))
def test_sums_are_those_of_slices(slices: list[list[int]]) -> None:
    values = np.array([v for part in slices for v in part], np.uint32)
    counts = np.array([len(part) for part in slices], np.int64)
    assert sums(values, counts).tolist() == [sum(part) for part in slices]
