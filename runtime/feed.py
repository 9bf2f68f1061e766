"""A feed: what a core publishes, to everyone who follows, in order and within a limit.

Used by `cluster_api` and `release_api`; the Placement API's `watch` adds prefixes and columns. What
must hold: a follower sees the state at one moment and then every change after it, or is cut off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from cell.settings import Positive
from runtime.config import ApiLimits
from runtime.grpc_status import Exhausted
from runtime.loop import Shell

T = TypeVar("T")
V = TypeVar("V")


class FeedLimits(ApiLimits, frozen=True, kw_only=True):
    """What clients may ask of an API that is followed."""

    followers_max: Positive = 1000
    """Followers of one feed at a time."""
    weight_max: Positive = 1_000_000
    """Claims, or views, queued for one follower; above it the follower is cut off."""


class FeedFull(Exhausted):
    """The feed has as many followers as it may have."""


class CutOff(Exhausted):
    """The follower read too slowly and has lost changes."""


class Follower(Generic[T]):
    """One reader's place in a feed."""

    def __init__(self) -> None:
        self._queue: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._is_cut = False
        self._is_filled = asyncio.Event()

    def put(self, item: T, weight: int, weight_max: int) -> bool:
        """Queue an item; returns False once the follower is cut off."""
        self._weight += weight
        if self._weight > weight_max:
            self._is_cut = True
            self._queue.clear()
        else:
            self._queue.append((item, weight))
        self._is_filled.set()
        return not self._is_cut

    async def take(self) -> T:
        """The next item. Raises CutOff."""
        while not self._queue:
            if self._is_cut:
                raise CutOff("fell behind, begin anew")
            self._is_filled.clear()
            await self._is_filled.wait()
        item, weight = self._queue.popleft()
        self._weight -= weight
        return item


class Feed(Generic[T]):
    """All followers of one kind of news."""

    def __init__(self, limits: FeedLimits) -> None:
        self._followers_max = limits.followers_max
        self._weight_max = limits.weight_max
        self._followers: dict[Follower[T], None] = {}

    def __bool__(self) -> bool:
        """Whether anybody follows."""
        return bool(self._followers)

    def publish(self, item: T, weight: int = 1) -> None:
        """Queue an item for every follower."""
        for follower in list(self._followers):
            if not follower.put(item, weight, self._weight_max):
                del self._followers[follower]

    @asynccontextmanager
    async def following(
        self, shell: Shell, view: Callable[[], V]
    ) -> AsyncIterator[tuple[V, Follower[T]]]:
        """`view()` now, and a follower of what is published after it. Raises CallRefused.

        The view shows what the core has decided; news of it that waits for a record is passed over,
        because following begins behind it.
        """
        if len(self._followers) >= self._followers_max:
            raise FeedFull(f"{self._followers_max} already follow")
        follower: Follower[T] = Follower()

        def begin() -> None:
            self._followers[follower] = None

        try:
            yield await shell.read(view, begin), follower
        finally:
            self._followers.pop(follower, None)
