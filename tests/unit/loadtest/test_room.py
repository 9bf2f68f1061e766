"""The fit check: who has room for what."""

from dataclasses import dataclass, field

import pytest

from godel.v1 import cluster_pb2, types_pb2
from loadtest.room import Room, is_room, places_in, rooms


def a_room(labels: dict[str, str] | None = None, **free: int) -> Room:
    return Room("n", {"pods": 10, **free}, labels or {})


def a_class(
    selector: dict[str, str] | None = None, models: list[list[str]] | None = None, **demand: int
) -> types_pb2.ClassSpec:
    spec = types_pb2.ClassSpec(demand=demand, selector=selector or {})
    for values in models or []:
        term = spec.affinity.terms.add()
        term.labels.add(key="model", operator=types_pb2.OPERATOR_IN, values=values)
    return spec


NOTHING_MATCHES = a_class()
NOTHING_MATCHES.affinity.SetInParent()


@dataclass(frozen=True)
class Case:
    """A room, a class and how many of it the room takes."""

    want: int
    room: Room = field(default_factory=a_room)
    spec: types_pb2.ClassSpec = field(default_factory=a_class)


CASES = {
    "the scarcest resource decides": Case(2, a_room(cpu=7, gpu=2), a_class(cpu=2, gpu=1)),
    "exactly full fits": Case(1, a_room(cpu=2), a_class(cpu=2)),
    "one short does not": Case(0, a_room(cpu=1), a_class(cpu=2)),
    "an unknown resource is none": Case(0, a_room(cpu=9), a_class(gpu=1)),
    "pod slots count": Case(10, a_room(cpu=99), a_class(cpu=1)),
    "no slot is no room": Case(0, a_room(pods=0), a_class()),
    "room below zero is none": Case(0, a_room(cpu=-3), a_class(cpu=1)),
    "the selector's label is there": Case(10, a_room({"a": "b"}), a_class({"a": "b"})),
    "the selector's label differs": Case(0, a_room({"a": "c"}), a_class({"a": "b"})),
    "one term is enough": Case(10, a_room({"model": "T4"}), a_class(models=[["G2"], ["T4"]])),
    "no term is met": Case(0, a_room({"model": "T4"}), a_class(models=[["G2"]])),
    "without the label no term is met": Case(0, a_room(), a_class(models=[["G2"]])),
    "an affinity without terms matches nothing": Case(0, a_room(), NOTHING_MATCHES),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_places_in_a_room(case: Case) -> None:
    assert places_in(case.room, case.spec) == case.want


def test_a_gang_may_use_the_room_of_several_nodes() -> None:
    nodes = [a_room(cpu=3), a_room(cpu=2), a_room(cpu=1)]

    assert is_room(a_class(cpu=2), 2, nodes)
    assert not is_room(a_class(cpu=2), 3, nodes)


def test_free_room_is_what_is_not_used_on_nodes_that_are_not_cordoned() -> None:
    view = cluster_pb2.NodeView(name="n", allocatable={"cpu": 5, "pods": 3}, used={"cpu": 2})
    cordoned = cluster_pb2.NodeView(name="m", allocatable={"cpu": 5}, is_cordoned=True)

    (room,) = rooms([view, cordoned], {"n": {"a": "b"}})

    assert room == Room("n", {"cpu": 3, "pods": 3}, {"a": "b"})
