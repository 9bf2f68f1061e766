"""Who releases services: creates rollingsets and moves them from version to version.

One release at a time per rollingset; a new one may be asked for before the last has finished.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cell.classes import ClassSpec
from cell.reasons import Refusal
from cell.release import (
    CreateRollingset,
    ReleaseColumn,
    RollingsetSpec,
    RollingsetView,
    UpdateRollingset,
)
from cell.unit import Place
from tests.simulation.load import Mix
from tests.simulation.requests import Courier
from tests.simulation.world import MS, World

ROUND_US = 1_500 * MS


class Releases:
    """The user of the Release API. `specs` are the rollingsets as last acknowledged."""

    def __init__(self, world: World, mix: Mix, classes: list[ClassSpec], courier: Courier) -> None:
        self._world = world
        self._courier = courier
        # Rules apart, so that most versions fit where the version before them is.
        self._classes = [klass for klass in classes if not klass.selector and not klass.affinity]
        self.wanted: dict[str, RollingsetSpec] = {}
        self.specs: dict[str, RollingsetSpec] = {}
        self.is_over = False
        for i in range(mix.rollingsets):
            self.wanted[f"set{i}"] = self._drawn(f"set{i}")

    @property
    def cpu(self) -> int:
        """What they ask for."""
        return sum(
            spec.rows * sum(dict(c.klass.demand)["cpu"] * c.count for c in spec.columns)
            for spec in self.wanted.values()
        )

    def begin(self) -> None:
        """Create all, then release at random times."""
        for name in sorted(self.wanted):
            spec = self.wanted[name]
            self._world.after(
                self._world.between(1, 800 * MS),
                lambda spec=spec: self._courier.ask(  # type: ignore[misc]
                    CreateRollingset(spec), lambda answer: self._acked(spec, answer)
                ),
            )
        self._world.after(self._world.between(ROUND_US // 2, ROUND_US), self._act)

    def _drawn(self, name: str) -> RollingsetSpec:
        luck = self._world.random
        columns = tuple(
            ReleaseColumn(f"c{i}", self._class(), luck.choice((1, 1, 2)))
            for i in range(luck.choice((1, 2)))
        )
        return RollingsetSpec(
            name=name,
            rows=luck.choice((2, 3, 5)),
            columns=columns,
            max_unavailable=luck.choice((1, 1, 2)),
            place=luck.choice((Place.KEEP, Place.ANYWHERE)),
        )

    def _class(self) -> ClassSpec:
        return self._world.random.choice(self._classes)

    def _act(self) -> None:
        if self.is_over:
            return
        self._world.after(self._world.between(ROUND_US // 2, ROUND_US * 2), self._act)
        if not self.specs:
            return
        spec = self.specs[self._world.random.choice(sorted(self.specs))]
        luck = self._world.random.random()
        if luck < 0.8:
            columns = tuple(
                msgspec.structs.replace(column, klass=self._class()) for column in spec.columns
            )
            changed = msgspec.structs.replace(spec, columns=columns)
        else:
            changed = msgspec.structs.replace(spec, rows=self._world.between(1, 5))
            changed = msgspec.structs.replace(
                changed, max_unavailable=min(int(spec.max_unavailable), changed.rows)
            )
        self._courier.ask(UpdateRollingset(changed), lambda answer: self._acked(changed, answer))

    def _acked(self, spec: RollingsetSpec, answer: Any) -> None:
        if isinstance(answer, Refusal):
            return
        assert isinstance(answer, RollingsetView), answer
        self.specs[spec.name] = spec
