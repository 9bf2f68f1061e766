"""Lists of entries by class for kernels: flat columns, and where each class's list begins.

A list that changes is written anew at the end; what it leaves behind goes when the columns grow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Entry = tuple[int, ...]


class Spans:
    """See the module. `columns` has one array per value of an entry, longer than what is used."""

    def __init__(self, *kinds: DTypeLike) -> None:
        self.at = np.zeros(0, np.int32)
        self.count = np.zeros(0, np.int32)
        self.columns: list[NDArray[Any]] = [np.zeros(0, kind) for kind in kinds]
        self._lists: dict[int, list[Entry]] = {}
        self._filled = 0

    def of(self, klass: int) -> list[Entry]:
        """The class's list; not to be changed."""
        return self._lists.get(klass, [])

    def put(self, klass: int, entries: list[Entry]) -> None:
        """The class's list from now on."""
        if not entries and klass not in self._lists:
            return
        self._lists[klass] = entries
        if klass >= len(self.at):
            self.at = np.concatenate([self.at, np.zeros(klass + 1, np.int32)])
            self.count = np.concatenate([self.count, np.zeros(klass + 1, np.int32)])
        if self._filled + len(entries) > len(self.columns[0]):
            self._rewrite()
        else:
            self._write(klass, entries)

    def _rewrite(self) -> None:
        """All lists one behind the other, with as much room again."""
        size = 2 * max(32, sum(map(len, self._lists.values())))
        self.columns = [np.zeros(size, column.dtype) for column in self.columns]
        self._filled = 0
        for klass, entries in self._lists.items():
            self._write(klass, entries)

    def _write(self, klass: int, entries: list[Entry]) -> None:
        end = self._filled + len(entries)
        for column, values in zip(self.columns, zip(*entries, strict=True), strict=False):
            column[self._filled : end] = values
        self.at[klass], self.count[klass] = self._filled, len(entries)
        self._filled = end
