"""Node tables of a scheduler: the binder's, less what it has planned and not yet seen covered.

The core feeds it State messages and its own plans. free = allocatable - used - assumed always holds
for every node. An assumption is dropped by the stream's watermark and by nothing else; rows of an
older incarnation or generation never overwrite newer ones. A new session begins with new tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.classes import POD_SLOT, UNASKED, UNASKED_PREFIX
from cell.fit.neighbours import Neighbours
from cell.fit.static import StaticNodes
from cell.messages import NodeSpecs, NodeUse, State
from scheduler.kernels.follow import forget, refresh
from scheduler.kernels.keys import key_bases
from scheduler.kernels.layout import BLOCK, HEAD, Classes, Log, Nodes

LOG_SIZE = 8192
"""Entries of the change log's ring; a class further behind is scanned."""
_CACHE_LINE = 8
"""int64 per cache line: a node's row fills whole ones."""

Rows = NDArray[np.int64]
NO_CLASSES: NDArray[np.int32] = np.empty(0, np.int32)


class Ties:
    """The seeded permutation of nodes of equal score, and the partition they are preferred in."""

    def __init__(self, seed: int, partition: int, partitions: int) -> None:
        mask = (1 << 20) - 1
        factor = (seed >> 20 | 1) & mask
        self.column = np.array([seed & mask, factor, pow(factor, -1, 1 << 20)], np.int64)
        self.partition = partition
        self.partitions = max(1, partitions)


class Resources:
    """Local numbers of resources, those of `kernels.layout` first."""

    def __init__(self) -> None:
        self.names: list[str] = [
            *UNASKED,
            POD_SLOT,
            "",
            *(UNASKED_PREFIX + name for name in UNASKED),
        ]
        self.numbers: dict[str, int] = {name: i for i, name in enumerate(self.names)}

    def intern(self, name: str) -> int:
        """The number of a resource that nodes have."""
        number = self.numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number


