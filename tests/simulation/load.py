"""What a history is about: the cluster, the classes and the units, all drawn from the seed.

Small numbers, so that everything meets: few nodes, few classes, units that together ask for about
as much as there is, and often for more.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from cell.between import Between, HostPort
from cell.classes import ClassSpec, Toleration, normalise
from cell.node import NodeSpec, Taint
from cell.requirements import Operator, Requirement, Term
from cell.unit import GroupSpec, UnitSpec
from tests.simulation.room import PORT_NUMBER
from tests.simulation.world import World

GIB = 1 << 30
PORT_SEEDS = 4
"""One history in so many has replicas that want a port of the host."""
ZONES = ("east", "west", "south")
DEDICATED = "dedicated"


@dataclass(frozen=True)
class Mix:
    """How a history is loaded. Ratios are shares of units."""

    nodes: int
    demand_ratio: float
    """What is asked for in the whole history, as a share of the cluster's cpu."""
    gang_ratio: float
    pinned_ratio: float
    joined_ratio: float
    job_ratio: float
    """Units whose replicas end by themselves."""
    fail_ratio: float
    """Replicas that fail."""
    cancel_ratio: float
    amend_ratio: float
    again_ratio: float
    """Units that are submitted once more."""
    priorities: int
    rollingsets: int


def drawn_mix(world: World) -> Mix:
    """The load of this seed."""
    luck = world.random
    return Mix(
        nodes=luck.choice((3, 4, 6, 8)),
        demand_ratio=luck.choice((0.5, 0.9, 1.1, 1.4, 2.0)),
        gang_ratio=luck.choice((0.1, 0.3, 0.6)),
        pinned_ratio=luck.choice((0.0, 0.05, 0.2)),
        joined_ratio=luck.choice((0.0, 0.05, 0.15)),
        job_ratio=luck.choice((0.2, 0.5, 0.8)),
        fail_ratio=luck.choice((0.0, 0.05, 0.2)),
        cancel_ratio=luck.choice((0.05, 0.15, 0.3)),
        amend_ratio=luck.choice((0.05, 0.15, 0.3)),
        again_ratio=luck.choice((0.05, 0.2)),
        priorities=luck.choice((1, 3)),
        rollingsets=luck.choice((0, 1, 1, 2)),
    )


def a_node(world: World, name: str) -> NodeSpec:
    """A node of some shape."""
    luck = world.random
    amounts = {"cpu": luck.choice((4, 8, 8, 16)) * 1000, "memory": luck.choice((16, 32)) * GIB}
    if luck.random() < 0.3:
        amounts["gpu"] = luck.choice((2, 4)) * 1000
    if luck.random() < 0.3:
        amounts["pods"] = luck.choice((4, 8))
    labels = {"zone": luck.choice(ZONES)}
    if luck.random() < 0.4:
        labels["disk"] = "ssd"
    taints: list[Taint] = []
    if luck.random() < 0.15:
        taints.append(Taint(DEDICATED, luck.choice(ZONES), "NoSchedule"))
    if luck.random() < 0.1:
        taints.append(Taint("spot", "", luck.choice(("PreferNoSchedule", "NoExecute"))))
    return NodeSpec(
        name, tuple(sorted(amounts.items())), tuple(sorted(labels.items())), tuple(taints)
    )


def drawn_classes(world: World) -> list[ClassSpec]:
    """The classes of this seed: amounts and rules of every kind the auditor knows."""
    luck = world.random
    zone = luck.choice(ZONES)
    rules = [
        ClassSpec(selector=(("zone", zone),)),
        ClassSpec(affinity=(_term("zone", Operator.IN, *luck.sample(ZONES, 2)),)),
        ClassSpec(affinity=(_term("zone", Operator.NOT_IN, zone),)),
        ClassSpec(affinity=(_term("disk", Operator.EXISTS), _term("zone", Operator.IN, "west"))),
        ClassSpec(affinity=(_term("disk", Operator.DOES_NOT_EXIST),)),
        ClassSpec(tolerations=(Toleration(DEDICATED, "Exists"),)),
        ClassSpec(tolerations=(Toleration("", "Exists"),)),
        ClassSpec(tolerations=(Toleration(DEDICATED, "Equal", zone, "NoSchedule"),)),
        ClassSpec(profile="pack"),
    ]
    ports = Between(ports=(HostPort(PORT_NUMBER),))
    is_porting = world.seed % PORT_SEEDS == 0
    plain = [ClassSpec() for _ in range(luck.choice((2, 3, 5)))]
    chosen = plain + luck.sample(rules, luck.choice((1, 2, 4)))
    chosen += [ClassSpec(between=ports)] * is_porting
    classes = [normalise(msgspec.structs.replace(c, demand=_amounts(world))) for c in chosen]
    return list(dict.fromkeys(classes))


def _amounts(world: World) -> tuple[tuple[str, int], ...]:
    luck = world.random
    amounts = {"cpu": luck.choice((500, 1000, 1000, 2000, 3000))}
    if luck.random() < 0.6:
        amounts["memory"] = luck.choice((1, 2, 4)) * GIB
    if luck.random() < 0.15:
        amounts["gpu"] = luck.choice((500, 1000))
    return tuple(sorted(amounts.items()))


def _term(key: str, operator: Operator, *values: str) -> Term:
    return Term(labels=(Requirement(key, operator, values),))


def a_unit(world: World, mix: Mix, classes: list[ClassSpec], key: str) -> UnitSpec:
    """A single or a gang of some groups; some pinned, some with replicas above the minimum."""
    luck = world.random
    priority = luck.randrange(mix.priorities) * 10
    if luck.random() >= mix.gang_ratio:
        return UnitSpec(key, (GroupSpec(luck.choice(classes), pin=_pin(world, mix)),), priority)
    groups = []
    for i in range(luck.choice((1, 1, 2, 3))):
        count = luck.choice((1, 2, 3, 4, 6))
        least = count if luck.random() < 0.6 else luck.randint(0 if i else 1, count)
        pin = _pin(world, mix) if luck.random() < 0.3 else ""
        groups.append(GroupSpec(luck.choice(classes), f"role{i}", count, least, pin))
    return UnitSpec(key, tuple(groups), priority)


def _pin(world: World, mix: Mix) -> str:
    luck = world.random
    # One name more than there are nodes: a pin to a node that is not there waits.
    return f"n{luck.randrange(mix.nodes + 1)}" if luck.random() < mix.pinned_ratio else ""


def cpu_of(unit: UnitSpec) -> int:
    """What a unit asks for."""
    return sum(dict(group.klass.demand)["cpu"] * group.count for group in unit.groups)
