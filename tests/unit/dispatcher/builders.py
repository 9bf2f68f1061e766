"""Builders for units, and a dispatcher with its log, whose effects a test can look at."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import numpy as np

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
from cell.messages import (
    NO_NODE,
    Ability,
    Acks,
    Amend,
    AmendItem,
    Assign,
    Cancel,
    Changes,
    Command,
    Member,
    Report,
    ReportRows,
    Settle,
    Submit,
    Unplaced,
)
from cell.reasons import Reason, Refusal
from cell.unit import (
    NO_PIN,
    WHOLE_UNIT,
    GroupBatch,
    GroupSpec,
    NoFits,
    Phase,
    Place,
    Settlements,
    Shortfalls,
    UnitBatch,
    UnitSpec,
    Verdict,
    uid_of,
)
from dispatcher import codes
from dispatcher.config import DispatcherConfig
from dispatcher.core import DispatcherCore
from dispatcher.records import Record


class State(IntEnum):
    """Names of `codes.State`."""

    FREE = codes.State.FREE
    GATHERING = codes.State.GATHERING
    LOOSE = codes.State.LOOSE
    ACTIVE = codes.State.ACTIVE
    BACKOFF = codes.State.BACKOFF
    PARKED = codes.State.PARKED
    FLIGHT = codes.State.FLIGHT
    COMMANDED = codes.State.COMMANDED
    HELD = codes.State.HELD
    FINISHED = codes.State.FINISHED


MS = 1_000
START_US = 1_700_000_000_000_000


def a_class(cpu: int = 1000, profile: str = "default") -> ClassSpec:
    return ClassSpec(demand=(("cpu", cpu),), profile=profile)


def a_group(cpu: int = 1000, count: int = 1, **fields: Any) -> GroupSpec:
    profile = fields.pop("profile", "default")
    minimum = fields.pop("min", count)
    return GroupSpec(klass=a_class(cpu, profile), count=count, min=minimum, **fields)


def a_unit(key: str, *groups: GroupSpec, priority: int = 0) -> UnitSpec:
    return UnitSpec(key, groups or (a_group(),), priority)


def a_submit(*units: UnitSpec) -> Submit:
    """The units as columns."""
    classes: dict[ClassSpec, int] = {}
    pins: dict[str, int] = {}
    rows = [group for unit in units for group in unit.groups]
    uids = [uid_of(unit.key) for unit in units]
    return Submit(
        units=UnitBatch.of(
            uid_hi=[hi for hi, _ in uids],
            uid_lo=[lo for _, lo in uids],
            priority=[unit.priority for unit in units],
            groups=[len(unit.groups) for unit in units],
        ),
        groups=GroupBatch.of(
            klass=[classes.setdefault(group.klass, len(classes)) for group in rows],
            count=[group.count for group in rows],
            min=[group.min for group in rows],
            pin=[pins.setdefault(g.pin, len(pins)) if g.pin else NO_PIN for g in rows],
        ),
        keys=tuple(unit.key for unit in units),
        classes=tuple(classes),
        roles=tuple(group.role for group in rows),
        pins=tuple(pins),
    )


def a_member(name: str, gang: str = "gang", size: int = 2, **fields: Any) -> Member:
    made = {"timeout_ms": 1_000, "klass": a_class(), **fields}
    return Member(gang=gang, name=name, size=size, **made)


def a_report(
    *rows: tuple[str, Phase], group: int = 0, ordinal: int = 0, revision: int = 0
) -> Report:
    return Report(
        tuple(key for key, _ in rows),
        ReportRows.of(
            revision=[revision] * len(rows),
            group=group,
            ordinal=ordinal,
            phase=[phase for _, phase in rows],
        ),
    )


class Desk:
    """A dispatcher and its log. Peers are the test itself: it reads sends and says what comes back.

    What is kept of a record are its bytes, so a restarted core shares no memory with the former.
    """

    def __init__(self, config: DispatcherConfig | None = None) -> None:
        self.config = config or DispatcherConfig()
        self.log: list[bytes] = []
        self.term = 1
        self.now_us = START_US
        self.core = DispatcherCore(self.term, self.config)
        self.effects: list[Effect] = []
        """Of the last event."""
        self.assigned: dict[str, Any] = {}
        """Key of each unit, to the last assignment row of it."""
        self.commands: list[Any] = []
        """Rows of all commands, in order."""
        self.command: Command | None = None
        self.changes: list[tuple[str, int, int, int, Phase, str, Reason]] = []
        self.wake_at_us = 0
        self.generation = 1
        """Of the newest outcomes; schedulers know of them unless a test says otherwise."""
        self._next = 0
        self._keys: dict[tuple[int, int], str] = {}
        self._tokens = 0

    # Events

    def give(self, event: Any) -> list[Effect]:
        """Give the core an event; effects are taken apart."""
        self.effects = self.core.handle(self.now_us, event)
        for effect in self.effects:
            self._take(effect)
        check_conservation(self.core)
        return self.effects

    def after(self, ms: float) -> list[Effect]:
        """Let time pass, then tick."""
        self.now_us += int(ms * MS)
        self.wake_at_us = 0
        return self.give(Tick())

    def ask(self, body: Any) -> Acks | Refusal:
        """A request; its answer."""
        for key in _keys_of(body):
            self._keys[uid_of(key)] = key
        self._tokens += 1
        effects = self.give(Request(self._tokens, body))
        (answer,) = [effect for effect in effects if isinstance(effect, Answer)]
        assert answer.token == self._tokens
        return answer.body  # type: ignore[no-any-return]

    def submit(self, *units: UnitSpec) -> Acks:
        answer = self.ask(a_submit(*units))
        assert isinstance(answer, Acks)
        return answer

    def amend(
        self, key: str, revision: int, *groups: GroupSpec, place: Place = Place.KEEP
    ) -> Refusal | None:
        answer = self.ask(Amend((AmendItem(key, revision, groups, place),)))
        assert isinstance(answer, Acks)
        return dict(answer.refused).get(0)

    def cancel(self, *keys: str) -> Acks:
        answer = self.ask(Cancel(keys))
        assert isinstance(answer, Acks)
        return answer

    def report(self, key: str, phase: Phase, **fields: int) -> Refusal | None:
        answer = self.ask(a_report((key, phase), **fields))
        assert isinstance(answer, Acks)
        return dict(answer.refused).get(0)

    def scheduler(
        self, name: str = "s0", profiles: tuple[str, ...] = ("default",), *, is_ready: bool = True
    ) -> None:
        """A scheduler comes."""
        self.give(PeerUp(name, Hello(name=name, role="scheduler", profiles=profiles)))
        if is_ready:
            self.give(Received(name, Ability(True)))

    def binder(self) -> None:
        """A session with the binder begins."""
        self.give(PeerUp("binder", Hello(name="binder", role="binder", term=1)))

    def down(self, name: str) -> None:
        self.give(PeerDown(name))

    def settle(self, *rows: dict[str, Any], wakes: int = 0, first: int | None = None) -> None:
        """Outcomes with the next numbers, or from `first` on."""
        start = self._next if first is None else first
        self._next = max(self._next, start + len(rows))
        nodes = sorted({row["node"] for row in rows if row["node"]})
        table = Settlements.of(
            handle=[row["handle"] for row in rows],
            uid_hi=[row["uid"][0] for row in rows],
            uid_lo=[row["uid"][1] for row in rows],
            revision=[row["revision"] for row in rows],
            attempt=[row["attempt"] for row in rows],
            verdict=[row["verdict"] for row in rows],
            reason=[row["reason"] for row in rows],
            group=[row["group"] for row in rows],
            ordinal=[row["ordinal"] for row in rows],
            node=[nodes.index(row["node"]) if row["node"] else NO_NODE for row in rows],
            argument=[0] * len(rows),
        )
        self.generation += 1
        settle = Settle(self.generation, start, table, 0, tuple(nodes), wakes)
        self.give(Received("binder", settle))

    def outcome(self, key: str, verdict: Verdict, **fields: Any) -> dict[str, Any]:
        """One outcome of a unit; by default of its replica 0 on n0, for its last assignment."""
        row = self.assigned.get(key, {})
        is_single = verdict in (
            Verdict.ACCEPTED,
            Verdict.BOUND,
            Verdict.ALREADY,
            Verdict.FAILED,
            Verdict.AMENDED,
        )
        return {
            "handle": row.get("handle", 0),
            "uid": uid_of(key),
            "revision": row.get("revision", 1),
            "attempt": row.get("attempt", 0),
            "verdict": verdict,
            "reason": Reason.NONE,
            "group": 0,
            "ordinal": 0 if is_single else WHOLE_UNIT,
            "node": "n0" if is_single else "",
            **fields,
        }

    def bind(self, key: str, *ordinals: int, node: str = "n0", **fields: Any) -> None:
        """The plan for a unit is committed."""
        self.settle(
            *(
                self.outcome(key, Verdict.BOUND, ordinal=ordinal, node=node, **fields)
                for ordinal in ordinals or (0,)
            )
        )

    def refuse(
        self,
        *keys: str,
        reason: Reason = Reason.INSUFFICIENT_RESOURCE,
        wakes: int = 7,
        short: Iterable[tuple[Reason, int]] = (),
        peer: str = "s0",
        behind: int = 0,
    ) -> None:
        """A scheduler finds no room for units, in a state so many generations old."""
        rows = [self.assigned[key] for key in keys]
        answers = NoFits.of(
            handle=[row["handle"] for row in rows],
            uid_hi=[row["uid_hi"] for row in rows],
            uid_lo=[row["uid_lo"] for row in rows],
            attempt=[row["attempt"] for row in rows],
            reason=reason,
            argument=0,
            wakes=wakes,
        )
        each = [(i, code, nodes) for i in range(len(keys)) for code, nodes in short]
        shortfalls = Shortfalls.of(
            answer=[i for i, _, _ in each],
            reason=[code for _, code, _ in each],
            resource=[0] * len(each),
            nodes=[nodes for _, _, nodes in each],
        )
        seen = (1, self.generation - behind)
        self.give(Received(peer, Unplaced(answers, shortfalls, ("cpu",), *seen)))

    def write_outcomes(self) -> None:
        """Outcomes are written at latest when a session begins, with what it acks."""
        self.binder()

    def restart(self, records: int | None = None) -> None:
        """A new life from what is durable, or from the first so many records."""
        kept = self.log if records is None else self.log[:records]
        self.term += 1
        self.core = restored(self.term, self.config, kept)
        self.wake_at_us = 0
        self.assigned = {}
        check_conservation(self.core)

    # Looking

    def sent(self, kind: type) -> list[tuple[str, Any]]:
        """(peer, body) of the last event's sends of a kind."""
        return [
            (e.peer, e.body) for e in self.effects if isinstance(e, Send) if type(e.body) is kind
        ]

    def assigned_now(self, peer: str | None = None) -> list[str]:
        """Keys that the last event assigned (to a peer), in order."""
        return [
            self._keys[uid]
            for name, assign in self.sent(Assign)
            if peer in (None, name)
            for uid in dict.fromkeys(
                zip(assign.rows.uid_hi.tolist(), assign.rows.uid_lo.tolist(), strict=True)
            )
        ]

    def word(self, key: str) -> str:
        view = self.core.unit(key)
        return view.word if view is not None else ""

    def state(self, key: str) -> State:
        return state_of(self.core, key)

    def _take(self, effect: Effect) -> None:
        match effect:
            case Persist(record=record):
                self.log.append(codec.encode(record))
            case Send(body=Assign() as assign):
                for row in assign.rows.rows():
                    self.assigned[self._keys[row["uid_hi"], row["uid_lo"]]] = row
            case Send(body=Command() as command):
                self.command = command
                self.commands += command.rows.rows()
            case Publish(body=Changes() as changes):
                self.changes += _changes_of(changes)
            case WakeAt(at_us=at_us):
                self.wake_at_us = min(self.wake_at_us or at_us, at_us)


