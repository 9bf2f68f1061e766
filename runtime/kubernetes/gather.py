"""What the API server says, gathered for some milliseconds before the core hears of it.

Stands between `home` and a shell. A core tells its peers after every event, and a message costs
them the same for one pod as for many; a lone event waits for nobody. What must hold: answers keep
their order, and so does what the watches show; an answer may overtake the watch, as it may anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cell.home import Answered, Answers, HomeEvent, HomeUnit, ObjectView, Watched

SECONDS_EACH = 0.002
"""After a telling the next one waits so long for each event that it told of,"""
SECONDS_MAX = 0.025
"""and no longer than this: few wait for little, many gather to a batch (measured in a drain at 10,
25 and 50 ms: 870, 1,044 and 1,040 pods/s)."""


class Gather:
    """See the module; `put` is the shell's. Made in the running event loop."""

    def __init__(self, put: Callable[[HomeEvent], None]) -> None:
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._answers: list[Answered] = []
        self._objects: list[ObjectView] = []
        self._units: list[HomeUnit] = []
        self._next_at = 0.0
        self._is_due = False

    def tell(self, event: HomeEvent) -> None:
        """Gather an answer or what a watch shows of pods; tell all else at once, in its turn."""
        match event:
            case Answered():
                self._answers.append(event)
            case Watched(nodes=(), removed=(), gangs=()):
                self._objects += event.objects
                self._units += event.units
            case _:
                self._tell()
                self._put(event)
                return
        if not self._is_due:
            self._is_due = True
            if self._next_at > self._loop.time():
                self._loop.call_at(self._next_at, self._on_time)
            else:
                self._loop.call_soon(self._on_time)

    def _on_time(self) -> None:
        self._is_due = False
        self._tell()

    def _tell(self) -> None:
        told = len(self._answers) + len(self._objects)
        self._next_at = self._loop.time() + min(SECONDS_MAX, SECONDS_EACH * told)
        if self._answers:
            answers, self._answers = tuple(self._answers), []
            self._put(Answers(answers))
        if self._objects or self._units:
            shown = Watched(tuple(self._objects), units=tuple(self._units))
            self._objects, self._units = [], []
            self._put(shown)
