"""The scheduler's core: assignments in, plans out, over tables that follow the binder's stream.

It owns nothing durable. Links: one dispatcher, one binder. It can place once a binder session's
snapshot is whole; until then assignments are given back at once, because another scheduler may be
able while this one has nothing but hope that its binder returns. When a binder's session ends,
whatever is queued or not covered by a watermark goes back to the dispatcher, too. When the
dispatcher's session ends its queue is dropped: the dispatcher voids those attempts itself, while
plans under way stay assumed until the binder's watermark covers them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from cell.effects import Effect, Event, PeerDown, PeerUp, Received, Send, Tick, WakeAt
from cell.messages import Ability, Assign, ClassDef, Plan, State, Unplaced
from cell.unit import NoFits, PlanRows, Shortfalls
from scheduler.answers import plan_rows, unplaced, unready
from scheduler.classes import ClassTable, StreamClasses
from scheduler.config import SchedulerConfig
from scheduler.explain import Explainer
from scheduler.framework.plugin import Plugin
from scheduler.framework.profiles import load_profiles
from scheduler.kernels.layout import ANYWHERE
from scheduler.placement import Placement
from scheduler.queue import Queued, queued
from scheduler.tables import NodeTables, Resources, Ties
from scheduler.verdicts import Verdicts, verdicts_of

DEFAULT = SchedulerConfig()


class Planned(msgspec.Struct, frozen=True):
    """A plan under way: its last row's number plus one, and its rows."""

    end: int
    rows: PlanRows


class SchedulerCore:
    """See the module. Kernels should be warm (`scheduler.warm`) before the first event."""

    def __init__(
        self,
        name: str,
        partition: int = 0,
        partitions: int = 1,
        config: SchedulerConfig = DEFAULT,
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
        self._assigned_classes = StreamClasses(self._classes)
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

    def handle(self, now_us: int, event: Event) -> list[Effect]:
        """The core's only way in; see `cell.effects`."""
        match event:
            case Received(peer, Assign() as assign) if peer == self._dispatcher:
                return self._accept(assign) + self._place(now_us)
            case Received(peer, State() as state) if peer == self._binder:
                return self._follow(state) + self._place(now_us)
            case Tick():
                return self._place(now_us)
            case PeerUp(peer, hello) if hello.role == "dispatcher":
                self._forget_dispatcher()
                self._dispatcher = peer
                return [Send(peer, Ability(self.is_ready))]
            case PeerUp(peer, hello) if hello.role == "binder":
                effects = self._lose_binder()
                self._binder = peer
                return effects
            case PeerDown(peer) if peer == self._dispatcher:
                self._forget_dispatcher()
                return []
            case PeerDown(peer) if peer == self._binder:
                return self._lose_binder()
            case PeerDown() | Received() | PeerUp():
                # An old session's, or another process's mistake: nothing of ours depends on it.
                return []
            case _:
                raise ValueError(f"{type(event).__name__} is no event of a scheduler now")

    def verdicts(self, encoded: bytes, pin: str = "") -> Verdicts:
        """What the rules say of each node for one replica of a class, as the tables are now."""
        node = self._tables.statics.node_of(pin) if pin else ANYWHERE
        return verdicts_of(self._tables, self._classes, self._classes.intern(encoded), node)

    def snapshot(self) -> list[Any]:
        """Nothing is durable here."""
        return []

    # Links

    def _forget_dispatcher(self) -> None:
        self._dispatcher = ""
        self._assigned_classes = StreamClasses(self._classes)
        self._queue.clear()
        self._planned.clear()

    def _lose_binder(self) -> list[Effect]:
        """Give back what no binder will answer; the next session begins with empty tables."""
        effects: list[Effect] = []
        if self.is_ready and self._dispatcher:
            effects.append(Send(self._dispatcher, Ability(False)))
        self._binder = ""
        lost = [unready(planned.rows) for planned in self._planned]
        lost += [unready(entry.rest) for entry in self._queue]
        self._planned.clear()
        self._queue.clear()
        self._begin_tables()
        return effects + self._give_back(lost)

    def _begin_tables(self) -> None:
        self._tables = NodeTables(self._resources, self._ties)
        self._classes.follow(self._tables.statics, self._tables.neighbours)
        self._placement = Placement(self._tables, self._classes, self._config.class_slots_max)
        self._explainer = Explainer(self._tables, self._classes)
        self._resident_classes = StreamClasses(self._classes)
        self._sent_classes = np.zeros(0, np.bool_)

    def _give_back(self, answers: list[NoFits]) -> list[Effect]:
        rows = NoFits.concat(answers)
        if not self._dispatcher or not len(rows):
            return []
        return [Send(self._dispatcher, Unplaced(rows, Shortfalls.empty()))]

    # Streams

    def _accept(self, assign: Assign) -> list[Effect]:
        self._assigned_classes.learn(assign.classes)
        if not self.is_ready:
            return self._give_back([unready(assign.rows)])
        if len(assign.rows):
            self._queue.append(queued(assign, self._assigned_classes.local(assign.rows.klass)))
        return []

    def _follow(self, state: State) -> list[Effect]:
        was_ready = self.is_ready
        self._resident_classes.learn(state.classes)
        klass = self._resident_classes.local(state.residents.klass)
        self._tables.apply(state, self._classes.columns, klass)
        while self._planned and self._planned[0].end <= state.watermark:
            self._planned.popleft()
        if self.is_ready and not was_ready and self._dispatcher:
            return [Send(self._dispatcher, Ability(True))]
        return []

    # Placing

    def _place(self, now_us: int) -> list[Effect]:
        """Place what is queued, in order, as far as one call may go."""
        effects: list[Effect] = []
        left_ns = self._config.core_ms_max * 1_000_000
        while self._queue and left_ns > 0:
            entry = self._queue[0]
            entry.look_up_pins(self._tables)
            placed = self._placement.place(
                entry.batch, entry.unit, self._config.plan_rows_max, left_ns
            )
            left_ns -= placed.spent
            if len(placed.out.row):
                effects.append(self._plan(entry.term, plan_rows(entry, placed.out, self._tables)))
            units = slice(entry.unit, placed.unit)
            answer = unplaced(entry, placed.out, units, self._explainer)
            if answer is not None:
                seen = {"term": self._tables.term, "generation": self._tables.generation}
                answer = msgspec.structs.replace(answer, **seen)
                effects.append(Send(self._dispatcher, answer))
            entry.unit = placed.unit
            if entry.is_done:
                self._queue.popleft()
        if self._queue:
            effects.append(WakeAt(now_us))
        return effects

    def _plan(self, term: int, rows: PlanRows) -> Send:
        """Assume the rows, and tell the binder."""
        first = self._tables.assume(rows.node, rows.klass)
        self._planned.append(Planned(first + len(rows), rows))
        classes = self._classes_to_tell(rows)
        return Send(self._binder, Plan(term, first, self._tables.generation, rows, classes))

    def _classes_to_tell(self, rows: PlanRows) -> tuple[ClassDef, ...]:
        """Classes that this binder session has not heard of."""
        if len(self._sent_classes) < len(self._classes.specs):
            grown = np.zeros(2 * len(self._classes.specs), np.bool_)
            grown[: len(self._sent_classes)] = self._sent_classes
            self._sent_classes = grown
        new = rows.klass[~self._sent_classes[rows.klass]]
        if not len(new):
            return ()
        new = np.unique(new)
        self._sent_classes[new] = True
        return tuple(ClassDef(k, self._classes.encoded[k]) for k in new.tolist())
