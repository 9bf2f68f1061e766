"""The steps of units that are placed by their record; what they are stands in `recorded.py`.

    known ⊕ wanted ──Write──► OK: known.  CONFLICT, UNKNOWN ──ReadRecord──► known; what is still
    wanted is written over the version that was read.

What must hold: a replica is BOUND only when the record is known to say so; what one plan places is
written at once; room stays charged while a write that would take it may yet be applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import structs

from binder.home.book import Row, object_name, whole_row
from binder.home.calls import Purpose, Wish
from binder.home.desk import Desk
from binder.home.recorded import RecordedUnit, Uid, is_finished
from binder.kernels.layout import NONE
from cell.home import Answered, Code, HomeUnit, Member, ObjectState, ObjectView, RecordView
from cell.messages import ClaimState
from cell.reasons import Reason
from cell.unit import Verdict

BOUND = ObjectState.BOUND
ENDED = (ObjectState.DONE, ObjectState.FAILED)


class RecordedSteps:
    """See the module; `see` takes what is shown of a replica."""

    def __init__(self, desk: Desk, see: Callable[[ObjectView], None]) -> None:
        self._desk = desk
        self._see = see

    def put(self, unit: HomeUnit) -> None:
        """Take a unit as the watch or a list shows it."""
        uid = unit.uid_hi, unit.uid_lo
        if unit.is_over:
            self._end(uid)
        elif unit.kept is not None:
            found = self._desk.recorded.setdefault(uid, RecordedUnit(unit))
            self._take(found, unit.kept, is_told=not is_finished(unit))

    def relisted(self, units: Iterable[HomeUnit]) -> None:
        """Take all units that there are."""
        present = {(unit.uid_hi, unit.uid_lo) for unit in units}
        for uid in [uid for uid in self._desk.recorded if uid not in present]:
            self._end(uid)
        for unit in units:
            self.put(unit)

    def place(self, found: RecordedUnit, rows: list[Row]) -> None:
        """Hold the room of a plan and write it."""
        specs = self._desk.ledger.nodes.specs
        for row in rows:
            found.attempt, found.handle = row["attempt"], row["handle"]
            self._desk.book.add(row, is_told=False)
            member = Member(row["group"], row["ordinal"], 0, specs[row["node"]].name)
            found.wanted[object_name(row)] = member
        self._desk.write_recorded(found)

    def leave_nodes(self) -> None:
        """What was placed on nodes that are gone ends: no one else would say so."""
        for found in self._desk.recorded.values():
            self._leave_nodes(found)

    def _leave_nodes(self, found: RecordedUnit) -> None:
        nodes = self._desk.ledger.nodes
        for replica, member in found.members.items():
            is_placed = member.state is BOUND and replica not in found.wanted
            view = self._desk.objects.get(replica)
            if is_placed and view is not None and nodes.node_of(member.node) == NONE:
                self._desk.evict(replica, view.object, Reason.NODE_GONE, is_told=False)

    def wrote(self, now_us: int, found: RecordedUnit, answer: Answered) -> None:
        """A write was answered; the watch may have been faster.

        1. A write is taken, and repeated on its way: that one is a conflict. 2. The lease is lost
        before the record is read. So a conflict says no more of it than a lost answer.
        """
        if answer.code is Code.OK:
            if found.sent is not None:
                self._take(found, RecordView(answer.version, found.sent))
            self._desk.write_recorded(found)
            return
        found.sent = None
        match answer.code:
            case Code.THROTTLED:
                self._desk.write_recorded(found, now_us)
                return
            case Code.GONE:
                self._give_up(found)
            case Code.UNKNOWN | Code.CONFLICT:
                found.is_doubtful = True
        self._desk.wish(Wish(Purpose("read record", found.name)))

    def read_record(self, now_us: int, found: RecordedUnit, answer: Answered) -> None:
        """A read was answered: what stands there decides."""
        if answer.code is Code.GONE:
            self._end(found.uid)
        elif answer.code is not Code.OK or answer.kept is None:
            self._desk.wish(Wish(Purpose("read record", found.name)), now_us)
        else:
            self._take(found, answer.kept)
            self._desk.write_recorded(found)

    def lose_lease(self) -> None:
        """Nothing is written any more: room is kept for what may be, and only for that."""
        for found in self._desk.recorded.values():
            is_sent = self._desk.calls.is_open(Purpose("write", found.name))
            if not is_sent and not found.is_doubtful:
                self._drop(found)

    def _take(self, found: RecordedUnit, kept: RecordView, *, is_told: bool = True) -> None:
        """Follow the record; an older one changes nothing. Untold: no dispatcher knows the unit."""
        if kept.version <= found.version:
            return
        out = found.take(kept)
        ended: list[ObjectView] = []
        for replica in found.replicas:
            before = self._desk.objects.get(replica)
            view = found.view(replica, before, is_new=replica in out)
            if view is None:
                continue
            if view.state not in ENDED:
                self._see(view)
                continue
            ended.append(view)
            if before is None and is_told:
                # It was bound and has ended under a former leader: both is news to a dispatcher.
                node, version = found.members[replica].node, view.version - 1
                self._see(structs.replace(view, state=BOUND, node=node, version=version))
        # A replica that has failed fails all that a dispatcher does not know to be bound.
        for view in ended:
            self._see(view)
        self._leave_nodes(found)

    def _end(self, uid: Uid) -> None:
        """The unit is no more: nothing of it holds room."""
        found = self._desk.recorded.pop(uid, None)
        if found is None:
            return
        for kind in ("write", "read record"):
            self._desk.calls.forget(Purpose(kind, found.name))
        for view in self._desk.objects.of_unit(uid):
            version = max(view.version, found.version) + 1
            self._see(structs.replace(view, state=ObjectState.DELETED, version=version))

    def _give_up(self, found: RecordedUnit) -> None:
        """There is nothing to write to: each attempt is refused."""
        rows = {row["attempt"]: row for row in self._drop(found)}
        for row in rows.values():
            self._desk.book.add(whole_row(row, Verdict.REJECTED, Reason.HOME_GONE))

    def _drop(self, found: RecordedUnit) -> list[Row]:
        """Give back the room of what is not placed; returns rows of what had some."""
        claims = [self._desk.book.claim(replica) for replica in found.placing]
        held = [c for c in claims if self._desk.state(c) == ClaimState.COMMITTING]
        rows = [self._desk.book.row_of(c, Verdict.REJECTED, Reason.HOME_GONE) for c in held]
        self._desk.book.drop(held)
        for replica in found.placing:
            del found.wanted[replica]
        return rows
