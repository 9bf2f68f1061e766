"""The rolling controller's core: release requests and what the dispatcher shows in, requests out.

Owns which version each row should have. Called by the controller's shell and by the simulator.

What must hold: the row table is durable before a request that follows from it is sent; a rollingset
is planned only while the dispatcher's view of it is complete (a row not seen looks dead, and dead
rows are free to touch); one request per unit is in flight; a request of unknown fate is sent again
as it was: same key, same revision, same content.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cell.effects import (
    Answer,
    Effect,
    Event,
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
from cell.messages import Acks, Changes
from cell.reasons import Refusal, Status
from cell.release import (
    DISPATCHER,
    Called,
    CreateRollingset,
    DeleteRollingset,
    GetRollingset,
    ListRollingsets,
    RollingsetList,
    RollingsetView,
    Seen,
    Unwatch,
    UpdateRollingset,
    Watch,
)
from sharding import release
from sharding.calls import Calls, Kind
from sharding.round import US_PER_MS, Round
from sharding.sight import take_changes, take_snapshot
from sharding.spec import Limits, Refused
from sharding.table import Record, Rollingset, Row, Table
from sharding.view import view_of

_PASSING = (Status.RESOURCE_EXHAUSTED, Status.UNAVAILABLE)
_SPENT = (Status.NOT_FOUND, Status.ALREADY_EXISTS, Status.FAILED_PRECONDITION)
"""Answers after which a key is of no use: the unit is gone, ended, or somebody else's."""


class RollingCore:
    """The whole controller. Build, `restore` once, then `handle` events one by one."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._table = Table()
        self._calls = Calls(self._limits.call_items_max)
        self._is_up = False
        self._now_us = 0
        self._published: dict[str, RollingsetView] = {}
        self._touched: dict[str, None] = {}
        self._sends: list[Send] = []
        self._news: list[Effect] = []

    def restore(self, records: Iterable[Record]) -> None:
        """Take over the records of a former life, in their order."""
        self._table.restore(records)

    def snapshot(self) -> list[Record]:
        """Records that stand for all records so far."""
        return [self._table.whole()]

    def handle(self, now_us: int, event: Event) -> list[Effect]:
        """Take one event; the effects are to be done in order."""
        self._now_us = now_us
        self._touched, self._sends, self._news = {}, [], []
        match event:
            case PeerUp():
                self._on_up()
            case PeerDown():
                self._on_down()
            case Received(body=body):
                self._on_message(body)
            case Request(token=token, body=body):
                self._news.append(Answer(token, self._on_request(body)))
            case Tick():
                self._on_tick()
        for name in self._touched:
            self._advance(self._table.sets[name])
        return self._effects()

    def _on_up(self) -> None:
        self._calls.forget_all()
        self._is_up = True
        for name in sorted(self._table.sets):
            self._table.sets[name].is_synced = False
            self._watch(self._table.sets[name])

    def _on_down(self) -> None:
        self._calls.forget_all()
        self._is_up = False
        for name in sorted(self._table.sets):
            self._table.sets[name].is_watched = self._table.sets[name].is_synced = False
            self._touched[name] = None

    def _watch(self, rollingset: Rollingset) -> None:
        rollingset.is_watched = True
        self._sends.append(Send(DISPATCHER, Watch(rollingset.prefix)))

    def _on_tick(self) -> None:
        for name in sorted(self._table.sets):
            if 0 < self._table.sets[name].wake_at_us <= self._now_us:
                self._touched[name] = None

    def _on_message(self, body: object) -> None:
        match body:
            case Seen():
                name = body.prefix.removesuffix("/")
                if name in self._table.sets:
                    take_snapshot(self._table, self._table.sets[name], body)
                    self._touched[name] = None
            case Changes():
                self._touched.update(dict.fromkeys(take_changes(self._table, body)))
            case Called():
                self._on_called(body)

    def _on_called(self, called: Called) -> None:
        kind, items = self._calls.take(called.number)
        refused = dict(called.body.refused) if isinstance(called.body, Acks) else {}
        whole = called.body if isinstance(called.body, Refusal) else None
        for i, (key, revision) in enumerate(items):
            found = self._table.find(key)
            if found is None:
                continue
            rollingset, row = found
            refusal = refused.get(i, whole)
            self._touched[rollingset.spec.name] = None
            if kind is Kind.CANCEL:
                self._on_cancelled(rollingset, key, refusal)
            elif row is not None:
                self._on_row_answer(rollingset, row, revision, refusal)

    def _on_cancelled(self, rollingset: Rollingset, key: str, refusal: Refusal | None) -> None:
        if refusal is None or refusal.status == Status.NOT_FOUND:
            self._table.drop_left(rollingset, key)
        else:
            rollingset.leaving[key] = self._retry_at_us(refusal)

    def _on_row_answer(
        self, rollingset: Rollingset, row: Row, revision: int, refusal: Refusal | None
    ) -> None:
        row.refusal, row.retry_at_us = refusal, 0
        if refusal is None:
            row.settled = max(row.settled, revision)
        elif refusal.retry_after_ms or refusal.status in _PASSING:
            row.retry_at_us = self._retry_at_us(refusal)
            if row.settled:
                row.withdraw()
                self._table.note_row(rollingset, row)
        elif refusal.status in _SPENT:
            row.is_lost = True
            row.is_foreign = refusal.status == Status.ALREADY_EXISTS

    def _retry_at_us(self, refusal: Refusal) -> int:
        wait_ms = max(refusal.retry_after_ms, self._limits.retry_ms_min)
        return self._now_us + wait_ms * US_PER_MS

    def _on_request(self, body: object) -> RollingsetView | RollingsetList | Refusal:
        table = self._table
        try:
            match body:
                case CreateRollingset():
                    return self._changed(release.create(table, body.spec, self._limits))
                case UpdateRollingset():
                    return self._changed(release.update(table, body, self._limits))
                case DeleteRollingset():
                    return self._changed(release.delete(table, body.name))
                case GetRollingset():
                    return view_of(release.find(table, body.name), has_rows=True)
                case ListRollingsets():
                    return RollingsetList(tuple(view_of(table.sets[n]) for n in sorted(table.sets)))
        except Refused as error:
            return error.refusal
        return Refusal(Status.UNIMPLEMENTED, type(body).__name__, "is no request of this service")

    def _changed(self, rollingset: Rollingset) -> RollingsetView:
        if self._is_up and not rollingset.is_watched:
            self._watch(rollingset)
        self._touched[rollingset.spec.name] = None
        return view_of(rollingset)

    def _advance(self, rollingset: Rollingset) -> None:
        """Let a rollingset whose state has changed take its next steps, and tell who watches."""
        if rollingset.is_synced:
            Round(self._table, self._calls, self._limits, self._now_us, rollingset).run()
        name = rollingset.spec.name
        view = view_of(rollingset)
        if name not in self._table.sets:
            self._sends.append(Send(DISPATCHER, Unwatch(rollingset.prefix)))
            self._published.pop(name, None)
            self._news.append(Publish(msgspec.structs.replace(view, word="Deleted")))
        elif self._published.get(name) != view:
            self._published[name] = view
            self._news.append(Publish(view))

    def _effects(self) -> list[Effect]:
        effects: list[Effect] = []
        record = self._table.cut_record()
        if record is not None:
            effects.append(Persist(record))
        effects += self._sends
        effects += [Send(DISPATCHER, call) for call in self._calls.cut()]
        effects += self._news
        wakes = [s.wake_at_us for s in self._table.sets.values() if s.wake_at_us]
        if wakes:
            effects.append(WakeAt(min(wakes)))
        return effects
