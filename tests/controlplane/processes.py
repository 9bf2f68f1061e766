"""The programs of one control plane: started on a leash, each with a log, killed, and looked after.

Owned by `cluster`. Everything ends by SIGKILL: the API server ignores SIGTERM for long, and nothing
here is kept. Programs die with the process that started them, however that ends (see `leash`); on
Linux that means the thread that started them, so a control plane belongs to the main thread.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.controlplane.leash import leashed

POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 3000


class Ended(AssertionError):
    """A program ended that should run, or did not become ready; the text shows its log's end."""


class Processes:
    """Programs by name, with their logs in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a program that does not run; its environment holds nothing of ours."""
        assert name not in self._running, f"{name} runs already"
        with self.log(name).open("ab") as sink:
            self._running[name] = subprocess.Popen(
                leashed(*command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
                start_new_session=True,
            )

    def kill(self, *names: str) -> None:
        """`kill -9`, all at once, and wait until they are gone."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self._running.pop(name).wait()

    def kill_all(self) -> None:
        """`kill -9` whatever runs."""
        self.kill(*self._running)

    def check(self) -> None:
        """Raise Ended if a program has ended by itself."""
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                raise Ended(f"{name} ended with {code}:\n{self.log_end(name)}")

    def until(self, name: str, is_ready: Callable[[], bool], seconds: float) -> None:
        """Wait until a program is ready. Raises Ended if it, or another one, ends before."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise Ended(f"{name} is not ready within {seconds} s:\n{self.log_end(name)}")
            time.sleep(POLL_SECONDS)

    def pid(self, name: str) -> int:
        """The process of a running program."""
        return self._running[name].pid

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self._folder / f"{name}.log"

    def log_end(self, name: str) -> str:
        """The last lines of a program's log."""
        return self.log(name).read_text(errors="replace")[-LOG_TAIL_BYTES:]
