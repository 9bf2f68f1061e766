"""Routes: which profiles a unit needs. Schedulers that run them all can take it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dispatcher.columns import I64s, offsets
from dispatcher.dictionary import Classes


class Routes:
    """Sets of profiles under numbers; most units need one profile."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._numbers: dict[frozenset[str], int] = {}
        self.profiles: list[frozenset[str]] = []

    def of(self, klass: NDArray[Any], counts: I64s) -> NDArray[np.int32]:
        """Route per unit with `counts` consecutive groups of these classes."""
        known = self._classes.routes
        routes = known[klass]
        if len(routes) and routes.min() < 0:
            for number in np.unique(klass).tolist():
                known[number] = self._number(frozenset((self._classes.profiles[number],)))
            routes = known[klass]
        if len(routes) == len(counts):
            return np.asarray(routes, np.int32)
        first = offsets(counts)
        made: NDArray[np.int32] = routes[first]
        if (routes == np.repeat(made, counts)).all():
            return made
        for unit in range(len(counts)):
            rows = slice(int(first[unit]), int(first[unit] + counts[unit]))
            needs = frozenset(self._classes.profiles[k] for k in klass[rows].tolist())
            made[unit] = self._number(needs)
        return made

    def _number(self, profiles: frozenset[str]) -> int:
        number = self._numbers.setdefault(profiles, len(self.profiles))
        if number == len(self.profiles):
            self.profiles.append(profiles)
        return number
