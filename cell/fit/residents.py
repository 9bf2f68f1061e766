"""Residents: how many replicas of a class are on a node, for classes that others may read.

One row per pair of node and class that ever was; a pair that is gone has count 0. The pairs of one
node, and of one class, are lists: head → next → NONE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.jit import bare_njit
from cell.uid_index import UidIndex

NONE = -1
BY_NODE, BY_CLASS = 0, 1

Rows = NDArray[np.int64]


@bare_njit
def _link(head: Rows, after: Rows, keys: Rows, first: int) -> None:
    """Put pairs from `first` on in front of the lists of their keys."""
    for i in range(len(keys)):
        after[first + i] = head[keys[i]]
        head[keys[i]] = first + i


@bare_njit
def _gather(head: Rows, after: Rows, keys: Rows, out: Rows) -> int:
    """Pairs of some keys into `out`, as far as it goes; returns how many there are."""
    count = 0
    for key in keys:
        at = head[key] if key < len(head) else NONE
        while at != NONE:
            if count < len(out):
                out[count] = at
            count += 1
            at = after[at]
    return count


class Residents:
    """See the module. `leaving` of the `count` are being stopped."""

    def __init__(self) -> None:
        self._index = UidIndex()
        self._filled = 0
        self._columns = np.zeros((5, 64), np.int64)
        self._after = np.full((2, 64), NONE, np.int64)
        self._heads = [np.full(64, NONE, np.int64), np.full(64, NONE, np.int64)]

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

    def of(self, by: int, keys: Rows) -> Rows:
        """Pairs of distinct nodes (BY_NODE) or classes (BY_CLASS)."""
        head, after = self._heads[by], self._after[by]
        found = np.empty(64, np.int64)
        count = _gather(head, after, keys, found)
        if count > len(found):
            found = np.empty(count, np.int64)
            _gather(head, after, keys, found)
        return found[:count]

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
            self._columns = _wider(self._columns, 2 * needed, 0)
            self._after = _wider(self._after, 2 * needed, NONE)
        fresh = np.arange(self._filled, needed)
        at, used = self._index.find_or_put(_mixed(nodes), klasses.astype(np.uint64), fresh)
        if used:
            self._begin(at, nodes, klasses, used)
        return at

    def _begin(self, at: Rows, nodes: Rows, klasses: Rows, used: int) -> None:
        """Pairs that were never there."""
        first, self._filled = self._filled, self._filled + used
        is_new = at >= first
        self._columns[0, at[is_new]], self._columns[1, at[is_new]] = nodes[is_new], klasses[is_new]
        for by in (BY_NODE, BY_CLASS):
            keys, head = self._columns[by, first : self._filled], self._heads[by]
            top = int(keys.max()) + 1
            if top > len(head):
                head = self._heads[by] = _wider(head.reshape(1, -1), 2 * top, NONE)[0]
            _link(head, self._after[by], keys, first)


def _wider(old: Rows, width: int, filler: int) -> Rows:
    new = np.full((len(old), width), filler, np.int64)
    new[:, : old.shape[1]] = old
    return new


def _mixed(nodes: Rows) -> NDArray[np.uint64]:
    """Distinct for distinct nodes, and with the bits that the index reads well spread."""
    return nodes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
