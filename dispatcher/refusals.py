"""Refused items of one request, by index; the first reason of an item stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.messages import Acks
from cell.reasons import Refusal, Status


class Refusals:
    """See the module."""

    def __init__(self) -> None:
        self._items: dict[int, Refusal] = {}

    def add(self, item: int, status: Status, field: str, reason: str, retry_ms: int = 0) -> None:
        """Refuse an item."""
        self._items.setdefault(item, Refusal(status, field, reason, retry_ms))

    def add_all(self, is_bad: NDArray[np.bool_], status: Status, field: str, reason: str) -> None:
        """Refuse the items of a mask."""
        for item in np.flatnonzero(is_bad).tolist():
            self.add(item, status, field, reason)

    def mask(self, count: int) -> NDArray[np.bool_]:
        """Which of `count` items are refused."""
        is_refused = np.zeros(count, np.bool_)
        is_refused[list(self._items)] = True
        return is_refused

    def acks(self, count: int) -> Acks:
        """The answer: all others are accepted."""
        return Acks(count, tuple(sorted(self._items.items())))
