"""Classes under a sender's numbers: the server normalises, a bad one refuses the items that use it.

One `ClassNumbers` per Submit stream or Amend request. What must hold: a number means one class as
long as the table lives; a number given to a second one means nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cell.classes import ALTERNATIVES_MAX, ClassSpec, NodeWish, Toleration, normalise
from cell.reasons import Refusal, Status
from cell.requirements import LABEL_BYTES_MAX, BadSpec, Term, check_count
from godel.v1 import types_pb2
from runtime.grpc_status import Exhausted
from runtime.wire_between import between_of
from runtime.wire_requirements import term_of


class TooManyClasses(Exhausted):
    """The sender gave more classes than one stream may have."""


class ClassNumbers:
    """number → class, or why there is none. A refusal's field is the path within the class."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._specs: dict[int, ClassSpec] = {}
        self._refusals: dict[int, Refusal] = {}

    def add(self, entries: Sequence[types_pb2.ClassEntry]) -> None:
        """Take the sender's classes. Raises TooManyClasses."""
        if len(entries) > self._limit:
            raise TooManyClasses(f"{len(entries)} classes in one message, limit {self._limit}")
        for entry in entries:
            number = entry.number
            try:
                if not entry.HasField("spec"):
                    raise BadSpec("spec", "is missing")
                self._put(number, class_spec(entry.spec))
            except BadSpec as bad:
                reason = f"{bad.reason} (class {number})"
                self._refuse(number, Refusal(Status.INVALID_ARGUMENT, bad.field, reason))

    def specs(self, numbers: Iterable[int]) -> list[ClassSpec | None]:
        """The class of each number; None: `refusal` says why there is none."""
        return list(map(self._specs.get, numbers))

    def refusal(self, number: int) -> Refusal:
        """Why no item can have the class."""
        unknown = f"no class was sent under the number {number}"
        return self._refusals.get(number) or Refusal(Status.INVALID_ARGUMENT, "", unknown)

    def _put(self, number: int, spec: ClassSpec) -> None:
        if number in self._refusals or self._specs.get(number, spec) != spec:
            reason = f"the number {number} was given to two classes"
            self._refuse(number, Refusal(Status.INVALID_ARGUMENT, "", reason))
            return
        self._specs[number] = spec
        self._check_limit()

    def _refuse(self, number: int, refusal: Refusal) -> None:
        self._specs.pop(number, None)
        self._refusals[number] = refusal
        self._check_limit()

    def _check_limit(self) -> None:
        if len(self._specs) + len(self._refusals) > self._limit:
            raise TooManyClasses(f"more than {self._limit} classes")


def class_spec(spec: types_pb2.ClassSpec) -> ClassSpec:
    """The canonical form of a class. Raises BadSpec."""
    if len(spec.profile.encode()) > LABEL_BYTES_MAX:
        raise BadSpec("profile", f"limit {LABEL_BYTES_MAX} bytes")
    check_count("tolerations", len(spec.tolerations))
    check_count("affinity", len(spec.affinity.terms))
    check_count("wishes", len(spec.wishes))
    affinity = None
    if spec.HasField("affinity"):
        affinity = tuple([term_of(f"affinity[{i}]", t) for i, t in enumerate(spec.affinity.terms)])
    return normalise(
        ClassSpec(
            demand=tuple(spec.demand.items()),
            selector=tuple(spec.selector.items()),
            affinity=affinity,
            tolerations=tuple(
                [
                    Toleration(t.key, t.operator or "Equal", t.value, t.effect)
                    for t in spec.tolerations
                ]
            ),
            profile=spec.profile,
            wishes=tuple(
                [
                    NodeWish(w.weight, term_of(f"wishes[{i}].term", w.term))
                    for i, w in enumerate(spec.wishes)
                ]
            ),
            features=tuple(spec.features),
            between=between_of(spec.between) if spec.HasField("between") else None,
            places=tuple([_places(f"places[{i}]", each) for i, each in enumerate(spec.places)]),
            unasked=tuple(spec.unasked.items()),
        )
    )


def _places(field: str, wire: types_pb2.Affinity) -> tuple[Term, ...]:
    check_count(field, len(wire.terms), ALTERNATIVES_MAX)
    return tuple([term_of(f"{field}[{i}]", term) for i, term in enumerate(wire.terms)])
