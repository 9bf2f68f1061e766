"""Clients of the Placement API: they submit, submit again, amend, cancel and let gangs join.

Each acts when its time comes, on units of its own making; a request is repeated as it was until it
is answered, and there is one request per unit at a time.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from cell.classes import ClassSpec
from cell.messages import Acks, Amend, AmendItem, Cancel, Join, Member, Submit
from cell.unit import NO_PIN, GroupBatch, GroupSpec, Place, UnitBatch, UnitSpec, uid_of
from tests.simulation.cluster import Desk
from tests.simulation.load import Mix, a_unit, cpu_of
from tests.simulation.world import MS, World

GANG_TIMEOUT_MS = 3_600_000
ROUND_US = 180 * MS


class Clients:
    """All clients together. `budget_cpu` is what they may still ask for."""

    def __init__(
        self, world: World, mix: Mix, classes: list[ClassSpec], courier: Desk, budget_cpu: int
    ) -> None:
        self._world = world
        self._mix = mix
        self._classes = classes
        self._courier = courier
        self._budget_cpu = budget_cpu
        self._made = 0
        self._busy: set[str] = set()
        self._alive: dict[str, tuple[int, UnitSpec]] = {}
        self._ended: list[UnitSpec] = []
        self.is_over = False
        """Set at the end of the history: nothing new is asked for."""
        self.may_amend = True
        self.may_join = True
        """Whether members of gangs come one by one."""

    def begin(self) -> None:
        """Act from now on, at random times."""
        self._world.after(self._world.between(1, ROUND_US), self._act)

    def _act(self) -> None:
        if self.is_over:
            return
        world, mix = self._world, self._mix
        self._world.after(world.between(ROUND_US // 6, ROUND_US), self._act)
        luck = world.random.random()
        if luck < mix.cancel_ratio / 2:
            self._cancel()
        elif luck < (mix.cancel_ratio + mix.amend_ratio) / 2:
            if self.may_amend:
                self._amend()
        elif luck < (mix.cancel_ratio + mix.amend_ratio + mix.again_ratio) / 2:
            self._submit_again()
        elif self.may_join and world.chance(mix.joined_ratio):
            self._join()
        else:
            self._submit()

    # Submit

    def _submit(self) -> None:
        world = self._world
        units: list[UnitSpec] = []
        for _ in range(world.random.choice((1, 1, 2, 4, 8))):
            if self._budget_cpu <= 0:
                # What ended makes room for more; without it the history would run dry.
                self._budget_cpu = 2000 if world.chance(0.3) else 0
                break
            self._made += 1
            unit = a_unit(world, self._mix, self._classes, f"u{self._made}")
            self._budget_cpu -= cpu_of(unit)
            units.append(unit)
        self._send(units)

    def _submit_again(self) -> None:
        """The same key once more: same content, rarely other; rarely after its end."""
        known = [unit for _, unit in self._alive.values() if unit.key not in self._busy]
        if self._ended and self._world.chance(0.3):
            known = self._ended
        if known:
            unit = self._world.random.choice(known)
            if self._world.chance(0.2):
                other = a_unit(self._world, self._mix, self._classes, unit.key)
                self._courier.ask(submit_of([other]), lambda answer: None)
            elif unit.key not in self._busy:
                self._send([unit])

    def _send(self, units: list[UnitSpec]) -> None:
        if not units:
            return
        self._busy.update(unit.key for unit in units)
        self._courier.ask(submit_of(units), lambda answer: self._submitted(units, answer))

    def _submitted(self, units: list[UnitSpec], answer: Any) -> None:
        refused = {item for item, _ in answer.refused} if isinstance(answer, Acks) else set()
        for i, unit in enumerate(units):
            self._busy.discard(unit.key)
            if i not in refused and isinstance(answer, Acks):
                self._alive.setdefault(unit.key, (1, unit))

    def _join(self) -> None:
        """A gang whose members come one by one; some never get whole."""
        world = self._world
        self._made += 1
        gang = f"g{self._made}"
        size = world.random.choice((2, 3, 5))
        klass = world.random.choice(self._classes)
        other = world.random.choice(self._classes)
        for i in range(size if world.chance(0.8) else size - 1):
            member = Member(gang, f"m{i}", size, GANG_TIMEOUT_MS, other if i == 1 else klass)
            world.after(
                world.between(1, 600 * MS),
                lambda member=member: self._courier.ask(Join((member,)), lambda answer: None),  # type: ignore[misc]
            )

    # Change and end

    def _amend(self) -> None:
        key = self._idle_key()
        if key is None:
            return
        luck = self._world.random
        revision, unit = self._alive[key]
        groups = tuple(self._amended(group) for group in unit.groups)
        place = luck.choice((Place.KEEP, Place.ANYWHERE))
        changed = msgspec.structs.replace(unit, groups=groups)
        self._busy.add(key)
        item = AmendItem(key, revision + 1, groups, place)
        self._courier.ask(Amend((item,)), lambda answer: self._amended_by(item, changed, answer))

    def _amended(self, group: GroupSpec) -> GroupSpec:
        same_rules = [
            klass
            for klass in self._classes
            if msgspec.structs.replace(klass, demand=())
            == msgspec.structs.replace(group.klass, demand=())
        ]
        luck = self._world.random
        klass = luck.choice(same_rules if luck.random() < 0.7 else self._classes)
        return msgspec.structs.replace(group, klass=klass)

    def _amended_by(self, item: AmendItem, changed: UnitSpec, answer: Any) -> None:
        self._busy.discard(item.key)
        if isinstance(answer, Acks) and not answer.refused and item.key in self._alive:
            self._alive[item.key] = (item.revision, changed)

    def cancel(self, uid: tuple[int, int]) -> None:
        """End a unit now, if it is one of ours that nothing is asked of."""
        for key in self._alive:
            if uid_of(key) == uid and key not in self._busy:
                self._cancel_key(key)
                return

    def _cancel(self) -> None:
        key = self._idle_key()
        if key is not None:
            self._cancel_key(key)

    def _cancel_key(self, key: str) -> None:
        self._busy.add(key)
        self._courier.ask(Cancel((key,)), lambda answer: self._cancelled(key))

    def _cancelled(self, key: str) -> None:
        self._busy.discard(key)
        _, unit = self._alive.pop(key)
        self._budget_cpu += cpu_of(unit)
        self._ended.append(unit)

    def _idle_key(self) -> str | None:
        idle = [key for key in self._alive if key not in self._busy]
        return self._world.random.choice(idle) if idle else None


def submit_of(units: list[UnitSpec]) -> Submit:
    """A Submit of units in row form."""
    groups = [group for unit in units for group in unit.groups]
    classes = list(dict.fromkeys(group.klass for group in groups))
    pins = list(dict.fromkeys(group.pin for group in groups if group.pin))
    uids = [uid_of(unit.key) for unit in units]
    return Submit(
        UnitBatch.of(
            uid_hi=np.array([hi for hi, _ in uids], np.uint64),
            uid_lo=np.array([lo for _, lo in uids], np.uint64),
            priority=[unit.priority for unit in units],
            groups=[len(unit.groups) for unit in units],
        ),
        GroupBatch.of(
            klass=[classes.index(group.klass) for group in groups],
            count=[group.count for group in groups],
            min=[group.min for group in groups],
            pin=[pins.index(group.pin) if group.pin else NO_PIN for group in groups],
        ),
        tuple(unit.key for unit in units),
        tuple(classes),
        tuple(group.role for group in groups),
        tuple(pins),
    )
