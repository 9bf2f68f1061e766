"""The active set: what is to be tried next, in order of priority, then age, then id.

A lane holds the units of one priority and one route (the profiles they need), so units that no free
scheduler can take never stand in the way of others.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from sortedcontainers import SortedDict

from dispatcher.columns import I64s
from dispatcher.table import Units
from dispatcher.waiting.queue import AgeQueue


class Active:
    """Lanes by priority, highest first."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._lanes: SortedDict = SortedDict()
        """Negative priority → route → lane."""

    def put(self, handles: I64s) -> None:
        """Add units whose tickets are set."""
        units = self._units
        priority = units.priority[handles].astype(np.int64)
        route = units.route[handles]
        if (priority == priority[0]).all() and (route == route[0]).all():
            self._lane(int(priority[0]), int(route[0])).put(units, handles)
            return
        both, position = np.unique((priority << 32) + route, return_inverse=True)
        for i, key in enumerate(both.tolist()):
            lane = self._lane(key >> 32, key & 0xFFFFFFFF)
            lane.put(units, handles[position == i])

    def first(self, count: int, routes: Collection[int]) -> I64s:
        """The first `count` units of these routes in order; they stay in the set."""
        parts: list[I64s] = []
        found = 0
        empty: list[tuple[int, int]] = []
        for key, lanes in self._lanes.items():
            if found >= count:
                break
            heads = []
            for route in sorted(lanes):
                if route in routes:
                    heads.append(lanes[route].first(self._units, count - found))
                    if not len(heads[-1]):
                        empty.append((key, route))
            if not heads:
                continue
            part = heads[0] if len(heads) == 1 else np.concatenate(heads)
            if len(heads) > 1:
                part = part[np.argsort(self._units.age[part])][: count - found]
            parts.append(part)
            found += len(part)
        self._drop(empty)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def routes(self) -> list[int]:
        """Routes that some lane has."""
        return sorted({route for lanes in self._lanes.values() for route in lanes})

    def _lane(self, priority: int, route: int) -> AgeQueue:
        lanes = self._lanes.setdefault(-priority, {})
        if route not in lanes:
            lanes[route] = AgeQueue()
        lane: AgeQueue = lanes[route]
        return lane

    def _drop(self, empty: list[tuple[int, int]]) -> None:
        for key, route in empty:
            del self._lanes[key][route]
            if not self._lanes[key]:
                del self._lanes[key]
