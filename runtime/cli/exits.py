"""Exit codes that scripts can rely on, and the one exception that carries them.

The codes are documented in docs/guides/cli.md.
"""

from __future__ import annotations

OK = 0
REFUSED = 1
"""Some items were refused, or the condition that was waited for cannot be met any more."""
BAD_INPUT = 2
"""The command line or a file is wrong; nothing was sent."""
UNREACHABLE = 3
"""A service could not be reached, or broke down while it answered."""
TIME_OUT = 4
NOT_FOUND = 5
INTERRUPTED = 130


class Stop(Exception):
    """End the command with an exit code and one line on standard error (none when empty)."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text)
        self.code = code