def restored(term: int, config: DispatcherConfig, log: Iterable[bytes]) -> DispatcherCore:
    """A core from encoded records."""
    decoder = codec.decoder(Record)
    core = DispatcherCore(term, config)
    core.restore(decoder.decode(blob) for blob in log)
    return core


def encoded(core: DispatcherCore) -> list[bytes]:
    """The core's snapshot as bytes."""
    return [codec.encode(record) for record in core.snapshot()]


def state_of(core: DispatcherCore, key: str) -> State:
    """Where a unit is."""
    hi, lo = uid_of(key)
    handle = core._table.find(np.array([hi], np.uint64), np.array([lo], np.uint64))[0]
    return State(int(core._table.units.state[handle])) if handle >= 0 else State.FREE


def check_conservation(core: DispatcherCore) -> None:
    """Every known unit is in exactly the one place that its state names."""
    table, units = core._table, core._table.units
    known = table.known().tolist()
    assert len(known) == table.count
    assert sum(units.state[h] != State.FINISHED for h in known) == table.live_count
    places: dict[int, list[State]] = {handle: [] for handle in known}
    for entry, queue in _queued(core):
        places[entry].append(queue)
    for flight in core._flights._flights:
        members = core._flights.members(flight).tolist()
        assert len(members) == flight.open_count
        for handle in members:
            places[handle].append(State.FLIGHT)
    for handle in table.finished:
        places[handle].append(State.FINISHED)
    for handle, found in places.items():
        state = State(int(units.state[handle]))
        if state in (State.HELD, State.COMMANDED, State.GATHERING):
            assert found == []
        else:
            assert found == [state], f"{table.keys[handle]} is {state.name}, found in {found}"
    check_loads(core)


