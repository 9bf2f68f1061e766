"""A process that talks by lines: started, told, heard, and its CPU read."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

LINE_BYTES_MAX = 1 << 24
WAIT_SECONDS = 300.0


class Silent(RuntimeError):
    """A process ended, or said nothing for too long; the text names it and its log."""


class Worker:
    """`python -m MODULE ...` as an async context; killed at its end, its errors are in a log."""

    def __init__(self, log: Path, *command: str) -> None:
        self._log = log
        self._command = command

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *self._command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                limit=LINE_BYTES_MAX,
            )
        self.cpu = psutil.Process(self._process.pid)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def line(self) -> str:
        """The next line it says. Raises Silent."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), WAIT_SECONDS)
        except TimeoutError:
            line = b""
        if not line:
            raise Silent(f"{' '.join(self._command)}: see {self._log}")
        return line.decode().strip()

    async def until(self, said: str) -> None:
        """Wait for this line."""
        while await self.line() != said:
            pass

    async def go(self) -> None:
        """Tell it to begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        await self._process.stdin.drain()
