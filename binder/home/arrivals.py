"""Units that the home wants to have placed, on their way to the dispatcher.

What must hold: a unit is told before any outcome of its replicas, and its end behind them; a
session begins with all of them, as does a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from binder.home.book import Row
from binder.home.desk import Desk
from binder.home.following import ENDED
from binder.home.recorded import is_finished
from binder.streams import DispatcherStream
from cell.effects import Effect, Send
from cell.home import HomeUnit, ObjectState, RecordView
from cell.messages import NO_NODE, ArrivalRows, Arrive, ClaimState, UidRows
from cell.unit import NO_PIN, GroupBatch, Settlements, Verdict

Uid = tuple[int, int]
_KEPT = RecordView(0, None)
"""Of a unit without objects, whatever its record says: the dispatcher is told by outcomes."""


class Arrivals:
    """See the module. `is_mute` when nothing may be told any more."""

    def __init__(self, dispatcher: DispatcherStream, rows_max: int) -> None:
        self.is_mute = False
        self._dispatcher = dispatcher
        self._rows_max = rows_max
        self._units: dict[Uid, HomeUnit] = {}
        self._fresh: dict[Uid, HomeUnit] = {}
        self._gone: dict[Uid, None] = {}

    @property
    def uids(self) -> Iterable[Uid]:
        """Units that are there, oldest first."""
        return self._units.keys()

    def key(self, uid: Uid) -> str:
        """The key of a unit; "" of one that is not there."""
        unit = self._units.get(uid)
        return unit.key if unit else ""

    def see(self, unit: HomeUnit) -> None:
        """Take a unit as the watch shows it."""
        uid = unit.uid_hi, unit.uid_lo
        is_over = unit.is_over or is_finished(unit)
        if unit.kept is not None:
            unit = msgspec.structs.replace(unit, kept=_KEPT)
        if is_over:
            if self._units.pop(uid, None) is not None:
                self._fresh.pop(uid, None)
                self._gone[uid] = None
        elif self._units.get(uid) != unit:
            self._units[uid] = self._fresh[uid] = unit
            self._gone.pop(uid, None)

    def relisted(self, units: tuple[HomeUnit, ...]) -> None:
        """Take all units that there are."""
        present = {(unit.uid_hi, unit.uid_lo) for unit in units}
        for uid in [uid for uid in self._units if uid not in present]:
            del self._units[uid]
            self._fresh.pop(uid, None)
            self._gone[uid] = None
        for unit in units:
            self.see(unit)

    def take_new(self) -> list[Effect]:
        """What came or changed since the last call."""
        fresh, self._fresh = list(self._fresh.values()), {}
        return self._send(self._parts(fresh))

    def take_gone(self) -> list[Effect]:
        """What went since the last call."""
        gone, self._gone = list(self._gone), {}
        return self._send([_message([], gone)] if gone else [])

    def take_all(self, claims: Sequence[Row] = (), following: int = 0) -> list[Effect]:
        """All units; `claims` and `following` for a dispatcher that knows nothing of them."""
        self._fresh, self._gone = {}, {}
        parts = self._parts(list(self._units.values())) or [_message([])]
        parts[0] = msgspec.structs.replace(parts[0], is_first=True)
        names = Settlements.types
        rows = Settlements.of(**{name: [row[name] for row in claims] for name in names})
        parts[-1] = msgspec.structs.replace(parts[-1], claims=rows, next=following, is_last=True)
        return self._send(parts)

    def _parts(self, units: list[HomeUnit]) -> list[Arrive]:
        starts = range(0, len(units), self._rows_max)
        return [_message(units[at : at + self._rows_max]) for at in starts]

    def _send(self, parts: list[Arrive]) -> list[Effect]:
        if not self._dispatcher.peer or self.is_mute:
            return []
        return [Send(self._dispatcher.peer, part) for part in parts]


def _message(units: list[HomeUnit], gone: Sequence[Uid] = ()) -> Arrive:
    groups = [group for unit in units for group in unit.groups]
    classes = {klass: i for i, klass in enumerate(dict.fromkeys(g.klass for g in groups))}
    pins = {pin: i for i, pin in enumerate(dict.fromkeys(g.pin for g in groups if g.pin))}
    return Arrive(
        keys=tuple(unit.key for unit in units),
        units=ArrivalRows.of(
            uid_hi=[unit.uid_hi for unit in units],
            uid_lo=[unit.uid_lo for unit in units],
            revision=[unit.revision for unit in units],
            priority=[unit.priority for unit in units],
            groups=[len(unit.groups) for unit in units],
            is_observed=[unit.kept is None for unit in units],
        ),
        groups=GroupBatch.of(
            klass=[classes[group.klass] for group in groups],
            count=[group.count for group in groups],
            min=[group.min for group in groups],
            pin=[pins.get(group.pin, NO_PIN) for group in groups],
        ),
        classes=tuple(classes),
        pins=tuple(pins),
        gone=UidRows.of(uid_hi=[hi for hi, _ in gone], uid_lo=[lo for _, lo in gone]),
        claims=Settlements.empty(),
    )


def standing_of(desk: Desk, uids: Iterable[Uid]) -> list[Row]:
    """How the replicas of units stand, as outcomes: what holds room, and what has ended."""
    rows: list[Row] = []
    for uid in uids:
        for claim in desk.book.claims(uid):
            is_held = desk.state(claim) == ClaimState.COMMITTING
            rows.append(desk.book.row_of(claim, Verdict.ACCEPTED if is_held else Verdict.BOUND))
        for view in desk.objects.of_unit(uid):
            if view.state in ENDED:
                row = desk.row_for(view, NO_NODE, Verdict.BOUND)
                is_done = view.state is ObjectState.DONE
                verdict = Verdict.RELEASED if is_done else Verdict.FAILED
                rows += [row, {**row, "verdict": verdict, "reason": ENDED[view.state]}]
    return rows