def check_loads(core: DispatcherCore) -> None:
    """Credits and tries add up."""
    for scheduler in core._router.schedulers.values():
        flights = core._flights.of(scheduler.name)
        assert scheduler.credits + len(flights) == 2
        assert scheduler.load == sum(flight.rows for flight in flights)
    parked, units = core._waiting.parked, core._table.units
    trying = [h for h in core._table.known().tolist() if units.probe[h]]
    assert parked.trying == len(trying) == sum(s.trying for s in parked._by_number.values())


def _queued(core: DispatcherCore) -> list[tuple[int, State]]:
    """(handle, set) of every live entry of every queue."""
    units, waiting, found = core._table.units, core._waiting, []
    for lanes in waiting.active._lanes.values():
        for lane in lanes.values():
            found += [(h, State.ACTIVE) for h in lane.first(units, 1 << 40).tolist()]
    for shape in waiting.parked._by_number.values():
        found += [(h, State.PARKED) for h in shape.queue.first(units, 1 << 40).tolist()]
    for entries in waiting.backoff._buckets.values():
        for handles, tickets in entries:
            live = handles[units.ticket[handles] == tickets]
            found += [(h, State.BACKOFF) for h in live.tolist()]
    return found


def _changes_of(changes: Changes) -> list[tuple[str, int, int, int, Phase, str, Reason]]:
    rows = changes.rows.rows()
    return [
        (
            key,
            row["revision"],
            row["group"],
            row["ordinal"],
            Phase(row["phase"]),
            "" if row["node"] == NO_NODE else changes.nodes[row["node"]],
            Reason(row["reason"]),
        )
        for key, row in zip(changes.keys, rows, strict=True)
    ]


def _keys_of(body: Any) -> list[str]:
    keys = list(getattr(body, "keys", ()))
    keys += [item.key for item in getattr(body, "items", ())]
    return keys + [member.gang for member in getattr(body, "members", ())]