class NodeTables:
    """See the module. `columns` and `log` are what kernels work on."""

    def __init__(self, resources: Resources, ties: Ties) -> None:
        self.resources = resources
        self.statics = StaticNodes()
        self.neighbours = Neighbours(self.statics, is_scoring=True)
        self.neighbours.assumed = self._assumed
        self.term = 0
        """The binder's."""
        self.generation = 0
        """The newest generation seen."""
        self.is_whole = False
        """Whether the session's snapshot has arrived entirely."""
        self.log = Log(np.zeros(LOG_SIZE, np.int32), np.zeros(1, np.int64))
        self._ties = ties
        self._strings = np.empty(0, np.int32)
        self._stream_resources = np.empty(0, np.int64)
        self.incarnations: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._generations = np.zeros(0, np.uint64)
        self._allocatable = np.zeros((0, 0), np.int64)
        self._used = np.zeros((0, 0), np.int64)
        self._reserve(BLOCK)
        self._ring_node = np.zeros(1024, np.int32)
        self._ring_klass = np.zeros(1024, np.int32)
        self._covered = 0
        self.next_row = 0
        """Number of the next plan row of this session."""

    @property
    def count(self) -> int:
        """Nodes known (or once known)."""
        return self.statics.count

    @property
    def padded_count(self) -> int:
        """`count` up to whole blocks."""
        return -(-self.count // BLOCK) * BLOCK

    @property
    def allocatable(self) -> NDArray[np.int64]:
        """[node, resource]"""
        return self._allocatable

    def apply(
        self, state: State, classes: Classes, resident: NDArray[np.int32] = NO_CLASSES
    ) -> None:
        """Follow one message: specs, use, residents, then the watermark.

        `classes` says what rows assumed, `resident` are the residents' local class numbers."""
        self._strings = np.concatenate([self._strings, self._intern(state.strings)])
        if state.resources:
            added = [self.resources.intern(name) for name in state.resources]
            self._stream_resources = np.concatenate(
                [self._stream_resources, np.array(added, np.int64)]
            )
            self._reserve(self.columns.base.shape[1])
        touched = [
            self._apply_specs(state.specs),
            self._apply_use(state.use),
        ]
        held = state.residents
        self.neighbours.put(
            held.node.astype(np.int64),
            resident.astype(np.int64),
            held.count.astype(np.int64),
            held.leaving.astype(np.int64),
        )
        touched += [
            self._cover(state.watermark, classes),
        ]
        refresh(self.columns, self.log, self._allocatable, self._used, np.concatenate(touched))
        self.term = state.term
        self.generation = max(self.generation, state.generation)
        self.is_whole |= state.is_last

    def assume(self, nodes: NDArray[np.uint32], klasses: NDArray[np.uint32]) -> int:
        """Remember planned rows, whose room the kernel took; returns the first row's number."""
        first, size = self.next_row, len(nodes)
        if first + size - self._covered > len(self._ring_node):
            self._grow_ring(first + size - self._covered)
        at = np.arange(first, first + size) & (len(self._ring_node) - 1)
        self._ring_node[at] = nodes
        self._ring_klass[at] = klasses
        self.next_row += size
        return first

    def _intern(self, strings: tuple[str, ...]) -> NDArray[np.int32]:
        return self.statics.strings.intern_all(strings)

    def _apply_specs(self, specs: NodeSpecs) -> Rows:
        rows = specs.node.astype(np.int64)
        if not len(rows):
            return rows
        self._reserve(int(rows.max()) + 1)
        if np.any(specs.incarnation < self.incarnations[rows]):
            raise ValueError("a spec of an older incarnation in one ordered stream")
        self.incarnations[rows] = specs.incarnation
        amounts = np.zeros((len(rows), self._allocatable.shape[1]), np.int64)
        amounts[:, self._stream_resources] = specs.allocatable.reshape(len(rows), -1)
        self._allocatable[rows] = amounts
        self.statics.put(specs, self._strings)
        self._note(rows)
        return rows

    def _apply_use(self, use: NodeUse) -> Rows:
        rows = use.node.astype(np.int64)
        if not len(rows):
            return rows
        self._reserve(int(rows.max()) + 1)
        amounts = np.zeros((len(rows), self._used.shape[1]), np.int64)
        amounts[:, self._stream_resources] = use.used.reshape(len(rows), -1)
        is_newer = use.generation >= self._generations[rows]
        rows, amounts = rows[is_newer], amounts[is_newer]
        self._used[rows] = amounts
        self._generations[rows] = use.generation[is_newer]
        return rows

    def _cover(self, watermark: int, classes: Classes) -> Rows:
        watermark = min(watermark, self.next_row)
        touched = np.empty(max(0, watermark - self._covered), np.int64)
        if len(touched):
            ring = self._ring_node, self._ring_klass
            nodes, klasses = (each[: len(touched)] for each in self._assumed())
            self.neighbours.move(nodes, klasses, -np.ones_like(nodes))
            forget(self.columns, classes, *ring, self._covered, watermark, touched)
            self._covered = watermark
        return touched

    def _note(self, rows: Rows) -> None:
        """Log changed specs: masks may differ although the room does not."""
        at = (self.log.head[0] + np.arange(len(rows))) & (LOG_SIZE - 1)
        self.log.ring[at] = rows
        self.log.head[0] += len(rows)

    def _reserve(self, nodes: int) -> None:
        """Room for nodes below `nodes` and for all resources."""
        width = -(-(len(self.resources.names) + HEAD) // _CACHE_LINE) * _CACHE_LINE
        resource_count, held = self._allocatable.shape[1], len(self.incarnations)
        if nodes <= held and width - HEAD == resource_count:
            return
        size = held if nodes <= held else max(-(-nodes // BLOCK) * BLOCK, 2 * held)
        self.incarnations = _grown(self.incarnations, (size,))
        self._generations = _grown(self._generations, (size,))
        self._allocatable = _grown(self._allocatable, (size, width - HEAD))
        self._used = _grown(self._used, (size, width - HEAD))
        self.columns = self._grown_columns(size, width, is_first=held == 0)

    def _grown_columns(self, size: int, width: int, *, is_first: bool) -> Nodes:
        base = np.empty((2, size), np.int32)
        ties = self._ties
        key_bases(0, ties.partition, ties.partitions, ties.column, base)
        old = _no_columns() if is_first else self.columns
        return Nodes(
            free=_grown(old.free, (width - HEAD, size)),
            rows=_grown(old.rows, (size, width)),
            capacity=_grown(old.capacity, (2, size)),
            inverse=_grown(old.inverse, (2, size)),
            assumed=_grown(old.assumed, (size, width - HEAD)),
            base=base,
            ties=ties.column,
        )

    def _assumed(self) -> tuple[Rows, Rows]:
        """Nodes and classes of planned rows that the watermark has not covered."""
        at = np.arange(self._covered, self.next_row) & (len(self._ring_node) - 1)
        return self._ring_node[at].astype(np.int64), self._ring_klass[at].astype(np.int64)

    def _grow_ring(self, rows: int) -> None:
        size = len(self._ring_node)
        while size < rows:
            size *= 2
        live = np.arange(self._covered, self.next_row)
        old = live & (len(self._ring_node) - 1)
        node, klass = np.zeros(size, np.int32), np.zeros(size, np.int32)
        node[live & (size - 1)] = self._ring_node[old]
        klass[live & (size - 1)] = self._ring_klass[old]
        self._ring_node, self._ring_klass = node, klass


def _no_columns() -> Nodes:
    """Arrays of no nodes, to grow from."""
    flat, pair = np.zeros((0, 0), np.int64), np.zeros((2, 0))
    return Nodes(flat, flat, pair, pair, flat, np.zeros((2, 0), np.int32), flat[:0])


def _grown(old: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A copy in the corner of a larger array of zeros."""
    new = np.zeros(shape, old.dtype)
    new[tuple(slice(0, length) for length in old.shape)] = old
    return new
