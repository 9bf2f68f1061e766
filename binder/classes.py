"""Classes the binder has met: demand as arrays for kernels, and the static rules' answers.

Numbers are dense and the binder's own; sessions number classes themselves and map them. A record
that first names a class defines it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from binder.kernels.layout import NONE, Classes, copy_corner
from cell.between import Between
from cell.classes import (
    RESOURCES_MAX,
    UNASKED,
    ClassSpec,
    counted,
    decode,
    demanded,
    normalise,
)
from cell.fit.neighbours import Neighbours
from cell.fit.static import StaticMask, StaticNodes, rules_of
from cell.messages import ClassDef
from cell.requirements import BadSpec

ENTRIES_MAX = RESOURCES_MAX + 1 + len(UNASKED)
SESSION_CLASSES_MAX = 1 << 20
"""Entries of one session's class dictionary; a larger index is not learnt."""


class ClassTable:
    """All classes by number. `columns` is what kernels read, `numbers` those of resources."""

    def __init__(self, numbers: dict[str, int], neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self.specs: list[ClassSpec] = []
        self.encoded: list[bytes] = []
        self.columns = _columns(64)
        self.is_defined: NDArray[np.bool_] = np.zeros(64, np.bool_)
        """Whether a durable record defines the class."""
        self._resources = numbers
        self._numbers: dict[bytes, int] = {}
        self._unresolved: list[int] = []
        self._said: dict[Between | None, int] = {None: 0}

    def intern(self, encoded: bytes) -> int:
        """The number of a class by its canonical form; NONE when it is none."""
        klass = self._numbers.get(encoded)
        if klass is not None:
            return klass
        try:
            spec = decode(encoded)
            if normalise(spec) != spec:
                return NONE
        except (msgspec.MsgspecError, BadSpec):
            return NONE
        return self._add(spec, encoded)

    def define(self, classes: Iterable[ClassDef]) -> None:
        """Take over a record's definitions."""
        for entry in classes:
            while len(self.specs) < entry.index:
                self._add(ClassSpec(), b"")
            if entry.index == len(self.specs):
                self._add(decode(entry.encoded), entry.encoded)
            elif self.encoded[entry.index] != entry.encoded:
                self._set(entry.index, decode(entry.encoded), entry.encoded)
            self.is_defined[entry.index] = True

    def undefined(self, klasses: NDArray[np.uint32]) -> tuple[ClassDef, ...]:
        """Definitions that a record naming `klasses` must carry."""
        fresh = klasses[~self.is_defined[klasses]]
        if not len(fresh):
            return ()
        return self.definitions(np.unique(fresh).tolist())

    def definitions(self, klasses: list[int]) -> tuple[ClassDef, ...]:
        """Definitions by number."""
        return tuple(ClassDef(klass, self.encoded[klass]) for klass in klasses)

    def resolve(self) -> None:
        """Look again for resources that no node had; called when resources were added."""
        for klass in self._unresolved:
            self._set_demand(klass)
        self._unresolved = [k for k in self._unresolved if self._is_unresolved(k)]

    def _add(self, spec: ClassSpec, encoded: bytes) -> int:
        klass = len(self.specs)
        if klass == len(self.columns.entries):
            old, self.columns = self.columns, _columns(2 * klass)
            copy_corner(old, self.columns)
            self.is_defined = np.concatenate([self.is_defined, np.zeros(klass, np.bool_)])
        self.specs.append(spec)
        self.encoded.append(encoded)
        self._set(klass, spec, encoded)
        return klass

    def _set(self, klass: int, spec: ClassSpec, encoded: bytes) -> None:
        self.specs[klass], self.encoded[klass] = spec, encoded
        if encoded:
            self._numbers[encoded] = klass
        self.columns.is_read[klass] = spec.between is not None
        self.columns.said[klass] = self._said.setdefault(spec.between, len(self._said))
        self._neighbours.learn(klass, spec)
        self._set_demand(klass)
        if self._is_unresolved(klass):
            self._unresolved.append(klass)

    def counted_by(self, classes: Iterable[ClassDef]) -> list[str]:
        """Resources that only scores count, of these definitions."""
        return [name for entry in classes for name, _ in counted(self.specs[entry.index])]

    def _is_unresolved(self, klass: int) -> bool:
        count = int(self.columns.taken[klass])
        return bool(np.any(self.columns.resource[klass, :count] == NONE))

    def _set_demand(self, klass: int) -> None:
        demand = demanded(self.specs[klass])
        taken = (*demand, *counted(self.specs[klass]))
        self.columns.entries[klass], self.columns.taken[klass] = len(demand), len(taken)
        for j, (name, amount) in enumerate(taken):
            self.columns.resource[klass, j] = self._resources.get(name, NONE)
            self.columns.amount[klass, j] = amount


class SessionClasses:
    """One session's class dictionary: its numbers → ours, NONE where nothing valid was sent."""

    def __init__(self, classes: ClassTable) -> None:
        self._classes = classes
        self._map = np.full(64, NONE, np.int32)

    def learn(self, entries: tuple[ClassDef, ...]) -> None:
        """Take entries that a message brought."""
        for entry in entries:
            if not 0 <= entry.index < SESSION_CLASSES_MAX:
                continue
            if entry.index >= len(self._map) - 1:
                grown = np.full(2 * entry.index + 2, NONE, np.int32)
                grown[: len(self._map)] = self._map
                self._map = grown
            self._map[entry.index] = self._classes.intern(entry.encoded)

    def local(self, klass: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Our numbers; the last entry of the map is never learnt and stands for all beyond."""
        ours: NDArray[np.int32] = self._map[np.minimum(klass, len(self._map) - 1)]
        return ours


class Masks:
    """Static answers of the classes used last, one matrix for kernels. `matrix` is [slot, node]."""

    def __init__(self, statics: StaticNodes, classes: ClassTable, limit: int) -> None:
        self.matrix: NDArray[np.bool_] = np.zeros((8, 64), np.bool_)
        self.slot_of: NDArray[np.int32] = np.full(64, NONE, np.int32)
        """[klass]; right for the classes of the last `prepare`."""
        self._statics = statics
        self._classes = classes
        self._limit = limit
        self._slots: dict[int, int] = {}
        self._masks: list[StaticMask] = []
        self._changes: list[int] = []

    def prepare(self, klasses: list[int]) -> None:
        """Make the answers of these classes current."""
        self._limit = max(self._limit, len(klasses))
        self._reserve()
        changes, count = self._statics.changes, self._statics.count
        for klass in klasses:
            slot = self._slots.pop(klass, NONE)
            if slot == NONE:
                slot = self._open_slot(klass)
            self._slots[klass] = slot
            if self._changes[slot] != changes:
                self.matrix[slot, :count] = self._masks[slot].read()
                self._changes[slot] = changes

    def _open_slot(self, klass: int) -> int:
        mask = StaticMask(
            self._statics, rules_of(self._classes.specs[klass], self._statics.strings)
        )
        if len(self._masks) < self._limit:
            slot = len(self._masks)
            self._masks.append(mask)
            self._changes.append(NONE)
            self._reserve()
        else:
            oldest = next(iter(self._slots))
            slot = self._slots.pop(oldest)
            self.slot_of[oldest] = NONE
            self._masks[slot], self._changes[slot] = mask, NONE
        self.slot_of[klass] = slot
        return slot

    def _reserve(self) -> None:
        slots, nodes = self.matrix.shape
        if len(self._masks) > slots or self._statics.count > nodes:
            slots = max(slots, 2 * len(self._masks))
            nodes = max(nodes, 2 * self._statics.count)
            grown = np.zeros((slots, nodes), np.bool_)
            grown[: self.matrix.shape[0], : self.matrix.shape[1]] = self.matrix
            self.matrix = grown
        if len(self._classes.specs) > len(self.slot_of):
            grown_slots = np.full(2 * len(self._classes.specs), NONE, np.int32)
            grown_slots[: len(self.slot_of)] = self.slot_of
            self.slot_of = grown_slots


def _columns(size: int) -> Classes:
    return Classes(
        entries=np.zeros(size, np.int32),
        taken=np.zeros(size, np.int32),
        resource=np.zeros((size, ENTRIES_MAX), np.int32),
        amount=np.zeros((size, ENTRIES_MAX), np.int64),
        is_read=np.zeros(size, np.bool_),
        has_checks=np.zeros(size, np.bool_),
        said=np.zeros(size, np.int32),
    )
