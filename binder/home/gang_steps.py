"""The steps of gangs in the API-server home; the state machine stands in `gangs.py`.

What must hold: no member is posted before the record is known to be written, and a record is
removed only when its minima are bound or no member holds room any more. A conflict or a time-out is
no verdict: the record is read, and its own content says whether it is ours.
"""

from __future__ import annotations

from binder.home.book import Row, object_name, whole_row
from binder.home.calls import Purpose, Wish
from binder.home.desk import Desk
from binder.home.gangs import Gang, Phase
from binder.kernels.layout import NONE
from cell.home import Answered, Code, GangRecord, Member, ObjectState, RecordView
from cell.messages import ClaimState
from cell.reasons import Reason
from cell.unit import Verdict


class GangSteps:
    """See the module."""

    def __init__(self, desk: Desk, repair_us: int) -> None:
        self._desk = desk
        self._repair_us = repair_us

    def step_all(self, now_us: int) -> None:
        """What is due for any gang."""
        for gang in list(self._desk.gangs.values()):
            self.step(now_us, gang)

    def deadlines(self) -> list[int]:
        """When the time of gangs is over."""
        return [g.deadline_us for g in self._desk.gangs.values() if g.phase is Phase.POSTING]

    def begin(self, rows: list[Row], minima: tuple[tuple[int, int], ...], key: str) -> None:
        """Hold the room and write the record; what is accepted is told when that is durable."""
        lead, specs = rows[0], self._desk.ledger.nodes.specs
        record = GangRecord(
            uid_hi=lead["uid_hi"],
            uid_lo=lead["uid_lo"],
            revision=lead["revision"],
            attempt=lead["attempt"],
            handle=lead["handle"],
            minima=minima,
            members=tuple(
                Member(r["group"], r["ordinal"], self._desk.object_of(r), specs[r["node"]].name)
                for r in rows
            ),
            key=key,
        )
        for row in rows:
            self._desk.book.add(row, is_told=False)
        gang = Gang(record, open={object_name(row) for row in rows})
        self._desk.gangs[gang.uid] = gang
        self._write(gang, record)

    def _write(self, gang: Gang, record: GangRecord | None, now_us: int | None = None) -> None:
        is_held = record is None and gang.is_held
        purpose, version = Purpose("write", gang.name), gang.version
        self._desk.wish(Wish(purpose, version=version, record=record, is_held=is_held), now_us)

    def wrote(self, now_us: int, gang: Gang, answer: Answered) -> None:
        wanted = gang.record if gang.phase is Phase.WRITING else None
        match answer.code:
            case Code.OK:
                gang.version = answer.version
                self._record_is(now_us, gang, wanted)
            case Code.THROTTLED:
                self._write(gang, wanted, now_us)
            case Code.GONE if gang.phase is Phase.WRITING:
                self._give_up(gang, Reason.HOME_GONE)
            case Code.GONE:
                del self._desk.gangs[gang.uid]
            case _:
                self._desk.wish(Wish(Purpose("read record", gang.name)))

    def read_record(self, now_us: int, gang: Gang, answer: Answered) -> None:
        if answer.code is not Code.OK or answer.kept is None:
            self._desk.wish(Wish(Purpose("read record", gang.name)), now_us)
            return
        gang.version = answer.kept.version
        self._record_is(now_us, gang, answer.kept.record)

    def _record_is(self, now_us: int, gang: Gang, record: GangRecord | None) -> None:
        """What stands in the API server now: ours, none, or one left behind by a former leader.

        That one was late, or it would have been listed; none of its members was posted.
        """
        if gang.phase is Phase.REMOVING:
            if record is None:
                del self._desk.gangs[gang.uid]
            else:
                self._write(gang, None)
        elif gang.phase is Phase.WRITING:
            if record == gang.record:
                self._written(now_us, gang)
            else:
                self._write(gang, gang.record)

    def _written(self, now_us: int, gang: Gang) -> None:
        """The commit point is passed: tell it, and post what is still there to be bound."""
        gang.phase, gang.deadline_us = Phase.POSTING, now_us + self._repair_us
        claims = {replica: self._desk.book.claim(replica) for replica in gang.members}
        held = {r: c for r, c in claims.items() if self._desk.state(c) == ClaimState.COMMITTING}
        for row in [self._desk.book.row_of(c, Verdict.ACCEPTED) for c in held.values()]:
            self._desk.book.add(row)
        for replica, claim in held.items():
            node = int(self._desk.ledger.claims.node[claim])
            self._desk.post(replica, gang.members[replica][0], node)

    def _give_up(self, gang: Gang, reason: Reason) -> None:
        """The record cannot be written: the room is given back, the attempt refused."""
        claims = [self._desk.book.claim(replica) for replica in gang.members]
        held = [c for c in claims if self._desk.state(c) == ClaimState.COMMITTING]
        if held:
            row = self._desk.book.row_of(held[0], Verdict.REJECTED, reason)
            self._desk.book.drop(held)
            self._desk.book.add(whole_row(row, Verdict.REJECTED, reason))
        del self._desk.gangs[gang.uid]

    def step(self, now_us: int, gang: Gang) -> None:
        """Complete a gang, or evict it when its time is over."""
        if gang.phase is Phase.POSTING:
            is_over = now_us >= gang.deadline_us
            if gang.is_held and (is_over or not gang.open):
                gang.phase = Phase.REMOVING
            elif is_over:
                gang.phase, gang.is_evicted = Phase.EVICTING, True
                self._evict_members(gang)
            elif not self._is_held_by_any(gang):
                gang.phase = Phase.REMOVING
        elif gang.phase is Phase.EVICTING and not self._is_held_by_any(gang):
            gang.phase = Phase.REMOVING
        if gang.phase is Phase.REMOVING and not self._desk.calls.is_open(
            Purpose("read record", gang.name)
        ):
            self._write(gang, None)

    def _is_held_by_any(self, gang: Gang) -> bool:
        return any(self._desk.book.claim(replica) != NONE for replica in gang.members)

    def _evict_members(self, gang: Gang) -> None:
        for replica, (object_uid, _) in gang.members.items():
            claim = self._desk.book.claim(replica)
            if claim != NONE:
                self._desk.evict(replica, object_uid, Reason.GANG_REPAIR, is_told=False)

    def adopt(self, now_us: int, view: RecordView) -> None:
        """An unfinished gang of a former leader: roll it forward, its room held."""
        record = view.record
        if record is None or (record.uid_hi, record.uid_lo) in self._desk.gangs:
            return
        gang = Gang(record, Phase.POSTING, view.version, now_us + self._repair_us)
        self._desk.gangs[gang.uid] = gang
        for replica, (object_uid, name) in gang.members.items():
            seen, node = self._desk.objects.get(replica), self._desk.ledger.nodes.node_of(name)
            if seen is None or seen.object != object_uid:
                continue
            if seen.state in (ObjectState.BOUND, ObjectState.DONE):
                gang.bound.add(replica)
            elif seen.state is ObjectState.PENDING and node != NONE:
                gang.open.add(replica)
                row = self._desk.row_for(seen, node, Verdict.ACCEPTED)
                self._desk.book.add({**row, "attempt": record.attempt, "handle": record.handle})
                self._desk.post(replica, object_uid, node)
