"""Walks of gangs of pods through a hostile server; the dispatcher is whoever plans what it is told.

Whatever happens, no member of a gang is bound before its gang is written or bound; in the end every
gang of which enough members are there is bound with all of them, and of others nobody is.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.effects import Received, Send
from cell.home import (
    Answered,
    Call,
    GangPhase,
    HomeGang,
    HomeGroup,
    HomeUnit,
    Note,
    ObjectState,
    ObjectView,
    Post,
    Relist,
    Replica,
    Watched,
    WatchLost,
    Write,
)
from cell.messages import Arrive, Plan
from cell.unit import PlanRows
from tests.property.binder.api_world import ApiWorld
from tests.property.binder.test_api_walk import NODES, Walk
from tests.unit.binder.builders import a_class, a_row, columns, definitions

KLASS = a_class(1)
OTHER = a_class(2)
CLASSES = definitions([KLASS, OTHER])
GANGS = ("ns/a", "ns/b", "ns/c")
PODS_MAX = 24


class GangWorld(ApiWorld):
    """Objects are pods with units of their own; `gangs` are the PodGroups."""

    def __init__(self, random: Random) -> None:
        super().__init__(random, NODES)
        self.gangs: dict[str, HomeGang] = {}
        self.units: dict[Replica, HomeUnit] = {}
        self.changes: list[Watched] = []
        self.edited: set[str] = set()
        """Of whose PodGroup another minimum, or another PodGroup, was there before."""
        self.touched: set[str] = set()
        """Of which somebody else has bound or ended a member: what we knew may have been old."""

    def pod(self, number: int, gang: str) -> None:
        replica = Replica(number, number)
        group = HomeGroup((OTHER if number % 5 == 0 else KLASS).encoded())
        unit = HomeUnit(number, number, f"ns/p{number}", groups=(group,), gang=gang)
        self.units[replica] = unit
        self.create(replica, group.klass)

    def put_gang(self, gang: HomeGang) -> None:
        self.gangs[gang.key] = gang
        if gang.is_over:
            del self.gangs[gang.key]
        self.changes.append(Watched(gangs=(gang,)))

    def change(self, replica: Replica, state: ObjectState) -> None:
        if replica in self.objects:
            self.touched.add(self.units[replica].gang)
        super().change(replica, state)

    def _put(self, view: ObjectView) -> None:
        super()._put(view)
        self.deltas.clear()
        view = msgspec.structs.replace(view, version=self.version)
        unit = self.units[view.replica]
        self.changes.append(Watched((view,), units=(_unit(unit, view),)))

    def delta(self) -> Watched | None:
        return self.changes.pop(0) if self.changes else None

    def serve(self, call: Call, *, is_kind: bool) -> Any:
        answer = super().serve(call, is_kind=is_kind)
        if isinstance(call, Relist):
            self.changes.clear()
            units = tuple(_unit(self.units[r], view) for r, view in self.objects.items())
            gangs = tuple(self.gangs.values())
            answer = msgspec.structs.replace(answer, units=units, gangs=gangs)
        return answer

    def _apply(self, call: Call) -> Answered:
        if isinstance(call, Post):
            self._check_post(call)
        if isinstance(call, Write) and call.is_held and call.gang in self.gangs:
            gang = self.gangs[call.gang]
            self.put_gang(msgspec.structs.replace(gang, phase=GangPhase.SCHEDULED))
        return super()._apply(call)

    def _check_post(self, call: Post) -> None:
        """A gang is bound together or not at all."""
        view = self.objects.get(call.replica)
        if view is None or view.state is not ObjectState.PENDING:
            return
        gang = self.gangs.get(self.units[call.replica].gang)
        records = [kept.record for kept in self.records.values() if kept.record is not None]
        is_written = any(m.object == call.object for r in records for m in r.members)
        is_last = gang is not None and self.bound_of(gang.key) + 1 >= gang.min
        is_free = gang is None or gang.key in self.edited or gang.phase is GangPhase.SCHEDULED
        is_free = is_free or (gang is not None and gang.key in self.touched)
        assert is_written or is_last or is_free

    def bound_of(self, key: str) -> int:
        return sum(bool(v.node) for r, v in self.objects.items() if self.units[r].gang == key)


def _unit(unit: HomeUnit, view: ObjectView) -> HomeUnit:
    is_over = view.state not in (ObjectState.PENDING, ObjectState.BOUND)
    is_over = is_over and not (view.state is ObjectState.TERMINATING and view.node)
    return msgspec.structs.replace(unit, is_over=is_over)


class GangWalk(Walk):
    """One history of gangs; `known` are the units as the dispatcher has them."""

    world: GangWorld

    def __init__(self, seed: int) -> None:
        self.known: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.pods = 0
        self.random = Random(seed)
        self.world = GangWorld(self.random)
        self.now_us = 1_000_000
        self.term = 0
        self.attempt = 0
        for i, key in enumerate(GANGS):
            self.world.put_gang(HomeGang(key, uid=i + 1, min=i + 2))
        self.start()

    def start(self) -> None:
        self.known.clear()
        super().start()

    def give(self, event: Any) -> None:
        effects = self.core.handle(self.now_us, event)
        self.world.open += [effect for effect in effects if isinstance(effect, Call)]
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.body, Arrive):
                self._arrive(effect.body)
            if isinstance(effect, Note):
                self._note(effect)

    def _note(self, note: Note) -> None:
        """The shell shows the phase at the PodGroup."""
        for state in note.states:
            gang = self.world.gangs.get(state.key)
            if gang is not None and gang.phase is not state.phase:
                self.world.put_gang(msgspec.structs.replace(gang, phase=state.phase))

    def _arrive(self, body: Arrive) -> None:
        """Units as a dispatcher takes them."""
        if body.is_first:
            self.known.clear()
        at = 0
        rows = zip(body.units.uid_hi, body.units.uid_lo, body.units.groups, strict=True)
        for hi, lo, groups in rows:
            span = range(at, at + int(groups))
            made = [(int(body.groups.klass[i]), int(body.groups.count[i])) for i in span]
            kinds = [(int(body.classes[k] == OTHER.encoded()), count) for k, count in made]
            self.known[int(hi), int(lo)] = kinds
            at += int(groups)
        for hi, lo in zip(body.gone.uid_hi, body.gone.uid_lo, strict=True):
            self.known.pop((int(hi), int(lo)), None)

    def plan(self) -> None:
        if self.known:
            self.plan_for(self.random.choice(sorted(self.known)))

    def plan_for(self, uid: tuple[int, int]) -> None:
        self.attempt += 1
        rows = [
            a_row(
                *(1,),
                uid_hi=uid[0],
                uid_lo=uid[1],
                group=group,
                ordinal=ordinal,
                klass=klass,
                min=count,
                node=(node := self.random.randrange(len(NODES))),
                incarnation=int(self.core._ledger.nodes.columns.incarnation[node]),
                attempt=self.attempt,
            )
            for group, (klass, count) in enumerate(self.known[uid])
            for ordinal in range(count)
        ]
        first, self.planned = self.planned, self.planned + len(rows)
        self.give(Received("s0", Plan(1, first, 0, columns(PlanRows, rows), CLASSES)))

    def command(self) -> None:
        """Somebody makes a pod, or changes a PodGroup."""
        if self.random.random() < 0.8 and self.pods < PODS_MAX:
            self.pods += 1
            self.world.pod(self.pods, self.random.choice(GANGS))
            return
        key = self.random.choice(GANGS)
        gang = self.world.gangs.get(key)
        self.world.edited.add(key)
        if gang is not None:
            change: dict[str, Any] = self.random.choice([{"min": 2}, {"min": 4}, {"is_over": True}])
            self.world.put_gang(msgspec.structs.replace(gang, **change))
        else:
            self.world.put_gang(HomeGang(key, uid=self.random.randrange(1 << 30), min=3))

    def others(self) -> None:
        does = self.random.choice(["end", "end", "bind", "gap", "crash"])
        views = [self.world.objects[r] for r in sorted(self.world.objects)]
        if does == "gap":
            self.world.changes.clear()
            self.give(WatchLost())
        elif does == "crash" and self.random.random() < 0.3:
            self.start()
        elif views and does in ("end", "bind"):
            view = self.random.choice(views)
            states = [ObjectState.TERMINATING, ObjectState.FAILED, ObjectState.DELETED]
            state = ObjectState.BOUND if does == "bind" else self.random.choice(states)
            node = "n0" if does == "bind" else view.node
            if state > view.state:
                self.world.touched.add(self.world.units[view.replica].gang)
                self.world._put(msgspec.structs.replace(view, state=state, node=node))

    def step(self) -> None:
        self.random.choice([self.command] * 2 + [super().step] * 6)()

    def heal(self) -> None:
        for _ in range(8):
            while self.world.open or self.world.changes:
                self.serve(is_kind=True)
                self.show()
            for uid in sorted(self.known):
                self.plan_for(uid)
            super().heal()

    def check_agreement(self) -> None:
        held = Counter(
            self.world.units[o.replica].gang for o in self.world.objects.values() if o.node
        )
        view = self.core.ledger()
        assert Counter(view.nodes[r["node"]] for r in view.claims.rows()) == Counter(
            o.node for o in self.world.objects.values() if o.state is ObjectState.BOUND
        )
        assert self.world.open == []
        assert [kept for kept in self.world.records.values() if kept.record] == []
        assert len(self.world.bound) == len(set(self.world.bound))
        for key in GANGS:
            self._check_gang(key, held[key])

    def _check_gang(self, key: str, held: int) -> None:
        gang = self.world.gangs.get(key)
        pods = [v for r, v in self.world.objects.items() if self.world.units[r].gang == key]
        waiting = [v for v in pods if v.state is ObjectState.PENDING]
        if gang is None:
            return
        is_calm = key not in self.world.edited
        is_enough = is_calm and held + len(waiting) >= gang.min
        if is_enough or gang.phase is GangPhase.SCHEDULED:
            assert waiting == []
        elif is_calm and key not in self.world.touched:
            assert held == 0


@settings(max_examples=150)
@given(st.integers(0, 1 << 32), st.integers(0, 160))
def test_gangs_of_pods_are_bound_whole_or_not_at_all(seed: int, steps: int) -> None:
    walk = GangWalk(seed)
    for _ in range(steps):
        walk.step()
    walk.heal()
    walk.check_agreement()
