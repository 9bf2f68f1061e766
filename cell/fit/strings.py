"""Strings as small numbers: the node tables of one process share one interner.

A stream numbers its strings itself; who reads one maps them once (`intern_all`) and keeps the map.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class Strings:
    """Strings ↔ ids, dense from 0 on; an id never changes its string."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._ids: dict[str, int] = {}

    def intern(self, text: str) -> int:
        """The id of a string, given at first sight."""
        known = self._ids.setdefault(text, len(self.texts))
        if known == len(self.texts):
            self.texts.append(text)
        return known

    def intern_all(self, texts: Iterable[str]) -> NDArray[np.int32]:
        """Ids of many strings, in order."""
        return np.fromiter((self.intern(text) for text in texts), np.int32)
