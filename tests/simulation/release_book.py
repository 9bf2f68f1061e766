"""Whether releases keep their bound, judged by what the rolling controller had been shown.

Rule: a request that stops a serving row leaves at least rows - max_unavailable rows serving, as far
as the controller could know. A failure it has not heard of is not its doing, and a row that it had
end by right may be asked to end again, whatever the user wants by then: its first request may have
been taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cell.effects import Answer, Received, Request, Send
from cell.messages import Amend, Cancel, Changes, UnitView
from cell.reasons import Refusal
from cell.release import Call, Called, RollingsetSpec, RollingsetView, Seen
from cell.unit import WHOLE_UNIT, Phase
from tests.simulation.world import Broken

CANCELLED = 1 << 32
"""Stands for the revision of a unit that was asked to end."""


@dataclass
class Sight:
    """One row's unit as shown to the controller; `asked` is the revision it asked for last."""

    revision: int = 0
    asked: int = 1
    phases: dict[tuple[int, int], Phase] = field(default_factory=dict)

    def is_ready(self, replicas: int) -> bool:
        """Whether it serves, and was not asked to stop."""
        ready = sum(phase is Phase.READY for phase in self.phases.values())
        return self.revision == self.asked and ready == replicas


class ReleaseBook:
    """All rollingsets. A restarted controller keeps what its log says, so books outlive it."""

    def __init__(self) -> None:
        self.specs: dict[str, RollingsetSpec] = {}
        self._sights: dict[str, Sight] = {}
        self._calls: dict[int, dict[str, int]] = {}
        self._ending: set[str] = set()
        """Keys of rows that were asked to end."""

    def took(self, event: Any, effects: list[Any]) -> None:
        """The controller has taken an event."""
        match event:
            case Received(body=Seen() as seen):
                self._seen(seen)
            case Received(body=Changes() as changes):
                self._changed(changes)
            case Received(body=Called() as called):
                self._answered(called)
            case Request():
                for effect in effects:
                    if isinstance(effect, Answer) and isinstance(effect.body, RollingsetView):
                        self.specs[effect.body.spec.name] = effect.body.spec
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.body, Call):
                self._called(effect.body)

    def _seen(self, seen: Seen) -> None:
        """Everything under a prefix at one moment: requests that are not seen here got lost, for a
        session is ordered and its end is an end."""
        for key in [key for key in self._sights if key.startswith(seen.prefix)]:
            del self._sights[key]
        for view in seen.views:
            self._sights[view.key] = _sight_of(view)

    def _changed(self, changes: Changes) -> None:
        rows = changes.rows
        for i, key in enumerate(changes.keys):
            sight = self._sights.setdefault(key, Sight())
            revision = int(rows.revision[i])
            if revision < sight.revision:
                continue
            if revision > sight.revision:
                sight.revision, sight.phases = revision, {}
                sight.asked = max(sight.asked, revision)
            replica = (int(rows.group[i]), int(rows.ordinal[i]))
            phase = Phase(int(rows.phase[i]))
            if replica[1] == WHOLE_UNIT:
                sight.phases = {name: phase for name in sight.phases}
            else:
                sight.phases[replica] = phase

    def _called(self, call: Call) -> None:
        match call.body:
            case Amend(items=items):
                asked = {item.key: item.revision for item in items}
            case Cancel(keys=keys):
                asked = dict.fromkeys(keys, CANCELLED)
            case _:
                return
        self._calls[call.number] = asked
        for name in sorted({key.split("/")[0] for key in asked}):
            self._stop(name, {k: r for k, r in asked.items() if k.split("/")[0] == name})

    def _answered(self, called: Called) -> None:
        """What was refused has not taken effect: its rows were not stopped."""
        asked = self._calls.pop(called.number, {})
        body = called.body
        is_whole = isinstance(body, Refusal)
        refused = set() if isinstance(body, Refusal) else {item for item, _ in body.refused}
        for item, (key, revision) in enumerate(asked.items()):
            sight = self._sights.get(key)
            if (is_whole or item in refused) and sight is not None and sight.asked == revision:
                sight.asked = sight.revision

    def _stop(self, name: str, asked: dict[str, int]) -> None:
        spec = self.specs[name]
        replicas = sum(column.count for column in spec.columns)
        units = {k: s for k, s in self._sights.items() if k.startswith(f"{name}/")}
        ready = {key for key, sight in units.items() if sight.is_ready(replicas)}
        again = {k for k, revision in asked.items() if revision == CANCELLED and k in self._ending}
        stopped = ready & set(asked) - again
        floor = spec.rows - min(int(spec.max_unavailable), spec.rows)
        if stopped and len(ready) - len(stopped) < floor:
            seen = f"{len(ready)} rows serve, {sorted(stopped)} are stopped, floor {floor}"
            raise Broken("a release keeps its bound", seen, sorted(stopped)[0])
        self._ending.update([key for key, revision in asked.items() if revision == CANCELLED])
        for key, revision in asked.items():
            self._sights.setdefault(key, Sight()).asked = revision


def _sight_of(view: UnitView) -> Sight:
    phases = {
        (r.group, r.ordinal): Phase.__members__.get(r.phase.upper(), Phase.WAITING)
        for r in view.replicas
    }
    return Sight(view.revision, view.revision, phases)
