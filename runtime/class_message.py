"""A class as a message of the public API: the way back of `wire_classes.class_spec`."""

from __future__ import annotations

from cell.classes import ClassSpec
from cell.requirements import Requirement, Term
from godel.v1 import types_pb2
from runtime.wire_classes import OPERATORS

_OPERATORS = {operator: number for number, operator in OPERATORS.items()}


def class_message(spec: ClassSpec) -> types_pb2.ClassSpec:
    """The wire form of a class."""
    made = types_pb2.ClassSpec(
        demand=dict(spec.demand),
        selector=dict(spec.selector),
        tolerations=[
            types_pb2.Toleration(key=t.key, operator=t.operator, value=t.value, effect=t.effect)
            for t in spec.tolerations
        ],
        profile=spec.profile,
    )
    if spec.affinity is not None:
        made.affinity.SetInParent()
        made.affinity.terms.extend([_term(term) for term in spec.affinity])
    return made


def _term(term: Term) -> types_pb2.Term:
    return types_pb2.Term(
        labels=[_requirement(r) for r in term.labels],
        fields=[_requirement(r) for r in term.fields],
    )


def _requirement(requirement: Requirement) -> types_pb2.Requirement:
    return types_pb2.Requirement(
        key=requirement.key,
        operator=_OPERATORS[requirement.operator],
        values=requirement.values,
    )
