"""Arithmetic on runs of rows, compiled: for a few rows numpy's calls cost more than their work."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.jit import njit

_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(29)

Column = NDArray[Any]


@njit
def mixed(digest: Any, value: Any) -> Any:
    """Fold a value into a digest (two rounds of multiply and xor-shift, as in splitmix64)."""
    word = (digest ^ np.uint64(value)) * _ODD
    word ^= word >> _SHIFT
    word *= _MIX
    return word ^ (word >> _SHIFT)


@njit
def mix_each(digests: Column, values: Column, out: Column) -> None:
    """out[i] = values[i] folded into digests[i]; uint64 all."""
    for i in range(len(digests)):
        out[i] = mixed(digests[i], values[i])


@njit
def sum_slices(values: Column, counts: Column, out: Column) -> None:
    """out[i] = sum of the i-th of consecutive slices of these counts; int64 all."""
    at = 0
    for i in range(len(counts)):
        total = 0
        for j in range(at, at + counts[i]):
            total += values[j]
        out[i] = total
        at += counts[i]


@njit
def digest_groups(
    class_hashes: Column,
    name_hashes: Column,
    klass: Column,
    count: Column,
    minimum: Column,
    pin: Column,
    role: Column,
    counts: Column,
    out: Column,
) -> None:
    """out[i] = one number for the content of the i-th unit, which has counts[i] >= 1 groups."""
    at = 0
    for i in range(len(counts)):
        word = np.uint64(0)
        for g in range(at, at + counts[i]):
            each = mixed(mixed(class_hashes[klass[g]], count[g]), minimum[g])
            each = mixed(each, name_hashes[pin[g]] if pin[g] >= 0 else np.uint64(0))
            each = mixed(each, name_hashes[role[g]] if role[g] >= 0 else np.uint64(0))
            word = mixed(each, counts[i]) if g == at else mixed(word, each)
        out[i] = word
        at += counts[i]
