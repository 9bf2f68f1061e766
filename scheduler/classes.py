"""Classes a scheduler has met: demand as arrays for kernels, static masks, profiles.

Local numbers are dense and never reused; streams number classes themselves and the core maps them.
A demanded resource that no node has is ABSENT, until nodes with it come.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cell.classes import POD_SLOT, ClassSpec, decode
from cell.fit.static import StaticMask, StaticNodes, rules_of
from scheduler.framework.profiles import FUSED_COUNT, Profile
from scheduler.kernels.layout import ABSENT, Classes
from scheduler.tables import Resources

ENTRIES_MAX = 17
"""`cell.classes.RESOURCES_MAX` and the pod slot."""


class ClassTable:
    """All classes by local number. `columns` is what kernels read."""

    def __init__(self, resources: Resources, profiles: Mapping[str, Profile]) -> None:
        self.specs: list[ClassSpec] = []
        self.encoded: list[bytes] = []
        self.profiles: list[Profile | None] = []
        self._resources = resources
        self._known_profiles = profiles
        self._numbers: dict[bytes, int] = {}
        self._unresolved: list[int] = []
        self._resources_seen = len(resources.names)
        self._statics = StaticNodes()
        self._masks: dict[int, StaticMask] = {}
        self.columns = _grown(_columns(0), 64)

    def intern(self, encoded: bytes) -> int:
        """The local number of a class by its canonical form."""
        klass = self._numbers.get(encoded)
        if klass is None:
            klass = self._numbers[encoded] = len(self.specs)
            self._add(decode(encoded), encoded)
        return klass

    def follow(self, statics: StaticNodes) -> None:
        """A new session's nodes: masks begin anew."""
        self._statics = statics
        self._masks = {}

    def mask(self, klass: int) -> StaticMask:
        """The class's static mask."""
        mask = self._masks.get(klass)
        if mask is None:
            rules = rules_of(self.specs[klass], self._statics.strings)
            mask = self._masks[klass] = StaticMask(self._statics, rules)
        return mask

    def resolve(self) -> list[int]:
        """Look again for resources that were absent; returns the classes whose demand changed."""
        if self._resources_seen == len(self._resources.names):
            return []
        self._resources_seen = len(self._resources.names)
        known = self._resources.numbers
        resolved = [
            klass
            for klass in self._unresolved
            if any(name in known for name, _ in self._absent(klass))
        ]
        for klass in resolved:
            self._set_demand(klass)
        self._unresolved = [klass for klass in self._unresolved if self._absent(klass)]
        return resolved

    def _add(self, spec: ClassSpec, encoded: bytes) -> None:
        klass = len(self.specs)
        self.specs.append(spec)
        self.encoded.append(encoded)
        if klass == len(self.columns.entries):
            self.columns = _grown(self.columns, 2 * klass)
        profile = self._known_profiles.get(spec.profile)
        self.profiles.append(profile)
        self.columns.weights[klass] = profile.weights() if profile else 0
        demand = dict(spec.demand)
        self.columns.scored[klass] = demand.get("cpu", 0), demand.get("memory", 0)
        self._set_demand(klass)
        if self._absent(klass):
            self._unresolved.append(klass)

    def _absent(self, klass: int) -> list[tuple[str, int]]:
        count = int(self.columns.entries[klass])
        absent = (self.columns.resource[klass, :count] == ABSENT).tolist()
        demand = _with_slot(self.specs[klass])
        return [entry for entry, is_absent in zip(demand, absent, strict=True) if is_absent]

    def _set_demand(self, klass: int) -> None:
        demand = _with_slot(self.specs[klass])
        numbers = self._resources.numbers
        self.columns.entries[klass] = len(demand)
        for j, (name, amount) in enumerate(demand):
            self.columns.resource[klass, j] = numbers.get(name, ABSENT)
            self.columns.amount[klass, j] = amount


def _with_slot(spec: ClassSpec) -> tuple[tuple[str, int], ...]:
    return ((POD_SLOT, 1), *spec.demand)


def _columns(size: int) -> Classes:
    return Classes(
        entries=np.zeros(size, np.int32),
        resource=np.zeros((size, ENTRIES_MAX), np.int32),
        amount=np.zeros((size, ENTRIES_MAX), np.int64),
        scored=np.zeros((size, 2), np.int64),
        weights=np.zeros((size, FUSED_COUNT), np.int64),
    )


def _grown(old: Classes, size: int) -> Classes:
    new = _columns(size)
    for before, after in zip(old, new, strict=True):
        after[: len(before)] = before
    return new
