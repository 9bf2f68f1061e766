"""Waiting for what sets no event: it is asked for again and again, until it holds or time is over.

Used by tests and benchmarks, for other processes above all; what does set an event is awaited.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

WAIT_SECONDS = 90.0
PAUSE_SECONDS = 0.01


async def until(
    what: str, condition: Callable[[], Any | Awaitable[Any]], seconds: float = WAIT_SECONDS
) -> Any:
    """What the condition gives once it holds. Raises AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (last := await _asked(condition)):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last seen {last!r}"
        await asyncio.sleep(PAUSE_SECONDS)
    return last


def until_blocking(what: str, condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """The same where no event loop runs."""
    deadline = time.monotonic() + seconds
    while not (last := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last seen {last!r}"
        time.sleep(PAUSE_SECONDS)
    return last


async def _asked(condition: Callable[[], Any | Awaitable[Any]]) -> Any:
    found = condition()
    return await found if inspect.isawaitable(found) else found
