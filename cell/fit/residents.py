"""Residents: how many replicas of a class are on a node, for classes that others may read.

One row per pair of node and class that ever was; a pair that is gone has count 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.uid_index import UidIndex

Rows = NDArray[np.int64]


class Residents:
    """See the module. `leaving` of the `count` are being stopped."""

    def __init__(self) -> None:
        self._index = UidIndex()
        self._filled = 0
        self._columns = np.zeros((5, 64), np.int64)

    @property
    def node(self) -> Rows:
        """[pair]"""
        return self._columns[0, : self._filled]

    @property
    def klass(self) -> Rows:
        """[pair]"""
        return self._columns[1, : self._filled]

    @property
    def count(self) -> Rows:
        """[pair]"""
        return self._columns[2, : self._filled]

    @property
    def leaving(self) -> Rows:
        """[pair]"""
        return self._columns[3, : self._filled]

    @property
    def generation(self) -> Rows:
        """[pair]: when it last grew by `add`."""
        return self._columns[4, : self._filled]

    def put(self, nodes: Rows, klasses: Rows, counts: Rows, leaving: Rows) -> tuple[Rows, Rows]:
        """Set distinct pairs; returns by how much counts and leaving grew."""
        at = self._rows(nodes, klasses)
        grown = counts - self.count[at], leaving - self.leaving[at]
        self.count[at], self.leaving[at] = counts, leaving
        return grown

    def add(self, nodes: Rows, klasses: Rows, counts: Rows, leaving: Rows, generation: int) -> None:
        """Let pairs grow, some perhaps more than once."""
        at = self._rows(nodes, klasses)
        np.add.at(self.count, at, counts)
        np.add.at(self.leaving, at, leaving)
        self.generation[at] = generation

    def _rows(self, nodes: Rows, klasses: Rows) -> Rows:
        needed = self._filled + len(nodes)
        if needed > self._columns.shape[1]:
            grown = np.zeros((5, 2 * needed), np.int64)
            grown[:, : self._filled] = self._columns[:, : self._filled]
            self._columns = grown
        fresh = np.arange(self._filled, needed)
        at, used = self._index.find_or_put(_mixed(nodes), klasses.astype(np.uint64), fresh)
        is_new = at >= self._filled
        self._columns[0, at[is_new]], self._columns[1, at[is_new]] = nodes[is_new], klasses[is_new]
        self._filled += used
        return at


def _mixed(nodes: Rows) -> NDArray[np.uint64]:
    """Distinct for distinct nodes, and with the bits that the index reads well spread."""
    return nodes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
