"""Node tables: specs as registered, what they offer, and what of it is free.

Owned by the ledger. A name keeps its number for the binder's life; removed and registered again it
is a new incarnation. Strings and resources are numbered once for all streams.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from binder.kernels.layout import NONE, Nodes, copy_corner
from binder.records import NodeEntry
from cell.fit.static import StaticNodes
from cell.messages import NodeFlag, NodeSpecs, NodeUse
from cell.node import EFFECTS, NODE_RESOURCES_MAX, NodeSpec

_EMPTY = np.empty(0, np.uint32)
MOVES_MAX = 8192
"""Replicas that come and go before it is looked at who is where; after more all are counted."""


class NodeTable:
    """See the module. `columns` is what kernels read; arrays are longer than `count`."""

    def __init__(self) -> None:
        self.specs: list[NodeSpec] = []
        self.by_name: dict[str, int] = {}
        self.statics = StaticNodes()
        self.resources: list[str] = []
        self.numbers: dict[str, int] = {}
        self.names: NDArray[np.object_] = np.full(64, "", object)
        self.columns = _columns(64, 8)
        self.allocatable: NDArray[np.int64] = np.zeros((64, 8), np.int64)
        self.spec_generation: NDArray[np.uint64] = np.zeros(64, np.uint64)
        """[node]: when the spec, and not only the use, changed last."""
        self._labels: list[tuple[NDArray[np.uint32], NDArray[np.uint32]]] = []
        self._taints: list[tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint8]]] = []

    @property
    def count(self) -> int:
        """Nodes known, removed ones included."""
        return len(self.specs)

    @property
    def strings(self) -> list[str]:
        """The dictionary of strings, by number."""
        return self.statics.strings.texts

    def used(self) -> NDArray[np.int64]:
        """[node, resource] over the known nodes and resources."""
        known = slice(self.count), slice(len(self.resources))
        taken: NDArray[np.int64] = self.allocatable[known] - self.columns.free[known]
        return taken

    def new_resources(self, spec: NodeSpec) -> list[str]:
        """Resources of the spec that no node has had."""
        return [name for name, _ in spec.allocatable if name not in self.numbers]

    def put(self, entries: Iterable[NodeEntry], generation: int) -> bool:
        """Take nodes as they are from now on; returns whether resources were added."""
        entries = tuple(entries)
        if not entries:
            return False
        names = [name for entry in entries for name in self.new_resources(entry.spec)]
        is_wider = self.learn(names)
        self._reserve(max(entry.node for entry in entries) + 1)
        for entry in entries:
            self._put(entry, generation)
        rows = np.array(list(dict.fromkeys(entry.node for entry in entries)), np.int64)
        ids = np.arange(len(self.strings), dtype=np.int32)
        self.statics.put(self.specs_table(rows), ids)
        return is_wider

    def learn(self, names: Iterable[str]) -> bool:
        """Number resources that are new, up to the limit; returns whether there were any."""
        before = len(self.resources)
        for name in names:
            if name not in self.numbers and len(self.resources) < NODE_RESOURCES_MAX:
                self.numbers[name] = len(self.resources)
                self.resources.append(name)
        self._reserve(self.count)
        return len(self.resources) > before

    def specs_table(self, rows: NDArray[np.int64]) -> NodeSpecs:
        """Specs of these nodes for a stream, over all resources and strings so far."""
        nodes = rows.tolist()
        labels = [self._labels[node] for node in nodes]
        taints = [self._taints[node] for node in nodes]
        flags = [
            NodeFlag.UNSCHEDULABLE * self.specs[node].unschedulable
            | NodeFlag.REMOVED * (not self.columns.present[node])
            for node in nodes
        ]
        return NodeSpecs(
            node=rows.astype(np.uint32),
            incarnation=self.columns.incarnation[rows],
            flags=np.array(flags, np.uint8),
            name=self.statics.strings.intern_all(self.specs[n].name for n in nodes).astype("<u4"),
            labels=np.array([len(keys) for keys, _ in labels], np.uint16),
            taints=np.array([len(keys) for keys, _, _ in taints], np.uint16),
            allocatable=self.allocatable[rows, : len(self.resources)].reshape(-1),
            label_key=np.concatenate([_EMPTY, *(keys for keys, _ in labels)]),
            label_value=np.concatenate([_EMPTY, *(values for _, values in labels)]),
            taint_key=np.concatenate([_EMPTY, *(keys for keys, _, _ in taints)]),
            taint_value=np.concatenate([_EMPTY, *(values for _, values, _ in taints)]),
            taint_effect=np.concatenate(
                [np.empty(0, np.uint8), *(effects for _, _, effects in taints)]
            ),
        )

    def use_table(self, rows: NDArray[np.int64]) -> NodeUse:
        """What is used of these nodes, over all resources so far."""
        width = len(self.resources)
        used = self.allocatable[rows, :width] - self.columns.free[rows, :width]
        return NodeUse(
            node=rows.astype(np.uint32),
            generation=self.columns.generation[rows],
            used=used.reshape(-1),
        )

    def _put(self, entry: NodeEntry, generation: int) -> None:
        node, spec = entry.node, entry.spec
        while len(self.specs) <= node:
            self.specs.append(NodeSpec(""))
            self._labels.append((_EMPTY, _EMPTY))
            self._taints.append((_EMPTY, _EMPTY, np.empty(0, np.uint8)))
        self.specs[node] = spec
        self.by_name[spec.name] = node
        self.names[node] = spec.name
        intern = self.statics.strings.intern
        labels = () if entry.is_removed else spec.labels
        taints = () if entry.is_removed else spec.taints
        self._labels[node] = (
            np.array([intern(key) for key, _ in labels], np.uint32),
            np.array([intern(value) for _, value in labels], np.uint32),
        )
        self._taints[node] = (
            np.array([intern(taint.key) for taint in taints], np.uint32),
            np.array([intern(taint.value) for taint in taints], np.uint32),
            np.array([EFFECTS[taint.effect] for taint in taints], np.uint8),
        )
        intern(spec.name)
        self._offer(node, () if entry.is_removed else spec.allocatable)
        self.columns.incarnation[node] = entry.incarnation
        self.columns.present[node] = not entry.is_removed
        self.columns.generation[node] = self.spec_generation[node] = generation

    def _offer(self, node: int, allocatable: tuple[tuple[str, int], ...]) -> None:
        """Replace what the node offers; what is used stays."""
        offered = np.zeros(self.allocatable.shape[1], np.int64)
        for name, amount in allocatable:
            offered[self.numbers[name]] = amount
        self.columns.free[node] += offered - self.allocatable[node]
        self.allocatable[node] = offered

    def _reserve(self, nodes: int) -> None:
        size, width = self.columns.free.shape
        if nodes <= size and len(self.resources) <= width:
            return
        size = size if nodes <= size else max(nodes, 2 * size)
        width = width if len(self.resources) <= width else max(len(self.resources), 2 * width)
        old, self.columns = self.columns, _columns(size, width)
        copy_corner(old, self.columns)
        names, self.names = self.names, np.full(size, "", object)
        self.names[: len(names)] = names
        held = self.allocatable
        self.allocatable = np.zeros((size, width), np.int64)
        self.allocatable[: held.shape[0], : held.shape[1]] = held
        generations = self.spec_generation
        self.spec_generation = np.zeros(size, np.uint64)
        self.spec_generation[: len(generations)] = generations

    def node_of(self, name: str) -> int:
        """Number of the present node of that name, else NONE."""
        node = self.by_name.get(name, NONE)
        return node if node != NONE and self.columns.present[node] else NONE


def _columns(nodes: int, resources: int) -> Nodes:
    return Nodes(
        free=np.zeros((nodes, resources), np.int64),
        incarnation=np.zeros(nodes, np.uint32),
        present=np.zeros(nodes, np.bool_),
        generation=np.zeros(nodes, np.uint64),
        moves=np.zeros((MOVES_MAX, 4), np.int64),
        moved=np.zeros(1, np.int64),
    )
