"""The watch hub: every published change to every watcher that asked for its unit, in order.

Fed by the shell (`on_publish`), drained by the Watch calls of `placement_api`. Watchers with one
prefix and form are an audience and share its queue: a change is filtered and encoded once for all
that are at the same place. What must hold: a watcher gets each change once, or is cut off; what is
queued for it has a limit; all that is queued leaves as one message.
"""

from __future__ import annotations

import asyncio
from collections import deque

from cell.messages import Changes
from godel.v1 import placement_pb2
from runtime.grpc_status import Exhausted
from runtime.wire_views import packed_reply, row_reply, split, with_prefix

WATCHERS_MAX = 1000
"""Watch calls at a time."""
WATCH_ROWS_MAX = 200_000
"""Changes queued for one watcher; above it the watcher is cut off."""
MESSAGE_ROWS_MAX = 5_000
"""Changes in one message: with the longest names it stays below gRPC's usual limit of 4 MiB."""


class TooManyWatchers(Exhausted):
    """The hub has as many watchers as it may have."""


class Watcher:
    """One Watch call: where it is in the queue of its audience."""

    def __init__(self, audience: Audience) -> None:
        self.audience = audience
        self._news = asyncio.Event()
        self.next = audience.end
        """Number of the first change batch it has not taken."""
        self.rows_taken = audience.rows
        self.is_cut = False
        """It fell behind: there is nothing more for it."""

    def take(self) -> placement_pb2.WatchReply | None:
        """What is queued, as one message, up to its limit; None when nothing is."""
        if self.is_cut or self.next == self.audience.end:
            return None
        return self.audience.take(self)

    async def wait(self) -> None:
        """Wait until there is something to take, or the watcher is cut off."""
        if not self.is_cut and self.next == self.audience.end:
            self._news.clear()
            await self._news.wait()

    def wake(self) -> None:
        """End the wait."""
        self._news.set()


class Audience:
    """Watchers that want the same changes in the same form, and what not all have taken yet."""

    def __init__(self, prefix: str, is_packed: bool, message_rows_max: int) -> None:
        self.prefix = prefix
        self.is_packed = is_packed
        self.watchers: dict[Watcher, None] = {}
        self.end = 0
        """Number that the next change batch will have."""
        self.rows = 0
        """Changes so far."""
        self._rows_max = message_rows_max
        self._parts: deque[Changes] = deque()
        self._made: tuple[int, int, int, placement_pb2.WatchReply] | None = None

    def put(self, changes: Changes, lag_rows_max: int) -> None:
        """Queue changes for all watchers, and cut off those that have too much to read."""
        for part in split(changes, self._rows_max):
            self._parts.append(part)
            self.end += 1
        self.rows += len(changes.keys)
        for watcher in list(self.watchers):
            if self.rows - watcher.rows_taken > lag_rows_max:
                watcher.is_cut = True
                self.remove(watcher)
            watcher.wake()
        if not self.watchers:
            self._parts.clear()

    def take(self, watcher: Watcher) -> placement_pb2.WatchReply:
        """The next message of a watcher that has something queued."""
        if self._made is None or self._made[0] != watcher.next:
            self._made = self._encode(watcher.next)
        start, end, rows, reply = self._made
        watcher.next = end
        watcher.rows_taken += rows
        if start == self.end - len(self._parts):
            self._forget()
        return reply

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher, and what only it had not taken."""
        self.watchers.pop(watcher, None)
        self._forget()

    def _encode(self, start: int) -> tuple[int, int, int, placement_pb2.WatchReply]:
        """The changes from number `start` on that one message can take."""
        first = self.end - len(self._parts)
        parts = [self._parts[start - first]]
        rows = len(parts[0].keys)
        for number in range(start + 1, self.end):
            part = self._parts[number - first]
            if rows + len(part.keys) > self._rows_max:
                break
            parts.append(part)
            rows += len(part.keys)
        reply = packed_reply(parts) if self.is_packed else row_reply(parts)
        return start, start + len(parts), rows, reply

    def _forget(self) -> None:
        """Drop what all watchers have taken."""
        taken = min([watcher.next for watcher in self.watchers], default=self.end)
        while self.end - len(self._parts) < taken:
            self._parts.popleft()


class WatchHub:
    """All watchers of one service."""

    def __init__(
        self,
        watchers_max: int = WATCHERS_MAX,
        rows_max: int = WATCH_ROWS_MAX,
        message_rows_max: int = MESSAGE_ROWS_MAX,
    ) -> None:
        self._watchers_max = watchers_max
        self._rows_max = rows_max
        self._message_rows_max = message_rows_max
        self._audiences: dict[tuple[str, bool], Audience] = {}
        self.watchers_count = 0

    def publish(self, changes: Changes) -> None:
        """Queue changes for whoever wants them."""
        if not self._audiences or not changes.keys:
            return
        low, high = min(changes.keys), max(changes.keys)
        chosen: dict[str, Changes | None] = {}
        for (prefix, _), audience in self._audiences.items():
            if prefix not in chosen:
                chosen[prefix] = with_prefix(changes, prefix, low, high)
            wanted = chosen[prefix]
            if wanted is not None:
                audience.put(wanted, self._rows_max)

    def add(self, prefix: str, is_packed: bool) -> Watcher:
        """A watcher that gets all changes published from now on. Raises TooManyWatchers."""
        if self.watchers_count >= self._watchers_max:
            raise TooManyWatchers(f"{self._watchers_max} watchers, no more may watch")
        key = (prefix, is_packed)
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(prefix, is_packed, self._message_rows_max)
        watcher = Watcher(audience)
        audience.watchers[watcher] = None
        self.watchers_count += 1
        return watcher

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher; once for each that was added."""
        self.watchers_count -= 1
        audience = watcher.audience
        audience.remove(watcher)
        key = (audience.prefix, audience.is_packed)
        if not audience.watchers and self._audiences.get(key) is audience:
            del self._audiences[key]
