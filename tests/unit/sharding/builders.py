"""Builders for rollingsets, and a loop that runs a core against the fake dispatcher."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from cell import record as codec
from cell.classes import ClassSpec
from cell.effects import (
    Answer,
    Effect,
    PeerDown,
    PeerUp,
    Persist,
    Publish,
    Received,
    Request,
    Send,
    Tick,
    WakeAt,
)
from cell.link import Hello
from cell.release import (
    DISPATCHER,
    GetRollingset,
    ReleaseColumn,
    RollingsetSpec,
    RollingsetView,
)
from cell.unit import Phase
from sharding.core import RollingCore
from sharding.spec import Limits
from sharding.table import Record
from tests.unit.sharding.fake_dispatcher import FakeDispatcher

HELLO = Hello(name=DISPATCHER, role="dispatcher")


def a_column(name: str = "rank", cpu: int = 1000, count: int = 1) -> ReleaseColumn:
    return ReleaseColumn(name, ClassSpec(demand=(("cpu", cpu),)), count)


def a_set(version: int = 1, rows: int = 3, columns: int = 2, **fields: Any) -> RollingsetSpec:
    """Rows of `columns` columns of two replicas each; each demands 1000 cpu times the version."""
    made = tuple(a_column(f"part{i}", 1000 * version, 2) for i in range(columns))
    return RollingsetSpec(**{"name": "web", "rows": rows, "columns": made, **fields})


class Loop:
    """A core, its log, and a session with the fake dispatcher; messages travel when told to.

    What is kept of a record are its bytes, so a restarted core shares no memory with the former.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits
        self.dispatcher = FakeDispatcher()
        self.now_us = 1_000_000
        self.log: list[bytes] = []
        self.to_core: deque[Any] = deque()
        self.to_dispatcher: deque[Any] = deque()
        self.is_up = False
        self.answers: list[Any] = []
        self.published: list[RollingsetView] = []
        self.wake_at_us = 0
        self.core = RollingCore(limits)

    def handle(self, event: Any, *, effects_max: int | None = None) -> list[Effect]:
        """Give the core an event and do its effects, or only the first few of them."""
        effects = self.core.handle(self.now_us, event)
        self.wake_at_us = 0
        for effect in effects[:effects_max]:
            match effect:
                case Persist(record=record):
                    self.log.append(codec.encode(record))
                case Send(body=body) if self.is_up:
                    self.to_dispatcher.append(body)
                case Answer(body=body):
                    self.answers.append(body)
                case Publish(body=body):
                    self.published.append(body)
                case WakeAt(at_us=at_us):
                    self.wake_at_us = at_us
        return effects

    def request(self, body: Any) -> Any:
        """A request of the Release API, and its answer."""
        self.handle(Request(len(self.answers) + 1, body))
        return self.answers[-1]

    def view(self, name: str = "web") -> RollingsetView:
        answer = self.request(GetRollingset(name))
        assert isinstance(answer, RollingsetView), answer
        return answer

    def connect(self) -> None:
        self.is_up = True
        self.handle(PeerUp(DISPATCHER, HELLO))

    def disconnect(self) -> None:
        """The session ends: what was under way in either direction is lost."""
        self.is_up = False
        self.to_core.clear()
        self.to_dispatcher.clear()
        self.dispatcher.end_session()
        self.handle(PeerDown(DISPATCHER))

    def restart(self) -> None:
        """The controller dies and comes back from its log."""
        self.is_up = False
        self.to_core.clear()
        self.to_dispatcher.clear()
        self.dispatcher.end_session()
        self.core = RollingCore(self.limits)
        decoder = codec.decoder(Record)
        self.core.restore(decoder.decode(raw) for raw in self.log)

    def arrive(self) -> None:
        """The oldest message under way to the dispatcher arrives."""
        self.dispatcher.now_us = self.now_us
        self.to_core.extend(self.dispatcher.receive(self.to_dispatcher.popleft()))

    def deliver(self) -> list[Effect]:
        """The oldest message under way to the core arrives."""
        return self.handle(Received(DISPATCHER, self.to_core.popleft()))

    def settle(self) -> None:
        """Until nothing is under way any more."""
        while self.to_dispatcher or self.to_core:
            if self.to_dispatcher:
                self.arrive()
            else:
                self.deliver()

    def report(self, key: str, phase: Phase, group: int | None = None) -> None:
        """The cluster says so; it reaches the core only if the session is up."""
        self.dispatcher.now_us = self.now_us
        changes = self.dispatcher.report(key, phase, group)
        if self.is_up:
            self.to_core.extend(changes)

    def report_all_ready(self, broken: frozenset[int] = frozenset()) -> int:
        """Every living unit that is not on a broken version gets ready; returns how many did."""
        keys = [
            key
            for key, unit in sorted(self.dispatcher.units.items())
            if not unit.is_over and not unit.is_serving and unit.amounts[0] // 1000 not in broken
        ]
        for key in keys:
            self.report(key, Phase.READY)
        return len(keys)

    def wait(self, ms: int) -> None:
        """Time passes, and the core is woken if it asked to be."""
        self.now_us += ms * 1000
        if 0 < self.wake_at_us <= self.now_us:
            self.handle(Tick())

    def serving(self) -> int:
        """Rows that serve, by the dispatcher's own count."""
        units = self.dispatcher.units
        return len({key.split("/")[1] for key in units if units[key].is_serving})


def changed(spec: RollingsetSpec, **fields: Any) -> RollingsetSpec:
    return msgspec.structs.replace(spec, **fields)
