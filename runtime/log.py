"""Log lines: facts with fields, one line each on stderr, made for people and for grep."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, TextIO

BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,")


class Log:
    """Writes lines of one service; `error` means that a person must act."""

    def __init__(self, service: str, stream: TextIO | None = None) -> None:
        self._service = service
        self._stream = stream or sys.stderr

    def say(self, fact: str, **fields: Any) -> None:
        """One line."""
        self._write("info", fact, fields)

    def error(self, fact: str, **fields: Any) -> None:
        """One line about what a person must act on."""
        self._write("error", fact, fields)

    def _write(self, level: str, fact: str, fields: dict[str, Any]) -> None:
        at = time.time()
        stamp = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03}Z"
        )
        text = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
        # A disk that is full of logs must not keep a core from being told what happened.
        with contextlib.suppress(OSError):
            print(f"{stamp} {level} {self._service}: {fact}{text}", file=self._stream, flush=True)


def _shown(value: Any) -> str:
    text = str(value)
    return text if text and BARE.issuperset(text) else repr(text)
