"""Requirements and terms between `cell.requirements` and the public API's messages."""

from __future__ import annotations

from cell.requirements import BadSpec, Operator, Requirement, Term, check_count
from godel.v1 import types_pb2 as pb

OPERATORS = {
    pb.OPERATOR_IN: Operator.IN,
    pb.OPERATOR_NOT_IN: Operator.NOT_IN,
    pb.OPERATOR_EXISTS: Operator.EXISTS,
    pb.OPERATOR_DOES_NOT_EXIST: Operator.DOES_NOT_EXIST,
    pb.OPERATOR_GT: Operator.GT,
    pb.OPERATOR_LT: Operator.LT,
}
_NUMBERS = {operator: number for number, operator in OPERATORS.items()}


def requirement_of(path: str, wire: pb.Requirement) -> Requirement:
    """The cell's form, to be normalised. Raises BadSpec."""
    operator = OPERATORS.get(wire.operator)
    if operator is None:
        raise BadSpec(f"{path}.operator", f"{wire.operator} is no operator")
    return Requirement(wire.key, operator, tuple(wire.values))


def requirement_message(requirement: Requirement) -> pb.Requirement:
    """The wire form."""
    return pb.Requirement(
        key=requirement.key,
        operator=_NUMBERS[requirement.operator],
        values=requirement.values,
    )


def term_of(path: str, wire: pb.Term) -> Term:
    """The cell's form, to be normalised. Raises BadSpec."""
    check_count(path, len(wire.labels) + len(wire.fields))
    return Term(
        tuple([requirement_of(f"{path}.labels[{j}]", r) for j, r in enumerate(wire.labels)]),
        tuple([requirement_of(f"{path}.fields[{j}]", r) for j, r in enumerate(wire.fields)]),
    )


def term_message(term: Term) -> pb.Term:
    """The wire form."""
    return pb.Term(
        labels=[requirement_message(r) for r in term.labels],
        fields=[requirement_message(r) for r in term.fields],
    )
