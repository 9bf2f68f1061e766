"""A Placement API on a Unix socket over a core that keeps a dictionary, and a store on a leash."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np

from cell.effects import Answer, Effect, Persist, Publish, Request
from cell.messages import (
    NO_NODE,
    Acks,
    Amend,
    Cancel,
    ChangeRows,
    Changes,
    ReplicaView,
    Report,
    Submit,
    Summary,
    UnitView,
)
from cell.reasons import Refusal, Status
from cell.unit import WHOLE_UNIT, Phase
from godel.v1 import placement_pb2 as pb
from godel.v1 import placement_pb2_grpc, types_pb2
from runtime.clock import Clock
from runtime.log import Log
from runtime.loop import Shell
from runtime.placement_api import PlacementLimits, PlacementServicer
from runtime.servers import Listener


def a_class(number: int = 1, **demand: int) -> types_pb2.ClassEntry:
    """A class that asks for `demand`."""
    return types_pb2.ClassEntry(number=number, spec=types_pb2.ClassSpec(demand=demand))


def a_unit(key: str, number: int = 1, **fields: Any) -> pb.Unit:
    """A unit of one group; `fields` are the unit's."""
    return pb.Unit(key=key, groups=[types_pb2.Group(class_number=number)], **fields)


def a_batch(batch: int, units: Iterable[pb.Unit], *classes: types_pb2.ClassEntry) -> Any:
    """A Submit batch of rows."""
    return pb.SubmitRequest(batch=batch, units=units, classes=classes)


def some_changes(
    keys: Iterable[str], *, phase: Phase = Phase.BOUND, node: str = "", at_us: int = 1
) -> Changes:
    """One change of the whole unit for each key."""
    keys = tuple(keys)
    rows = ChangeRows.of(
        revision=np.ones(len(keys)),
        group=0,
        ordinal=WHOLE_UNIT,
        phase=int(phase),
        node=0 if node else NO_NODE,
        reason=0,
        argument=0,
    )
    return Changes(keys, rows, (node,) if node else (), (), at_us)


class FakeCore:
    """Accepts each unit with a key; a key that begins with "bad" is refused by the core itself."""

    def __init__(self) -> None:
        self.units_by_key: dict[str, UnitView] = {}
        self.requests: list[Any] = []

    def handle(self, now_us: int, event: Any) -> list[Effect]:
        """Take a request of the Placement API; it is persisted, told and answered."""
        assert isinstance(event, Request)
        body = event.body
        self.requests.append(body)
        keys = _keys(body)
        refused = tuple([(i, _refusal(key)) for i, key in enumerate(keys) if key.startswith("bad")])
        good = [key for key in keys if not key.startswith("bad")]
        phase = Phase.CANCELLED if isinstance(body, Cancel) else Phase.WAITING
        for key in good:
            self.units_by_key[key] = _view(key, phase)
        return [
            Persist(tuple(good)),
            Publish(some_changes(good, phase=phase, at_us=now_us)),
            Answer(event.token, Acks(len(keys), refused)),
        ]

    def snapshot(self) -> list[Any]:
        """Nothing is ever compacted here."""
        return []

    def unit(self, key: str) -> UnitView | None:
        """One unit."""
        return self.units_by_key.get(key)

    def units(self, prefix: str, word: str, count_max: int) -> list[UnitView]:
        """Units in order."""
        views = [v for k, v in sorted(self.units_by_key.items()) if k.startswith(prefix)]
        views = [view for view in views if word in ("", view.word)]
        return views[:count_max] if count_max else views

    def units_whole(self, prefix: str) -> list[UnitView]:
        """Units in order."""
        return self.units(prefix, "", 0)

    def summary(self) -> Summary:
        """Counts."""
        return Summary({"WAITING": len(self.units_by_key)}, {"because": 1})


def _keys(body: Any) -> tuple[str, ...]:
    if isinstance(body, Amend):
        return tuple([item.key for item in body.items])
    assert isinstance(body, Submit | Cancel | Report)
    return body.keys


def _refusal(key: str) -> Refusal:
    return Refusal(Status.RESOURCE_EXHAUSTED, "key", f"{key} is refused", 250)


def _view(key: str, phase: Phase) -> UnitView:
    return UnitView(
        key=key,
        uid="0" * 32,
        revision=1,
        priority=-3,
        word=phase.name,
        phases={phase.name: 1},
        why="because",
        wakes=("ROOM_FREED",),
        replicas=(ReplicaView(0, 0, phase.name, ""),),
    )


class LeashedStore:
    """Records are durable at once, or, while `is_held`, when the test says so."""

    is_compaction_due = False

    def __init__(self) -> None:
        self.is_held = False
        self.held_count = 0
        self._tickets = 0
        self._on_durable: Callable[[int], None] = lambda ticket: None
        self._on_health: Callable[[bool, str], None] = lambda is_well, why: None

    def start(
        self,
        on_durable: Callable[[int], None],
        on_health: Callable[[bool, str], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """As the real one."""
        self._on_durable, self._on_health = on_durable, on_health

    def append(self, item: Any) -> int:
        """As the real one."""
        self._tickets += 1
        if self.is_held:
            self.held_count += 1
        else:
            self._on_durable(self._tickets)
        return self._tickets

    def let_go(self) -> None:
        """All records are durable now."""
        self.is_held = False
        self._on_durable(self._tickets)

    def fail(self, why: str) -> None:
        """The disk says `why`."""
        self._on_health(not why, why)


class World:
    """The server's parts and a client's stub."""

    def __init__(self, socket: Path, core: Any, store: Any, limits: PlacementLimits) -> None:
        self.core = core
        self.store = store
        self.log = io.StringIO()
        self.shell = Shell(core, Clock(), Log("test", self.log), cast(Any, store))
        self.servicer = PlacementServicer(self.shell, core, limits)
        self.target = f"unix:{socket}"
        self.stub: Any = None
        self.channel: Any = None

    def publish(self, changes: Changes) -> None:
        """As if the core had published it."""
        self.shell.on_publish(changes)


@asynccontextmanager
async def a_world(
    tmp_path: Path, core: Any = None, store: Any = None, **limits: int
) -> AsyncIterator[World]:
    """A served core and a connected client."""
    world = World(
        tmp_path / "api.sock",
        core or FakeCore(),
        store or LeashedStore(),
        PlacementLimits(**limits),
    )
    listener = Listener(world.target, [], [world.servicer.add_to])
    await listener.start()
    try:
        async with grpc.aio.insecure_channel(world.target) as channel:
            world.channel = channel
            world.stub = placement_pb2_grpc.PlacementStub(channel)
            yield world
    finally:
        await listener.stop()
