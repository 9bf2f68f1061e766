"""Dictionaries: classes and names under numbers that columns can hold.

A number holds until its entry is swept, which happens only to entries that nothing uses. What was
added since the last record is cut for the next one, so a log defines each number before its use.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec, decode, normalise
from cell.messages import ClassDef
from cell.requirements import BadSpec
from dispatcher.columns import U64s
from dispatcher.records import NameDef

NONE = -1
_ALIASES_MAX = 65_536


class Dictionary:
    """Byte strings or texts under numbers; `hashes` names each in digests."""

    def __init__(self, count_max: int) -> None:
        self.entries: list[Any] = []
        self.hashes: U64s = np.zeros(64, np.uint64)
        self._count_max = count_max
        self._numbers: dict[Any, int] = {}
        self._free: list[int] = []
        self._fresh: list[int] = []

    def number(self, entry: Any) -> int:
        """The number of an entry, given out now if it is new."""
        found = self._numbers.get(entry)
        if found is not None:
            return found
        number = self._free.pop() if self._free else len(self.entries)
        self.define(number, entry)
        self._fresh.append(number)
        return number

    def define(self, number: int, entry: Any) -> None:
        """Take an entry under a given number, in place of what had it."""
        if number >= len(self.hashes):
            self.hashes = np.resize(self.hashes, 2 * number)
        while number >= len(self.entries):
            self.entries.append(None)
        if self.entries[number] is not None:
            self._numbers.pop(self.entries[number], None)
        self.entries[number] = entry
        self._numbers[entry] = number
        raw = entry if isinstance(entry, bytes) else entry.encode()
        digest = hashlib.blake2b(raw, digest_size=8).digest()
        self.hashes[number] = np.frombuffer(digest, "<u8")[0]

    def is_other(self, number: int, entry: Any) -> bool:
        """Whether a number stands for something else than the entry, or for nothing."""
        return number >= len(self.entries) or self.entries[number] != entry

    @property
    def is_sweep_due(self) -> bool:
        """Whether there are more entries than should be kept."""
        return len(self._numbers) > self._count_max

    def sweep(self, is_used: NDArray[np.bool_]) -> list[int]:
        """Drop entries in no use; returns their numbers. The limit grows when all are in use."""
        is_used[self._fresh] = True
        dropped = [n for n in np.flatnonzero(~is_used).tolist() if self.entries[n] is not None]
        for number in dropped:
            del self._numbers[self.entries[number]]
            self.entries[number] = None
        self._free = [n for n in range(len(self.entries) - 1, -1, -1) if self.entries[n] is None]
        self._count_max = max(self._count_max, 2 * len(self._numbers))
        return dropped

    def cut_fresh(self) -> list[int]:
        """Numbers given out since the last cut."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def all(self) -> list[int]:
        """All numbers in use, in order."""
        return sorted(self._numbers.values())


class Names(Dictionary):
    """Names of nodes and roles. The empty name is NONE."""

    def numbers(self, names: tuple[str, ...]) -> NDArray[np.int32]:
        """Numbers of names."""
        return np.array([self.number(n) if n else NONE for n in names], np.int32)

    def text(self, number: int) -> str:
        """The name of a number; NONE and unknown numbers have the empty name."""
        return str(self.entries[number] or "") if 0 <= number < len(self.entries) else ""

    def cut(self) -> tuple[NameDef, ...]:
        """Definitions for the next record."""
        return tuple(NameDef(n, self.entries[n]) for n in self.cut_fresh())

    def whole(self) -> tuple[NameDef, ...]:
        """All definitions."""
        return tuple(NameDef(n, self.entries[n]) for n in self.all())


class Classes(Dictionary):
    """Classes in canonical form, with the profile each needs."""

    def __init__(self, count_max: int) -> None:
        super().__init__(count_max)
        self.profiles: list[str] = []
        self.routes: NDArray[np.int32] = np.full(64, NONE, np.int32)
        """Routes of units of one class, kept by `routes`; NONE until asked for."""
        self._aliases: dict[ClassSpec, int | BadSpec] = {}

    def define(self, number: int, entry: Any) -> None:
        """Take a class in canonical form under a given number."""
        super().define(number, entry)
        while number >= len(self.profiles):
            self.profiles.append("")
        self.profiles[number] = decode(entry).profile
        if number >= len(self.routes):
            grown = np.full(2 * number, NONE, np.int32)
            grown[: len(self.routes)] = self.routes
            self.routes = grown
        self.routes[number] = NONE

    def of(self, spec: ClassSpec) -> int | BadSpec:
        """The number of a class as a client wrote it, or what is wrong with it."""
        found = self._aliases.get(spec)
        if found is None:
            try:
                found = self.number(normalise(spec).encoded())
            except BadSpec as error:
                return error
            if len(self._aliases) >= _ALIASES_MAX:
                self._aliases.clear()
            self._aliases[spec] = found
        return found

    def sweep(self, is_used: NDArray[np.bool_]) -> list[int]:
        """Drop classes in no use; returns their numbers."""
        self._aliases.clear()
        return super().sweep(is_used)

    def cut(self) -> tuple[ClassDef, ...]:
        """Definitions for the next record."""
        return tuple(ClassDef(n, self.entries[n]) for n in self.cut_fresh())

    def whole(self) -> tuple[ClassDef, ...]:
        """All definitions."""
        return tuple(ClassDef(n, self.entries[n]) for n in self.all())
