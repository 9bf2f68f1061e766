"""Whoever makes PodGroups and their pods, and what must hold of them.

A few gangs in each history: pods come at once or in drips, before their PodGroup or behind it, some
never enough; some PodGroups are changed, or deleted and made anew. Rules: a pod is bound by us only
with its gang, whole, or behind it; in the end a gang that can be is bound, no other holds anything,
its phase says how it stands, and a pod that is held back is told why.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from cell.classes import ClassSpec, decode
from cell.home import GangPhase, HomeGang, HomeGroup, HomeUnit, ObjectState, ObjectView, Replica
from cell.messages import Arrive
from cell.unit import NO_PIN, GroupSpec, uid_of
from tests.simulation import room
from tests.simulation.api_server import ApiServer
from tests.simulation.auditor import Auditor
from tests.simulation.unit_desk import PODS
from tests.simulation.world import MS, SECOND, Broken, World

GANGS_MAX = 4
PODS_MAX = 12
"""Of one gang in a history."""
STEP_US = (20 * MS, 400 * MS)
CHANGED_RATIO = 0.008
"""Of steps: how often a PodGroup is changed or deleted."""
FINAL = (GangPhase.SCHEDULED, GangPhase.TIMEOUT)


class GangPods:
    """See the module."""

    def __init__(
        self, world: World, server: ApiServer, auditor: Auditor, classes: list[ClassSpec]
    ) -> None:
        self._world = world
        self._server = server
        self._groups = server.pod_groups
        self._promises = auditor.promises
        self._ledger = auditor.ledger
        self._classes = classes
        self._sizes: dict[str, int] = {}
        """How many pods whoever made a gang wants to have."""
        self._made: dict[str, int] = {}
        self.touched: set[str] = set()
        """Gangs of which somebody has bound or ended a pod, or changed the PodGroup."""
        self.is_over = False

    def begin(self) -> None:
        """Make gangs from now on."""
        for i in range(self._world.between(1, GANGS_MAX)):
            self._world.after(self._world.between(MS, SECOND), lambda i=i: self._begin(i))  # type: ignore[misc]

    def _begin(self, number: int) -> None:
        world, key = self._world, f"{PODS}g{number}"
        least = world.random.choice((1, 2, 2, 3, 3, 4))
        self._groups.keys.add(key)
        self._sizes[key] = max(1, least + world.random.choice((-1, 0, 0, 1, 2)))
        is_short = world.chance(0.15)
        deadline_us = world.now_us + world.between(300 * MS, 3 * SECOND) if is_short else 0
        gang = HomeGang(key, number + 1, least, deadline_us)
        if world.chance(0.9):
            world.after(world.between(0, SECOND), lambda: self._server.put_gang(gang))
        self._step(key)

    def _step(self, key: str) -> None:
        """Controllers: as many pods as are wanted, one by one or all at once."""
        world = self._world
        world.after(world.between(*STEP_US), lambda: self._step(key))
        self._groups.collect(self._server.records)
        if not self.is_over and world.chance(CHANGED_RATIO):
            self._change(key)
        missing = self._sizes[key] - sum(
            view.state is not ObjectState.TERMINATING for view in self._pods(key)
        )
        for _ in range(missing if world.chance(0.5) else min(missing, 1)):
            self._make_pod(key)

    def _make_pod(self, key: str) -> None:
        number = self._made.setdefault(key, 0)
        if number >= PODS_MAX:
            return
        self._made[key] += 1
        world, pod = self._world, f"{key}/p{number}"
        klass = self._classes[(len(key) + number // 3) % len(self._classes)]
        replica = Replica(*uid_of(pod))
        unit = HomeUnit(
            replica.uid_hi,
            replica.uid_lo,
            pod,
            priority=world.between(0, 1),
            groups=(HomeGroup(klass.encoded()),),
            gang=key,
        )
        self._promises.formed(pod, (GroupSpec(klass),))
        self._server.create_pod(replica, unit)

    def _change(self, key: str) -> None:
        """Its owner wants another minimum; or deletes the PodGroup, and makes another."""
        world, gang = self._world, self._groups.gangs.get(key)
        if gang is None:
            return
        world.fault("pod group changed")
        self.touched.add(key)
        if world.chance(0.5):
            self._server.put_gang(msgspec.structs.replace(gang, min=world.between(1, 4)))
            return
        self._server.put_gang(msgspec.structs.replace(gang, is_over=True))
        other = HomeGang(key, gang.uid + 100, gang.min)
        world.after(world.between(MS, SECOND), lambda: self._server.put_gang(other))

    def _pods(self, key: str) -> list[ObjectView]:
        views = self._server.objects.values()
        return [view for view in views if self._groups.gang_of(view.replica) == key]

    # What binder and dispatcher are told

    def arrived(self, body: Arrive) -> None:
        """Units that were formed: whoever watches is told of them."""
        at, klasses = 0, [decode(klass) for klass in body.classes]
        for key, count in zip(body.keys, body.units.groups.tolist(), strict=True):
            rows = range(at, at + count)
            at += count
            gang = self._groups.formed_of(key)
            if not gang:
                continue
            self._check_formed(key, gang, sum(int(body.groups.count[i]) for i in rows))
            pins = [int(body.groups.pin[i]) for i in rows]
            groups = [
                GroupSpec(
                    klasses[int(body.groups.klass[i])],
                    "",
                    int(body.groups.count[i]),
                    int(body.groups.min[i]),
                    "" if pin == NO_PIN else body.pins[pin],
                )
                for i, pin in zip(rows, pins, strict=True)
            ]
            self._promises.formed(key, tuple(groups))

    def _check_formed(self, key: str, gang: str, count: int) -> None:
        spec = self._groups.gangs.get(gang)
        if spec is not None and gang not in self.touched and count > spec.min:
            raise Broken("a gang is formed of as many as it needs", f"{count} of {spec}", key)

    def listed(self, records: tuple[Any, ...]) -> None:
        """A new binder finds records of gangs that a former one has formed."""
        for kept in records:
            record = kept.record
            if self._groups.formed_of(record.key) and record.key not in self._promises.by_key:
                raise Broken("a gang is told before it is written", f"{record}", record.key)

    def take_last(self, view: ObjectView) -> None:
        """The last pod that a gang needs has no record, so its seat is where its room is held."""
        gang = self._groups.gang_of(view.replica)
        for (uid, group, ordinal), claim in self._ledger.claims().items() if gang else ():
            name, promise = Replica(*uid, group, ordinal), self._promises.by_uid.get(uid)
            if promise is None or self._groups.formed_of(promise.key) != gang:
                continue
            (spec, *others) = promise.contents[1]
            if claim.node == view.node and spec.count == 1 and not others:
                self._groups.seats.setdefault(name, view.object)

    # Rules

    def bound(self, view: ObjectView) -> None:
        """A binding of ours took effect: its record is written, or its gang is bound but for it."""
        key = self._groups.gang_of(view.replica)
        spec = self._groups.gangs.get(key)
        if spec is None or key in self.touched or spec.phase is GangPhase.SCHEDULED:
            return
        if not self._is_written(view) and len(self._held(key)) < spec.min:
            raise Broken("gang whole", f"{view.replica} is bound before its gang", key)

    def evicted(self, replica: Replica) -> None:
        """An eviction is asked for: its gang cannot be completed."""
        view, key = self._server.objects.get(replica), self._groups.gang_of(replica)
        if view is not None and key and key not in self.touched and not self._is_written(view):
            raise Broken("nothing is evicted for nothing", f"{view}", key)

    def _is_written(self, view: ObjectView) -> bool:
        """Whether there is a record that has the object as a member."""
        kept = [view.record for view in self._server.records.values() if view.record is not None]
        return any(m.object == view.object for record in kept for m in record.members)

    def _held(self, key: str) -> list[ObjectView]:
        states = (ObjectState.BOUND, ObjectState.DONE, ObjectState.FAILED)
        return [view for view in self._pods(key) if view.node and view.state in states]

    def complaints(
        self, lines: dict[tuple[int, int], str], free: dict[str, room.Amounts]
    ) -> Iterator[Broken]:
        """What is not as it must be in the end."""
        for key, spec in sorted(self._groups.gangs.items()):
            waiting = [v for v in self._pods(key) if v.state is ObjectState.PENDING]
            held_pods = self._held(key)
            held = len(held_pods)
            # One may have ended by itself before its gang could be repaired.
            running = [view for view in held_pods if view.state is ObjectState.BOUND]
            is_calm = key not in self.touched
            if is_calm and spec.phase is not GangPhase.SCHEDULED and running:
                yield Broken("gang whole", f"{running} are bound: {spec}", key)
            if spec.phase not in FINAL and held + len(waiting) >= spec.min:
                needed = [(GroupSpec(decode(view.klass)), 1) for view in waiting]
                if room.surely_fits(self._server.nodes.values(), free, needed):
                    yield Broken("what fits is bound", f"{held} + {len(waiting)}: {spec}", key)
            want = self._phase(spec, held, len(waiting))
            if spec.phase not in (want, GangPhase.SCHEDULED):
                yield Broken("the phase says how it stands", f"{want.name}: {spec}", key)
        for key in sorted(self._groups.keys):
            for view in self._pods(key):
                uid = view.replica.uid_hi, view.replica.uid_lo
                if view.state is ObjectState.PENDING and not lines.get(uid):
                    yield Broken("who waits is told why", f"{view}", key)

    def _phase(self, spec: HomeGang, held: int, waiting: int) -> GangPhase:
        if spec.phase is GangPhase.SCHEDULED or held >= spec.min:
            return GangPhase.SCHEDULED
        if spec.deadline_us and spec.deadline_us <= self._world.now_us:
            return GangPhase.TIMEOUT
        is_enough = held + waiting >= spec.min
        return GangPhase.PRE_SCHEDULING if is_enough else GangPhase.PENDING
