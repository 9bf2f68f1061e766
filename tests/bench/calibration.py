"""The calibration scan: what kernel marks are multiples of, measured in the same run.

Exact filter, score and argmax over 10,000 nodes and 8 int64 resources, written for just that: one
pass in which all resources are looked at, in loops that vectorise. It shares nothing with the
scheduler's kernels and stays as it is, so that multiples of it mean the same from one version to
the next.
"""

import time

import numpy as np
from numba import njit
from numpy.typing import NDArray

NODES = 10_000
RESOURCES = 8
SCANS = 100
"""Per sample."""
_CHUNK = 1024


@njit(nogil=True, error_model="numpy")
def _scan(free, inverse, demand, base, keys):  # type: ignore[no-untyped-def]
    """The largest key; free [resource, node], inverse [2, node] = 50 / capacity, base [node]."""
    best = np.int32(-1)
    d0, d1, d2, d3, d4, d5, d6, d7 = demand
    for lo in range(0, len(base), _CHUNK):
        hi = min(lo + _CHUNK, len(base))
        f0, f1, f2, f3 = free[0][lo:hi], free[1][lo:hi], free[2][lo:hi], free[3][lo:hi]
        f4, f5, f6, f7 = free[4][lo:hi], free[5][lo:hi], free[6][lo:hi], free[7][lo:hi]
        cpu, memory, rank, key = inverse[0][lo:hi], inverse[1][lo:hi], base[lo:hi], keys[lo:hi]
        for i in range(len(key)):
            fits = (f0[i] >= d0) & (f1[i] >= d1) & (f2[i] >= d2) & (f3[i] >= d3)
            fits &= (f4[i] >= d4) & (f5[i] >= d5) & (f6[i] >= d6) & (f7[i] >= d7)
            score = float(f0[i] - d0) * cpu[i] + float(f1[i] - d1) * memory[i]
            made = np.int32(rank[i] + (np.int32(score) << 20))
            key[i] = made if fits else np.int32(-1)
        for i in range(len(key)):
            best = max(best, key[i])
    return best


class Calibration:
    """Nodes that no sample changes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._free = rng.integers(1 << 20, 1 << 30, (RESOURCES, NODES), np.int64)
        self._inverse = 50.0 / np.full((2, NODES), float(1 << 30))
        self._demand = tuple(rng.integers(1 << 20, 1 << 22, RESOURCES, np.int64).tolist())
        self._base: NDArray[np.int32] = rng.permutation(NODES).astype(np.int32)
        self._keys = np.empty(NODES, np.int32)
        self.sample_us()

    def sample_us(self) -> float:
        """Microseconds per scan, over SCANS of them."""
        begin = time.perf_counter()
        for _ in range(SCANS):
            _scan(self._free, self._inverse, self._demand, self._base, self._keys)
        return (time.perf_counter() - begin) / SCANS * 1e6
