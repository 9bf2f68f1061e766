"""Rule: the node selector and required node affinity, with Kubernetes' meaning.

Labels live in one pool, consecutive per node; a key that a class reads gets a dense column of value
ids. All rules take `rows` (node indices) and answer per row, so that a repair costs what changed.
NotIn and DoesNotExist match an absent key; Gt and Lt match only decimal int64 values; an empty term
matches nothing.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.fit.strings import Strings
from cell.jit import njit
from cell.requirements import Operator, Requirement, Term, number

ABSENT = -1
"""Value id of a key that the node does not have."""
_FEW = 16
"""Values that are compared one by one."""

Ids = NDArray[np.int32]
Rows = NDArray[np.int64]
Bits = NDArray[np.bool_]


class NeedLabel(msgspec.Struct, frozen=True):
    """A requirement with its strings as ids; `bound` is the number of Gt and Lt."""

    key: int
    operator: Operator
    values: tuple[int, ...]
    bound: int | None = None


class NeedTerm(msgspec.Struct, frozen=True):
    """All must hold; `names` are requirements on the node's name."""

    labels: tuple[NeedLabel, ...]
    names: tuple[NeedLabel, ...]


@njit
def _fill(
    rows: Rows, start: Rows, count: Ids, keys: Ids, values: Ids, key: int, column: Ids
) -> None:
    """column[row] = value id of `key` in the labels of each row, else ABSENT."""
    for row in rows:
        column[row] = -1
        for i in range(start[row], start[row] + count[row]):
            if keys[i] == key:
                column[row] = values[i]
                break


class NodeLabels:
    """Labels of all nodes by index; columns only for the keys that were asked for."""

    def __init__(self) -> None:
        self._start = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int32)
        self._keys = np.zeros(0, np.int32)
        self._values = np.zeros(0, np.int32)
        self._filled = 0
        self._columns: dict[int, Ids] = {}

    def resize(self, nodes: int) -> None:
        """Make room for nodes below `nodes`; new ones have no labels."""
        grown = nodes - len(self._start)
        self._start = np.concatenate([self._start, np.zeros(grown, np.int64)])
        self._count = np.concatenate([self._count, np.zeros(grown, np.int32)])
        for key, column in self._columns.items():
            self._columns[key] = np.concatenate([column, np.full(grown, ABSENT, np.int32)])

    def put(self, rows: Rows, counts: Ids, keys: Ids, values: Ids) -> None:
        """Replace the labels of distinct `rows`: `counts[i]` consecutive (key, value) ids each."""
        added = len(keys)
        if self._filled + added > len(self._keys):
            self._compact(added)
        self._keys[self._filled : self._filled + added] = keys
        self._values[self._filled : self._filled + added] = values
        self._start[rows] = self._filled + np.cumsum(counts, dtype=np.int64) - counts
        self._count[rows] = counts
        self._filled += added
        for key in self._columns:
            self._fill_column(key, rows)

    def column(self, key: int) -> Ids:
        """Value id per node, ABSENT where the node lacks the key; int32 [node]."""
        if key not in self._columns:
            self._columns[key] = np.empty(len(self._start), np.int32)
            self._fill_column(key, np.arange(len(self._start)))
        return self._columns[key]

    def _fill_column(self, key: int, rows: Rows) -> None:
        _fill(rows, self._start, self._count, self._keys, self._values, key, self._columns[key])

    def _compact(self, added: int) -> None:
        """Copy the labels in use to a fresh pool with as much room again."""
        kept = int(self._count.sum())
        size = 2 * max(1024, kept + added)
        start = np.cumsum(self._count, dtype=np.int64) - self._count
        source = np.repeat(self._start - start, self._count) + np.arange(kept)
        keys, values = np.empty(size, np.int32), np.empty(size, np.int32)
        keys[:kept], values[:kept] = self._keys[source], self._values[source]
        self._keys, self._values, self._start, self._filled = keys, values, start, kept


def need_label(requirement: Requirement, strings: Strings) -> NeedLabel:
    """A requirement over ids."""
    is_order = requirement.operator in (Operator.GT, Operator.LT)
    return NeedLabel(
        key=strings.intern(requirement.key),
        operator=requirement.operator,
        values=tuple(strings.intern(value) for value in requirement.values),
        bound=number(requirement.values[0]) if is_order else None,
    )


def need_term(term: Term, strings: Strings) -> NeedTerm:
    """A term over ids."""
    return NeedTerm(
        tuple(need_label(r, strings) for r in term.labels),
        tuple(need_label(r, strings) for r in term.fields),
    )


def selected(labels: NodeLabels, selector: tuple[tuple[int, int], ...], rows: Rows) -> Bits:
    """Whether the nodes have all labels of the selector."""
    held = np.ones(len(rows), np.bool_)
    for key, value in selector:
        held &= labels.column(key)[rows] == value
    return held


def attracted(
    labels: NodeLabels,
    names: Ids,
    strings: Strings,
    terms: tuple[NeedTerm, ...] | None,
    rows: Rows,
) -> Bits:
    """Whether the nodes match one of the affinity's terms; `names` is the name id per node."""
    if terms is None:
        return np.ones(len(rows), np.bool_)
    matched = np.zeros(len(rows), np.bool_)
    for term in terms:
        held = np.full(len(rows), bool(term.labels or term.names), np.bool_)
        for need in term.labels:
            held &= _holds(need, labels.column(need.key)[rows], strings)
        for need in term.names:
            held &= _holds(need, names[rows], strings)
        matched |= held
    return matched


def _holds(need: NeedLabel, column: Ids, strings: Strings) -> Bits:
    match need.operator:
        case Operator.IN:
            return _is_one_of(column, need.values)
        case Operator.NOT_IN:
            return ~_is_one_of(column, need.values)
        case Operator.EXISTS:
            return ~_is_one_of(column, (ABSENT,))
        case Operator.DOES_NOT_EXIST:
            return _is_one_of(column, (ABSENT,))
        case _:
            return _ordered(need, column, strings)


def _is_one_of(column: Ids, values: tuple[int, ...]) -> Bits:
    if len(values) > _FEW:
        return np.isin(column, np.array(values, np.int32))
    found = np.zeros(len(column), np.bool_)
    for value in values:
        found |= column == value
    return found


def _ordered(need: NeedLabel, column: Ids, strings: Strings) -> Bits:
    """Gt and Lt: judged once per distinct value."""
    distinct, inverse = np.unique(column, return_inverse=True)
    judged = np.zeros(len(distinct), np.bool_)
    for i, value in enumerate(distinct.tolist()):
        amount = None if value == ABSENT else number(strings.texts[value])
        if amount is not None and need.bound is not None:
            is_above = need.operator is Operator.GT
            judged[i] = amount > need.bound if is_above else amount < need.bound
    return judged[inverse]
