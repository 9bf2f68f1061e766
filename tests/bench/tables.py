"""A cluster as a scheduler holds it, for the kernels' rows: node tables, classes, placement."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec, normalise
from cell.messages import NodeSpecs, NodeUse, ResidentRows, State
from cell.node import Effect
from scheduler.classes import ClassTable
from scheduler.framework.profiles import load_profiles
from scheduler.kernels.layout import ANYWHERE
from scheduler.placement import Batch, Placement
from scheduler.tables import NodeTables, Resources, Ties

SLOTS = 512
ZONES, POOLS = 10, 4
RESOURCES = ("cpu", "memory", "pods", "storage", "gpu", "nic", "fpga", "license")
ROOM = np.array([64_000, 1 << 38, 250, 1 << 40, 800, 4_000, 400, 9_000], np.int64)
KEYS = ("zone", "pool", "host", "dedicated", "batch")
Residents = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Nodes and classes, a replica each."""


def strings(nodes: int) -> tuple[str, ...]:
    """The stream's dictionary: keys, zones, pools, then the names of nodes."""
    zones = [f"zone-{i}" for i in range(ZONES)]
    pools = [f"pool-{i}" for i in range(POOLS)]
    return (*KEYS, *zones, *pools, *(f"node-{i:06}" for i in range(nodes)))


def specs(rows: NDArray[np.int64], zone: NDArray[np.int64]) -> NodeSpecs:
    """Nodes with a zone, a pool and a name of their own as labels; one in eleven is
    tainted."""
    first_zone, first_pool, first_name = len(KEYS), len(KEYS) + ZONES, len(KEYS) + ZONES + POOLS
    values = np.stack([first_zone + zone, first_pool + rows % POOLS, first_name + rows], 1)
    taints = rows % 11 == 3
    count = int(taints.sum())
    return NodeSpecs(
        node=rows.astype(np.uint32),
        incarnation=np.ones(len(rows), np.uint32),
        flags=np.zeros(len(rows), np.uint8),
        name=(first_name + rows).astype(np.uint32),
        labels=np.full(len(rows), 3, np.uint16),
        taints=taints.astype(np.uint16),
        allocatable=np.tile(ROOM, len(rows)),
        label_key=np.tile(np.arange(3, dtype=np.uint32), len(rows)),
        label_value=values.astype(np.uint32).reshape(-1),
        taint_key=np.full(count, KEYS.index("dedicated"), np.uint32),
        taint_value=np.full(count, KEYS.index("batch"), np.uint32),
        taint_effect=np.full(count, int(Effect.NO_SCHEDULE), np.uint8),
    )


def state(
    nodes: NodeSpecs,
    names: tuple[str, ...] = (),
    resources: tuple[str, ...] = (),
    residents: ResidentRows | None = None,
) -> State:
    """A message of one ordered stream."""
    use = NodeUse.empty()
    held = residents or ResidentRows.empty()
    return State(1, 1, 0, nodes, use, True, resources, names, residents=held)


class Tables:
    """Nodes, classes known beforehand, and a placement over them."""

    def __init__(
        self, nodes: int, classes: Sequence[ClassSpec], residents: Residents | None = None
    ) -> None:
        resources = Resources()
        self.nodes = NodeTables(resources, Ties(0x9E3779B97F4A7C15, 0, 1))
        self.classes = ClassTable(resources, load_profiles({}, {}))
        self.classes.follow(self.nodes.statics, self.nodes.neighbours)
        for each in classes:
            self.classes.intern(normalise(each).encoded())
        rows = np.arange(nodes)
        first = state(specs(rows, rows % ZONES), strings(nodes), RESOURCES)
        self.nodes.apply(first, self.classes.columns)
        if residents is not None:
            self._reside(*residents)
        self.placement = Placement(self.nodes, self.classes, SLOTS)

    def _reside(self, nodes: NDArray[np.int64], klasses: NDArray[np.int64]) -> None:
        pairs, counts = np.unique(klasses << 32 | nodes, return_counts=True)
        rows = ResidentRows(
            node=(pairs & 0xFFFFFFFF).astype(np.uint32),
            klass=(pairs >> 32).astype(np.uint32),
            count=counts.astype(np.uint32),
            leaving=np.zeros(len(pairs), np.uint32),
        )
        told = state(NodeSpecs.empty(), residents=rows)
        self.nodes.apply(told, self.classes.columns, rows.klass.astype(np.int32))

    def place(self, batch: Batch) -> tuple[int, int, float]:
        """Place a whole batch as the core does; returns units refused, replicas placed, and the
        seconds that placing took."""
        unit = made = refused = 0
        seconds = 0.0
        while unit < len(batch.total):
            begin = time.perf_counter()
            placed = self.placement.place(batch, unit, 800, 1 << 40)
            seconds += time.perf_counter() - begin
            refused += int((placed.out.short[unit : placed.unit] >= 0).sum())
            made += len(placed.out.row)
            unit = placed.unit
            klass = batch.klass[placed.out.row]
            self.nodes.assume(placed.out.node.view(np.uint32), klass.view(np.uint32))
        return refused, made, seconds

    def move(self, node: int, zone: int) -> float:
        """The node says that it is in another zone; returns the seconds it took to follow."""
        told = state(specs(np.array([node]), np.array([zone])))
        begin = time.perf_counter()
        self.nodes.apply(told, self.classes.columns)
        return time.perf_counter() - begin


def batch(klasses: NDArray[np.int64], replicas: int = 1) -> Batch:
    """A unit per entry: gangs of so many replicas."""
    count = len(klasses)
    want = np.full(count, replicas, np.int64)
    return Batch(
        start=np.arange(count + 1),
        total=want,
        klass=klasses.astype(np.int32),
        pin=np.full(count, ANYWHERE, np.int32),
        want=want,
        min=want,
    )
