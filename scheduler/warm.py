"""Warm-up: every kernel is compiled, or loaded from its cache, before a scheduler says it is able.

The first call of a kernel loads it (about a second for all), which must not happen while units
wait. A small conversation takes every way through the core that ends in a kernel, with tables as
they come off the wire.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cell.between import Between, HostPort, PodTerm, Spread
from cell.classes import ClassSpec, normalise
from cell.columns import Table
from cell.effects import PeerDown, PeerUp, Received
from cell.link import Hello
from cell.messages import Assign, ClassDef, NodeSpecs, NodeUse, ResidentRows, State
from cell.requirements import Operator, Requirement, Term
from cell.unit import NO_PIN, Assignments
from scheduler.config import PluginConfig, Plugins, SchedulerConfig
from scheduler.core import SchedulerCore
from scheduler.framework.plugin import FilterPlugin, Plugin, View

T = TypeVar("T", bound=Table)
HOOKED_PROFILE = "warm-up"
NODES = 3
BESIDE = Between(
    labels=(("a", "b"),),
    anti_affinity=(PodTerm("zone", (), ("",)),),
    spread=(Spread("zone", 1, ()),),
    ports=(HostPort(80),),
)
RESOURCES = ("cpu", "memory", "pods")
STRINGS = ("a", "b", "c", "zone", "1")


class Nothing(FilterPlugin):
    """Refuses no node: its profile is placed by hooks."""

    name = "nothing"

    def filter(self, view: View, spec: ClassSpec, feasible: NDArray[np.bool_]) -> None:
        """Leave all bits as they are."""


def warm_up() -> None:
    """Compile or load every kernel of a scheduler; returns when all are ready."""
    registry: dict[str, type[Plugin]] = {Nothing.name: Nothing}
    shape = {"shape": [{"utilization": 50, "score": 5}]}
    ratio = PluginConfig(1, shape)
    plugins: Plugins = {Nothing.name: 0, "least": 1, "most": 1, "balanced": 1, "ratio": ratio}
    profiles = {HOOKED_PROFILE: plugins}
    core = SchedulerCore("warm-up", 0, 1, SchedulerConfig(profiles=profiles), registry)
    core.handle(0, PeerUp("binder", Hello(name="binder", role="binder")))
    core.handle(0, PeerUp("dispatcher", Hello(name="dispatcher", role="dispatcher")))
    core.handle(0, Received("binder", State(1, 1, 0, _specs(), _use(), True, RESOURCES, STRINGS)))
    core.handle(0, Received("dispatcher", Assign(1, _units(), _classes(), ("b",))))
    residents = _wired(ResidentRows.of(node=[0], klass=4, count=1, leaving=0))
    told = State(1, 2, 4, NodeSpecs.empty(), _use(), residents=residents, classes=_classes()[4:5])
    core.handle(0, Received("binder", told))
    core.handle(0, PeerDown("binder"))


def _wired(table: T) -> T:
    """The table as it comes off the wire: read-only, which is a type of its own to numba."""
    return type(table).from_bytes(table.to_bytes())


def _specs() -> NodeSpecs:
    count = np.ones(NODES, np.uint16)
    return _wired(
        NodeSpecs(
            node=np.arange(NODES, dtype=np.uint32),
            incarnation=np.ones(NODES, np.uint32),
            flags=np.zeros(NODES, np.uint8),
            name=np.arange(NODES, dtype=np.uint32),
            labels=count,
            taints=0 * count,
            allocatable=np.full(NODES * len(RESOURCES), 8, np.int64),
            label_key=np.full(NODES, 3, np.uint32),
            label_value=np.full(NODES, 4, np.uint32),
            taint_key=np.empty(0, np.uint32),
            taint_value=np.empty(0, np.uint32),
            taint_effect=np.empty(0, np.uint8),
        )
    )


def _use() -> NodeUse:
    return _wired(
        NodeUse(
            node=np.arange(NODES, dtype=np.uint32),
            generation=np.ones(NODES, np.uint64),
            used=np.zeros(NODES * len(RESOURCES), np.int64),
        )
    )


def _classes() -> tuple[ClassDef, ...]:
    zone = Term((Requirement("zone", Operator.GT, ("0",)),))
    specs = (
        ClassSpec(demand=(("cpu", 1), ("memory", 1)), affinity=(zone,)),
        ClassSpec(demand=(("cpu", 1),), profile="pack"),
        ClassSpec(demand=(("cpu", 1),), profile=HOOKED_PROFILE),
        ClassSpec(demand=(("cpu", 100),)),
        ClassSpec(between=BESIDE),
        ClassSpec(profile=HOOKED_PROFILE, between=BESIDE),
    )
    return tuple(ClassDef(i, normalise(spec).encoded()) for i, spec in enumerate(specs))


def _units() -> Assignments:
    """Units that are placed, pinned, elastic, hooked, too large, a gang that is undone, and some
    that read each other."""
    return _wired(
        Assignments.of(
            handle=range(10),
            uid_hi=0,
            uid_lo=range(10),
            revision=1,
            attempt=range(10),
            group=0,
            klass=[0, 1, 1, 2, 3, 2, 4, 4, 5, 5],
            first=0,
            count=[1, 1, 3, 2, 1, 99, 1, 1, 1, 1],
            min=[1, 1, 1, 2, 1, 99, 1, 1, 1, 1],
            priority=0,
            pin=[NO_PIN, 0, NO_PIN, NO_PIN, NO_PIN, NO_PIN, NO_PIN, 0, NO_PIN, 0],
        )
    )
