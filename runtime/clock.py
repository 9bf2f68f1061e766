"""The one clock: microseconds near Unix time that never go back, whatever the wall clock does."""

from __future__ import annotations

import time


class Clock:
    """Reads the wall clock once and the monotonic clock after that."""

    def __init__(self) -> None:
        self._base_us = (time.time_ns() - time.monotonic_ns()) // 1000

    def now_us(self) -> int:
        """Now, in microseconds."""
        return self._base_us + time.monotonic_ns() // 1000
