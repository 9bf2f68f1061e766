"""A simulated log on disk: encoded records, of which a prefix is durable.

Records are encoded when they are appended and written in groups, in order. A crash loses the tail
that was not durable yet, or keeps some of it although nobody was told: both happen. A full disk
makes writes wait until there is room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cell import record
from tests.simulation.world import MS, World

RETRY_US = 50 * MS


class Store:
    """One log. `term` counts the owner's starts and is durable; `told` hears of durable tickets."""

    def __init__(self, world: World, owner: str, union: Any) -> None:
        self._world = world
        self._owner = owner
        self._decoder = record.decoder(union)
        self._records: list[bytes] = []
        self._pending: list[tuple[int, bool, list[bytes]]] = []
        self._tickets = 0
        self._life = 0
        self._is_writing = False
        self.told: Callable[[int], None] = lambda ticket: None
        self.term = 0
        self.full_until_us = 0
        self.slow_until_us = 0

    @property
    def is_full(self) -> bool:
        """Whether writes fail now."""
        return self._world.now_us < self.full_until_us

    def append(self, body: Any) -> int:
        """Write a record; returns the ticket that `told` will name, unless a crash comes first."""
        return self._queue(False, [record.encode(body)])

    def replace(self, records: list[Any]) -> int:
        """Compaction: once durable, the log is these records and what was appended later."""
        return self._queue(True, [record.encode(body) for body in records])

    def crash(self) -> None:
        """Lose what is not durable; luck decides how much of what was being written is."""
        self._life += 1
        if self._pending and not self.is_full:
            self._make_durable(self._world.between(0, len(self._pending)))
        self._pending = []
        self._is_writing = False

    def restored(self) -> list[Any]:
        """The durable records, decoded afresh, in order."""
        return [self._decoder.decode(encoded) for encoded in self._records]

    def _queue(self, is_whole: bool, encoded: list[bytes]) -> int:
        self._tickets += 1
        self._pending.append((self._tickets, is_whole, encoded))
        self._write()
        return self._tickets

    def _write(self) -> None:
        if self._is_writing or not self._pending:
            return
        self._is_writing = True
        slow = 40 if self._world.now_us < self.slow_until_us else 1
        self._attempt(self._life, len(self._pending), self._world.between(100, 1_500) * slow)

    def _attempt(self, life: int, count: int, delay_us: int) -> None:
        self._world.after(delay_us, lambda: self._written(life, count))

    def _written(self, life: int, count: int) -> None:
        if life != self._life:
            return
        if self.is_full:
            self._attempt(life, count, RETRY_US)
            return
        ticket = self._pending[count - 1][0]
        self._make_durable(count)
        self._is_writing = False
        self._write()
        self.told(ticket)

    def _make_durable(self, count: int) -> None:
        for _, is_whole, encoded in self._pending[:count]:
            if is_whole:
                self._records = []
            self._records += encoded
        del self._pending[:count]
