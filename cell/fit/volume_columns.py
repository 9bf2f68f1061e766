"""Columns of volumes, for `CountColumns`: what nodes can attach, and what classes use of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.between import Claim
from cell.fit.counting import Seats
from cell.fit.labels import ABSENT
from cell.fit.spans import Spans
from cell.fit.static import StaticNodes
from cell.node import ATTACH_PREFIX

SEATS_SPARE = 1 << 16
"""Volumes that nodes may attach before the table of them is made anew."""


class VolumeColumns:
    """See the module; `fields` is what `Counts` has of it."""

    def __init__(self, statics: StaticNodes, seats: int) -> None:
        self._statics = statics
        self._drivers: dict[str, tuple[int, int]] = {}
        """Counter and row of limits."""
        self._volumes: dict[tuple[str, str], int] = {}
        self._uses = Spans(np.int32, np.int64)
        self._wanted = np.zeros(0, np.int64)
        self._filled = 0
        self._limits = np.zeros((0, len(statics.names)), np.int64)
        self._seats = _seats(1 << (4 * seats + SEATS_SPARE).bit_length() if seats else 1)

    def add(self, driver: str, counter: int) -> int:
        """A driver that is counted from now on; returns its row of limits."""
        row = len(self._drivers)
        self._drivers[driver] = counter, row
        whole = np.arange(len(self._statics.names))
        self._limits = np.concatenate([self._limits, self._limits_of(driver, whole)[None, :]])
        if len(self._seats.key) == 1:
            self._seats = _seats(4 * SEATS_SPARE)
        return row

    def put_uses(self, klass: int, claims: Iterable[Claim]) -> None:
        """The class's volumes, as far as their drivers are counted."""
        used = {
            (self._drivers[each.driver][0], self._number(each.driver, each.name))
            for each in claims
            if each.driver in self._drivers
        }
        self._uses.put(klass, sorted(used))

    def want(self, driver: str, volumes: tuple[str, ...]) -> tuple[int, int]:
        """Where these of a driver stand among what checks want: first, and behind the last."""
        first, end = self._filled, self._filled + len(volumes)
        if end > len(self._wanted):
            grown = np.zeros(2 * end, np.int64)
            grown[:first] = self._wanted[:first]
            self._wanted = grown
        self._wanted[first:end] = [self._number(driver, each) for each in volumes]
        self._filled = end
        return first, end

    def map_nodes(self, nodes: NDArray[np.int64]) -> None:
        """Nodes changed: what can they attach now?"""
        for driver, (_, row) in self._drivers.items():
            self._limits[row, nodes] = self._limits_of(driver, nodes)

    @property
    def is_crowded(self) -> bool:
        """Whether more volumes were attached than were expected."""
        return 2 * int(self._seats.filled[0]) > len(self._seats.key) > 1

    @property
    def fields(self) -> dict[str, Any]:
        """See the class."""
        counter, volume = self._uses.columns
        return {
            "wanted": self._wanted,
            "limits": self._limits,
            "use_at": self._uses.at,
            "use_count": self._uses.count,
            "use_counter": counter,
            "use_volume": volume,
            "seats": self._seats,
        }

    def _number(self, driver: str, claim: str) -> int:
        return self._volumes.setdefault((driver, claim), len(self._volumes))

    def _limits_of(self, driver: str, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the nodes' labels say of how many volumes of the driver they can attach."""
        strings = self._statics.strings
        column = self._statics.labels.column(strings.intern(f"{ATTACH_PREFIX}{driver}"))[nodes]
        values, inverse = np.unique(column, return_inverse=True)
        texts = ["-1" if value == ABSENT else strings.texts[value] for value in values]
        return np.array([int(each) for each in texts], np.int64)[inverse]


def _seats(size: int) -> Seats:
    return Seats(np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(1, np.int64))
