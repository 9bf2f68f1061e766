"""Kubelets: they see what is bound, through the public API, and report what becomes of it.

A replica is reported starting, then ready; jobs are done after a while and some replicas fail. What
was missed while the dispatcher was away is found in its list of units.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from cell.messages import Acks, Changes, Report, ReportRows, UnitView
from cell.unit import WHOLE_UNIT, Phase
from tests.simulation.load import Mix
from tests.simulation.requests import Courier
from tests.simulation.world import MS, World

Replica = tuple[str, int, int, int]
"""(key, revision, group, ordinal)."""


class Kubelets:
    """All of them."""

    def __init__(
        self, world: World, mix: Mix, courier: Courier, listed: Callable[[], list[UnitView]]
    ) -> None:
        self._world = world
        self._mix = mix
        self._courier = courier
        self._listed = listed
        self._told: dict[Replica, Phase] = {}
        self._queued: list[tuple[Replica, Phase]] = []
        self.may_fail = True

    def published(self, changes: Changes) -> None:
        """The dispatcher tells its watchers."""
        rows = changes.rows
        for i, key in enumerate(changes.keys):
            if rows.phase[i] == Phase.BOUND and rows.ordinal[i] != WHOLE_UNIT:
                replica = (key, int(rows.revision[i]), int(rows.group[i]), int(rows.ordinal[i]))
                self._run(replica)

    def relist(self) -> None:
        """Find what was bound unseen."""
        for view in self._listed():
            for r in view.replicas:
                if r.phase.upper() == Phase.BOUND.name:
                    self._run((view.key, view.revision, r.group, r.ordinal))

    def _run(self, replica: Replica) -> None:
        if replica in self._told:
            return
        world = self._world
        self._told[replica] = Phase.BOUND
        steps = [
            (Phase.STARTING, world.between(1, 30) * MS),
            (Phase.READY, world.between(20, 300) * MS),
        ]
        luck = zlib.crc32(repr(replica[:2]).encode()) % 1000 / 1000
        if luck < self._mix.job_ratio and not replica[0].startswith("set"):
            steps.append((Phase.DONE, world.between(100, 2500) * MS))
        if world.chance(self._mix.fail_ratio) and self.may_fail:
            steps[world.between(0, len(steps) - 1)] = (Phase.FAILED, world.between(1, 900) * MS)
        after_us = 0
        for phase, step_us in steps:
            after_us += step_us
            world.after(after_us, lambda phase=phase: self._report(replica, phase))  # type: ignore[misc]
            if phase is Phase.FAILED:
                break

    def _report(self, replica: Replica, phase: Phase) -> None:
        """Several reports that are due together travel in one request."""
        self._told[replica] = max(phase, self._told[replica])
        self._queued.append((replica, phase))
        if len(self._queued) == 1:
            self._world.after(self._world.between(1, 20) * MS, self._send)

    def _send(self) -> None:
        queued, self._queued = self._queued, []
        rows = ReportRows.of(
            revision=[replica[1] for replica, _ in queued],
            group=[replica[2] for replica, _ in queued],
            ordinal=[replica[3] for replica, _ in queued],
            phase=[phase for _, phase in queued],
        )
        keys = tuple(replica[0] for replica, _ in queued)
        self._courier.ask(Report(keys, rows), lambda answer: self._answered(answer))

    def _answered(self, answer: object) -> None:
        assert isinstance(answer, Acks), answer
