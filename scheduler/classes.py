"""Classes a scheduler has met: demand as arrays for kernels, static masks, profiles.

Local numbers are dense and never reused; streams number classes themselves and the core maps them.
A demanded resource that no node has is ABSENT, until nodes with it come.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cell.between import NOTHING
from cell.classes import RESOURCES_MAX, UNASKED, ClassSpec, NodeWish, counted, decode, demanded
from cell.fit.neighbours import Neighbours
from cell.fit.static import StaticMask, StaticNodes, StaticRules, rules_of
from cell.messages import ClassDef
from scheduler.framework.profiles import FUSED_COUNT, WISHED_COUNT, Profile
from scheduler.gains import Gains
from scheduler.kernels.layout import ABSENT, Classes, copy_corner
from scheduler.tables import Resources

ENTRIES_MAX = RESOURCES_MAX + 1 + len(UNASKED)
"""A class's resources, the pod slot, and what scores alone count."""
MASKS_MAX = 512
"""Static masks, and gains, that are kept: seven bytes per node in all; beyond it all are computed
again when asked for."""


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
        self._neighbours = Neighbours(self._statics)
        self._rules: dict[int, StaticRules] = {}
        self._masks: dict[StaticRules, StaticMask] = {}
        self._gains: dict[tuple[StaticRules, tuple[NodeWish, ...], str], Gains] = {}
        self.columns = _columns(64)

    def intern(self, encoded: bytes) -> int:
        """The local number of a class by its canonical form."""
        klass = self._numbers.get(encoded)
        if klass is None:
            klass = self._numbers[encoded] = len(self.specs)
            self._add(decode(encoded), encoded)
        return klass

    def follow(self, statics: StaticNodes, neighbours: Neighbours) -> None:
        """A new session's nodes and residents: masks and counters begin anew."""
        self._statics, self._neighbours = statics, neighbours
        self._rules, self._masks, self._gains = {}, {}, {}
        for klass, spec in enumerate(self.specs):
            neighbours.learn(klass, spec)

    def look_around(self, klasses: list[int]) -> None:
        """Make what rules between replicas say right for these classes."""
        neighbours = self._neighbours
        if neighbours.is_needed:
            neighbours.prepare(klasses)
            self.columns.has_checks[klasses] = [neighbours.has_checks(k) for k in klasses]
            has = np.array([neighbours.has_wishes(k) for k in klasses], np.bool_).reshape(-1, 2)
            counts = has & (self.columns.wish_weights[klasses] > 0)
            self.columns.has_wishes[klasses] = counts.any(axis=1)

    def mask(self, klass: int) -> StaticMask:
        """The class's static mask, shared by all classes with the same rules."""
        rules = self._rules.get(klass)
        if rules is None:
            rules = self._rules[klass] = rules_of(self.specs[klass], self._statics.strings)
        mask = self._masks.get(rules)
        if mask is None:
            if len(self._masks) >= MASKS_MAX:
                self._masks.clear()
            mask = self._masks[rules] = StaticMask(self._statics, rules)
        return mask

    def gains(self, klass: int) -> Gains:
        """What nodes the class prefers; shared by all classes that are alike in it."""
        mask, spec, profile = self.mask(klass), self.specs[klass], self.profiles[klass]
        assert profile is not None
        key = (mask.rules, spec.wishes, profile.name)
        gains = self._gains.get(key)
        if gains is None:
            if len(self._gains) >= MASKS_MAX:
                self._gains.clear()
            gains = self._gains[key] = Gains(self._statics, mask, spec, profile.statics)
        return gains

    def resolve(self) -> None:
        """Look again for resources that were absent.

        Keys kept need no repair for it: nodes that have a resource newly are in the change log, and
        others fit no better.
        """
        if self._resources_seen == len(self._resources.names):
            return
        self._resources_seen = len(self._resources.names)
        for klass in self._unresolved:
            self._set_demand(klass)
        self._unresolved = [klass for klass in self._unresolved if self._is_absent(klass)]

    def _add(self, spec: ClassSpec, encoded: bytes) -> None:
        klass = len(self.specs)
        self.specs.append(spec)
        self.encoded.append(encoded)
        self._neighbours.learn(klass, spec)
        if klass == len(self.columns.entries):
            grown = _columns(2 * klass)
            copy_corner(self.columns, grown)
            self.columns = grown
        profile = self._known_profiles.get(spec.profile)
        self.profiles.append(profile)
        self.columns.weights[klass] = profile.weights(spec) if profile else 0
        self.columns.wish_weights[klass] = profile.wish_weights() if profile else 0
        self.columns.is_wishing[klass] = bool(profile) and _is_wishing(spec, self.columns, klass)
        self.columns.is_hooked[klass] = profile is not None and not profile.is_fused
        demand, unasked = dict(spec.demand), dict(spec.unasked)
        self.columns.scored[klass] = [
            *(demand.get(name, 0) for name in UNASKED),
            *(unasked.get(name, 0) for name in UNASKED),
        ]
        self._set_demand(klass)
        if self._is_absent(klass):
            self._unresolved.append(klass)

    def _is_absent(self, klass: int) -> bool:
        """Whether no node had a resource of the class when it was last looked at."""
        count = int(self.columns.entries[klass])
        return bool((self.columns.resource[klass, :count] == ABSENT).any())

    def _set_demand(self, klass: int) -> None:
        demand = demanded(self.specs[klass])
        numbers = self._resources.numbers
        taken = (*demand, *counted(self.specs[klass]))
        self.columns.entries[klass], self.columns.taken[klass] = len(demand), len(taken)
        for j, (name, amount) in enumerate(taken):
            self.columns.resource[klass, j] = numbers.get(name, ABSENT)
            self.columns.amount[klass, j] = amount


class StreamClasses:
    """One stream's class dictionary: its numbers → ours."""

    def __init__(self, classes: ClassTable) -> None:
        self._classes = classes
        self._map = np.empty(0, np.int32)

    def learn(self, entries: tuple[ClassDef, ...]) -> None:
        """Take entries that a message brought."""
        for entry in entries:
            known = len(self._map)
            if entry.index >= known:
                grown = np.full(max(64, 2 * entry.index + 1), -1, np.int32)
                grown[:known] = self._map
                self._map = grown
            self._map[entry.index] = self._classes.intern(entry.encoded)

    def local(self, klass: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Our numbers."""
        ours: NDArray[np.int32] = self._map[klass]
        return ours


def _is_wishing(spec: ClassSpec, columns: Classes, klass: int) -> bool:
    """Whether the class itself has wishes about others that its profile heeds."""
    between = spec.between or NOTHING
    pull, even = (columns.wish_weights[klass] > 0).tolist()
    is_spread = any(not each.is_required for each in between.spread)
    return bool((pull and between.wishes) or (even and is_spread))


def _columns(size: int) -> Classes:
    return Classes(
        entries=np.zeros(size, np.int32),
        taken=np.zeros(size, np.int32),
        resource=np.zeros((size, ENTRIES_MAX), np.int32),
        amount=np.zeros((size, ENTRIES_MAX), np.int64),
        scored=np.zeros((size, 4)),
        weights=np.zeros((size, FUSED_COUNT)),
        is_hooked=np.zeros(size, np.bool_),
        has_checks=np.zeros(size, np.bool_),
        has_wishes=np.zeros(size, np.bool_),
        is_wishing=np.zeros(size, np.bool_),
        wish_weights=np.zeros((size, WISHED_COUNT), np.int64),
    )
