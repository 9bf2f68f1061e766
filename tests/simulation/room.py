"""The auditor's own, dumb idea of what fits where: plain dictionaries, one node at a time.

It shares nothing with `cell.fit`. It knows the rules the simulated load uses: amounts, pod slots,
selectors, affinity with In, NotIn, Exists and DoesNotExist, taints, cordon, pins and one port of
the host, which is an amount to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from cell.classes import ClassSpec
from cell.node import NodeSpec
from cell.requirements import Requirement
from cell.unit import GroupSpec

Amounts = dict[str, int]
PORT = "port"
PORT_NUMBER = 80
"""The one port of the host that the simulated load knows."""


def demand_of(klass: ClassSpec) -> Amounts:
    """What one replica takes, its pod slot and its ports of the host included."""
    ports = klass.between.ports if klass.between else ()
    return {**dict(klass.demand), "pods": 1, **{f"{PORT} {each.number}": 1 for each in ports}}


def allocatable_of(node: NodeSpec) -> Amounts:
    """What a node offers: of each port one."""
    return {"pods": 110, f"{PORT} {PORT_NUMBER}": 1, **dict(node.allocatable)}


def without_ports(amounts: Amounts) -> Amounts:
    """What tables of amounts show."""
    return {name: amount for name, amount in amounts.items() if not name.startswith(PORT)}


def has_room(free: Amounts, demand: Amounts) -> bool:
    """Whether one more replica fits the amounts."""
    return all(free.get(name, 0) >= amount for name, amount in demand.items())


def is_allowed(node: NodeSpec, klass: ClassSpec, pin: str) -> bool:
    """Whether the rules other than amounts let the class on the node."""
    labels = {"kubernetes.io/hostname": node.name, **dict(node.labels)}
    cordon = ("node.kubernetes.io/unschedulable", "", "NoSchedule")
    return (
        (not node.unschedulable or _is_tolerated(*cordon, klass))
        and pin in ("", node.name)
        and all(labels.get(key) == value for key, value in klass.selector)
        and _is_affine(labels, klass)
        and all(_is_tolerated(taint.key, taint.value, taint.effect, klass) for taint in node.taints)
    )


def _is_affine(labels: dict[str, str], klass: ClassSpec) -> bool:
    if klass.affinity is None:
        return True
    return any(
        bool(term.labels) and all(_is_met(labels, r) for r in term.labels)
        for term in klass.affinity
    )


def _is_met(labels: dict[str, str], requirement: Requirement) -> bool:
    value = labels.get(requirement.key)
    match str(requirement.operator):
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise NotImplementedError(requirement.operator)


def _is_tolerated(key: str, value: str, effect: str, klass: ClassSpec) -> bool:
    if effect == "PreferNoSchedule":
        return True
    return any(
        t.effect in ("", effect)
        and t.key in ("", key)
        and (t.operator == "Exists" or t.value == value)
        for t in klass.tolerations
    )


def slots(
    nodes: Iterable[NodeSpec], free: dict[str, Amounts], klass: ClassSpec, pin: str, limit: int
) -> int:
    """How many replicas of one class find room, up to `limit`."""
    demand = demand_of(klass)
    count = 0
    for node in nodes:
        if is_allowed(node, klass, pin):
            left = free[node.name]
            count += min(max(left.get(name, 0), 0) // amount for name, amount in demand.items())
        if count >= limit:
            return limit
    return count


def surely_fits(
    nodes: Iterable[NodeSpec], free: dict[str, Amounts], groups: list[tuple[GroupSpec, int]]
) -> bool:
    """Whether any placement order finds room for (group, replicas still needed).

    Of one class: whether there are as many slots. Of several: whether more nodes could take the
    whole gang than it has replicas, because then no choice on the way can spoil it.
    """
    groups = [(group, count) for group, count in groups if count > 0]
    if len({(g.klass, g.pin) for g, _ in groups}) == 1:
        group, total = groups[0][0], sum(count for _, count in groups)
        return slots(nodes, free, group.klass, group.pin, total) >= total
    whole: Amounts = {}
    for group, count in groups:
        for name, amount in demand_of(group.klass).items():
            whole[name] = whole.get(name, 0) + amount * count
    able = [
        node
        for node in nodes
        if has_room(free[node.name], whole)
        and all(is_allowed(node, g.klass, g.pin) for g, _ in groups)
    ]
    return len(able) > sum(count for _, count in groups)
