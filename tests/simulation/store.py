"""A simulated log on disk: encoded records, of which a prefix is durable.

The node that owns it appends one record at a time. A crash loses the tail that was not durable yet,
or keeps it although nobody was told: both happen. A full disk makes writes wait until there is room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cell import record
from tests.simulation.world import MS, World

RETRY_US = 50 * MS


class Store:
    """One log. `term` counts the owner's starts and is durable."""

    def __init__(self, world: World, owner: str, union: Any) -> None:
        self._world = world
        self._owner = owner
        self._decoder = record.decoder(union)
        self._records: list[bytes] = []
        self._pending: bytes | None = None
        self._life = 0
        self.term = 0
        self.full_until_us = 0
        self.is_slow = False

    @property
    def is_full(self) -> bool:
        """Whether writes fail now."""
        return self._world.now_us < self.full_until_us

    def append(self, body: Any, when_durable: Callable[[], None]) -> None:
        """Write a record; `when_durable` is called once it is, unless a crash comes first."""
        self._pending = record.encode(body)
        life = self._life
        self._world.after(self._write_us(), lambda: self._written(life, when_durable))

    def crash(self) -> None:
        """Lose what is not durable; luck decides about the record being written."""
        self._life += 1
        if self._pending is not None and not self.is_full and self._world.chance(0.5):
            self._records.append(self._pending)
        self._pending = None

    def restored(self) -> list[Any]:
        """The durable records, decoded afresh, in order."""
        return [self._decoder.decode(encoded) for encoded in self._records]

    def replace(self, records: list[Any]) -> None:
        """Compaction: from now on the log is these records."""
        self._records = [record.encode(body) for body in records]

    def _write_us(self) -> int:
        slow = 40 if self.is_slow else 1
        return self._world.between(100, 1_500) * slow

    def _written(self, life: int, when_durable: Callable[[], None]) -> None:
        if life != self._life:
            return
        if self.is_full:
            self._world.after(RETRY_US, lambda: self._written(life, when_durable))
            return
        assert self._pending is not None
        self._records.append(self._pending)
        self._pending = None
        when_durable()
