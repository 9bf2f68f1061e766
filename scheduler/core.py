"""The scheduler's core: assignments in, plans out, over tables that follow the binder's stream.

It owns nothing durable. Links: one dispatcher, one binder. It is able to place once a binder session's
snapshot is whole; when that session ends, everything queued or not yet covered by a watermark goes back
to the dispatcher. When the dispatcher's session ends its queue is dropped: the dispatcher voids those
attempts itself, while plans under way stay assumed until the binder's watermark covers them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping

import msgspec
import numpy as np

from cell.effects import Effect, Event, PeerDown, PeerUp, Received, Send, Tick, WakeAt
from cell.fit.pinned import NOWHERE
from cell.messages import Ability, Assign, ClassDef, Plan, State, Unplaced
from cell.reasons import Reason, Wake
from cell.unit import NO_PIN, Assignments, NoFits, PlanOp, PlanRows, Shortfalls
from scheduler.classes import ClassTable
from scheduler.config import SchedulerConfig
from scheduler.explain import Explanation, explain, too_few, unknown_profile
from scheduler.framework.plugin import Plugin
from scheduler.framework.profiles import load_profiles
from scheduler.kernels.layout import ANYWHERE, Placements
from scheduler.placement import Batch, Placement
from scheduler.slices import Queued, cut, unit_starts
from scheduler.tables import NodeTables, Resources, Ties


class Planned(msgspec.Struct, frozen=True):
    """A plan under way: its last row's number plus one, and its rows."""

    end: int
    rows: PlanRows


class SchedulerCore:
    """See the module."""

    def __init__(
        self,
        name: str,
        partition: int,
        partitions: int,
        config: SchedulerConfig,
        registry: Mapping[str, type[Plugin]] | None = None,
    ) -> None:
        self.name = name
        self._config = config
        seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        self._ties = Ties(seed, partition, partitions)
        self._profiles = load_profiles(config.profiles, registry or {})
        self._resources = Resources()
        self._classes = ClassTable(self._resources, self._profiles)
        self._dispatcher = ""
        self._binder = ""
        self._stream_classes = np.empty(0, np.int32)
        self._queue: deque[Queued] = deque()
        self._planned: deque[Planned] = deque()
        self._begin_tables()

    @property
    def profiles(self) -> tuple[str, ...]:
        """Names of the profiles it runs, for its Hello."""
        return tuple(sorted(self._profiles))

    @property
    def is_ready(self) -> bool:
        """Whether it can place."""
        return bool(self._binder) and self._tables.is_whole

    @property
    def tables(self) -> NodeTables:
        """The node tables, for views."""
        return self._tables

    @property
    def queued_rows(self) -> int:
        """Assignment rows not yet placed, for views."""
        return sum(len(queued.rows) for queued in self._queue)

    def handle(self, now_us: int, event: Event) -> list[Effect]:
        """The core's only way in; see `cell.effects`."""
        effects: list[Effect] = []
        match event:
            case PeerUp(peer, hello) if hello.role == "dispatcher":
                self._forget_dispatcher()
                self._dispatcher = peer
                effects.append(Send(peer, Ability(self.is_ready)))
            case PeerUp(peer, hello) if hello.role == "binder":
                effects += self._lose_binder()
                self._binder = peer
            case PeerDown(peer) if peer == self._dispatcher:
                self._forget_dispatcher()
            case PeerDown(peer) if peer == self._binder:
                effects += self._lose_binder()
            case Received(peer, Assign() as assign) if peer == self._dispatcher:
                self._accept(assign)
                effects += self._place(now_us)
            case Received(peer, State() as state) if peer == self._binder:
                effects += self._follow(state)
                effects += self._place(now_us)
            case Tick():
                effects += self._place(now_us)
            case _:
                raise ValueError(f"{type(event).__name__} is no event of a scheduler now")
        return effects

    # Links

    def _forget_dispatcher(self) -> None:
        self._dispatcher = ""
        self._stream_classes = np.empty(0, np.int32)
        self._queue.clear()
        self._planned.clear()

    def _lose_binder(self) -> list[Effect]:
        """Give back what no binder will answer; the next session begins with empty tables."""
        was_ready = self.is_ready
        self._binder = ""
        effects: list[Effect] = []
        if self._dispatcher and was_ready:
            effects.append(Send(self._dispatcher, Ability(False)))
        for planned in self._planned:
            effects += self._give_back(planned.rows)
        self._planned.clear()
        effects += self._give_back_queue()
        self._begin_tables()
        return effects

    def _begin_tables(self) -> None:
        self._tables = NodeTables(self._resources, self._ties)
        self._classes.follow(self._tables.statics)
        self._placement = Placement(self._tables, self._classes, self._config.class_slots_max)
        self._sent_classes = np.zeros(0, np.bool_)

    def _give_back_queue(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._queue:
            effects += self._give_back(self._queue.popleft().rows)
        return effects

    def _give_back(self, rows: Assignments | PlanRows) -> list[Effect]:
        """One NoFit per unit: retry soon, elsewhere or here."""
        if not self._dispatcher or not len(rows):
            return []
        first = unit_starts(rows.uid_hi, rows.uid_lo)[:-1]
        fits = NoFits.of(
            handle=rows.handle[first],
            uid_hi=rows.uid_hi[first],
            uid_lo=rows.uid_lo[first],
            attempt=rows.attempt[first],
            reason=Reason.SCHEDULER_UNREADY,
            argument=0,
            wakes=0,
        )
        return [Send(self._dispatcher, Unplaced(fits, Shortfalls.empty()))]

    # Streams

    def _accept(self, assign: Assign) -> None:
        self._learn(assign.classes)
        rows = assign.rows
        if len(rows):
            nodes = [self._tables.statics.node_of(name) for name in assign.pins]
            pins = np.array([*nodes, ANYWHERE], np.int32)
            chosen = np.where(rows.pin == NO_PIN, len(nodes), rows.pin)
            klass = self._stream_classes[rows.klass]
            self._queue.append(Queued(assign.term, rows, klass, assign.pins, pins[chosen]))

    def _learn(self, classes: tuple[ClassDef, ...]) -> None:
        for entry in classes:
            if entry.index >= len(self._stream_classes):
                grown = np.full(max(64, 2 * entry.index + 1), -1, np.int32)
                grown[: len(self._stream_classes)] = self._stream_classes
                self._stream_classes = grown
            self._stream_classes[entry.index] = self._classes.intern(entry.encoded)

    def _follow(self, state: State) -> list[Effect]:
        was_ready = self.is_ready
        self._tables.apply(state, self._classes.columns)
        while self._planned and self._planned[0].end <= state.watermark:
            self._planned.popleft()
        if self.is_ready and not was_ready and self._dispatcher:
            return [Send(self._dispatcher, Ability(True))]
        return []
