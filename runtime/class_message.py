"""A class as a message of the public API: the way back of `wire_classes.class_spec`."""

from __future__ import annotations

from cell.classes import ClassSpec
from godel.v1 import types_pb2
from runtime.wire_between import between_message
from runtime.wire_requirements import term_message


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
        wishes=[
            types_pb2.NodeWish(weight=wish.weight, term=term_message(wish.term))
            for wish in spec.wishes
        ],
        features=spec.features,
        unasked=dict(spec.unasked),
        between=None if spec.between is None else between_message(spec.between),
    )
    for terms in spec.places:
        made.places.add().terms.extend([term_message(term) for term in terms])
    if spec.affinity is not None:
        made.affinity.SetInParent()
        made.affinity.terms.extend([term_message(term) for term in spec.affinity])
    return made
