"""A shell around a scripted core, and a store that a test makes durable by hand."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any, cast

from cell.effects import Effect
from runtime.clock import Clock
from runtime.log import Log
from runtime.loop import Shell
from runtime.store import Store
from tests import waiting

WAIT_SECONDS = 20.0


class ScriptedCore:
    """Returns what the test scripted for an event's body, and remembers every event."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.script: dict[Any, list[Any]] = {}
        """Per body: effects, or functions of the event that make one."""
        self.records: list[Any] = []

    def handle(self, now_us: int, event: Any) -> list[Effect]:
        self.events.append(event)
        effects = self.script.get(getattr(event, "body", type(event)), [])
        return [e(event) if callable(e) else e for e in effects]

    def snapshot(self) -> list[Any]:
        return self.records


class HandStore:
    """A store whose records become durable when the test says so."""

    def __init__(self) -> None:
        self.appended: list[Any] = []
        self.compacted: list[list[Any]] = []
        self.is_compaction_due = False

    def start(
        self,
        on_durable: Callable[[int], None],
        on_health: Callable[[bool, str], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.on_durable, self.on_health, self.on_fatal = on_durable, on_health, on_fatal

    def append(self, item: Any) -> int:
        self.appended.append(item)
        return len(self.appended)

    def compact(self, records: list[Any]) -> int:
        self.is_compaction_due = False
        self.compacted.append(records)
        return self.append(records)


class Peer:
    """A port that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, body: Any) -> None:
        self.sent.append(body)


def a_shell(core: Any, store: HandStore | Store | None = None) -> Shell:
    """A shell in the running loop that logs to memory."""
    return Shell(core, Clock(), Log("test", io.StringIO()), cast(Store | None, store))


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds."""
    await waiting.until("the condition holds", condition, WAIT_SECONDS)


async def turns(count: int = 5) -> None:
    """Let the loop run what is ready, and what that makes ready."""
    for _ in range(count):
        await asyncio.sleep(0)
