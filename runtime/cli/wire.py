"""Units, rollingsets and nodes of `cell` as messages of the public API."""

from __future__ import annotations

from cell.classes import ClassSpec
from cell.node import NodeSpec
from cell.release import RollingsetSpec
from cell.unit import GroupSpec, UnitSpec
from godel.v1 import cluster_pb2, placement_pb2, release_pb2, types_pb2
from runtime.class_message import class_message


class Classes:
    """Numbers of classes on one stream; `new` are those not yet sent."""

    def __init__(self) -> None:
        self._numbers: dict[ClassSpec, int] = {}
        self.new: list[types_pb2.ClassEntry] = []

    def number(self, spec: ClassSpec) -> int:
        """The number of a class; a class met for the first time is added to `new`."""
        number = self._numbers.get(spec)
        if number is None:
            number = self._numbers[spec] = len(self._numbers)
            self.new.append(types_pb2.ClassEntry(number=number, spec=class_message(spec)))
        return number

    def take_new(self) -> list[types_pb2.ClassEntry]:
        """What has become known since the last call."""
        taken, self.new = self.new, []
        return taken


def unit_message(unit: UnitSpec, classes: Classes) -> placement_pb2.Unit:
    """A unit whose groups refer to `classes`."""
    groups = [_group(group, classes) for group in unit.groups]
    return placement_pb2.Unit(key=unit.key, priority=unit.priority, groups=groups)


def _group(group: GroupSpec, classes: Classes) -> types_pb2.Group:
    return types_pb2.Group(
        role=group.role,
        class_number=classes.number(group.klass),
        count=group.count,
        min=group.min,
        pin=group.pin,
    )


def rollingset_message(rollingset: RollingsetSpec) -> release_pb2.Rollingset:
    """A rollingset."""
    return release_pb2.Rollingset(
        name=rollingset.name,
        rows=rollingset.rows,
        columns=[
            release_pb2.Column(name=each.name, spec=class_message(each.klass), count=each.count)
            for each in rollingset.columns
        ],
        max_unavailable=str(rollingset.max_unavailable),
        max_surge=str(rollingset.max_surge),
        keep=str(rollingset.keep),
        place=types_pb2.Place.Value(f"PLACE_{rollingset.place.name}"),
        is_paused=rollingset.is_paused,
        priority=rollingset.priority,
    )


def node_message(node: NodeSpec) -> cluster_pb2.Node:
    """A node."""
    return cluster_pb2.Node(
        name=node.name,
        allocatable=dict(node.allocatable),
        labels=dict(node.labels),
        taints=[
            cluster_pb2.Taint(key=each.key, value=each.value, effect=each.effect)
            for each in node.taints
        ],
        is_cordoned=node.unschedulable,
    )
