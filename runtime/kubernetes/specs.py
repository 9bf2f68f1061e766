"""Specs of PlacementRequests: a unit in the fields of the API, those of its classes under `class`.

Written when a client has submitted a unit, read by `own_kinds` like any other manifest. What must
hold: what is read is what was written.
"""

from __future__ import annotations

from typing import Any

from cell.classes import ClassSpec
from cell.requirements import Requirement
from cell.unit import GroupSpec, UnitSpec
from runtime.fields import Fields
from runtime.own_kinds import unit
from runtime.pod_class import ANY_CLUSTER
from runtime.quantities import MILLI_RESOURCES

Document = dict[str, Any]


def spec_of(made: UnitSpec) -> Document:
    """The spec that says a unit."""
    groups = [_group(group) for group in made.groups]
    return {"key": made.key, "priority": made.priority, "groups": groups}


def unit_of(key: str, spec: Document) -> UnitSpec:
    """The unit that a spec says, under a key. Raises BadManifest."""
    groups = [
        {**{name: value for name, value in group.items() if name != "class"}, **group["class"]}
        for group in spec.get("groups") or []
    ]
    fields = {name: value for name, value in spec.items() if name != "key"}
    return unit(key, Fields({**fields, "groups": groups}, "spec"), ANY_CLUSTER)


def _group(group: GroupSpec) -> Document:
    made: Document = {"count": group.count, "min": group.min, "class": _class(group.klass)}
    if group.role:
        made["role"] = group.role
    if group.pin:
        made["pin"] = group.pin
    return made


def _class(klass: ClassSpec) -> Document:
    made: Document = {
        "demand": {name: _quantity(name, amount) for name, amount in klass.demand},
        "unasked": {name: _quantity(name, amount) for name, amount in klass.unasked},
        "selector": dict(klass.selector),
        "tolerations": [
            {"key": t.key, "operator": t.operator, "value": t.value, "effect": t.effect}
            for t in klass.tolerations
        ],
        "profile": klass.profile,
    }
    if klass.affinity is not None:
        made["affinity"] = [
            {"labels": _requirements(term.labels), "fields": _requirements(term.fields)}
            for term in klass.affinity
        ]
    return made


def _requirements(found: tuple[Requirement, ...]) -> list[Document]:
    return [{"key": r.key, "operator": str(r.operator), "values": list(r.values)} for r in found]


def _quantity(resource: str, amount: int) -> str:
    return f"{amount}m" if resource in MILLI_RESOURCES else str(amount)
