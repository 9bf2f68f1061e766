"""What the parts of the API-server home share: ledger rows, calls, objects, endings, gangs, units.

Its methods are the steps that every part takes: a claim confirmed, a replica evicted or found
ended. Nothing that writes is asked for without the lease.
"""

from __future__ import annotations

from binder.config import BinderConfig
from binder.home.book import Book, Row, object_name
from binder.home.calls import READS, Calls, Purpose, Wish
from binder.home.endings import Ending, Endings
from binder.home.gangs import Gang
from binder.home.objects import Objects
from binder.home.recorded import RecordedUnit
from binder.kernels.layout import NONE
from binder.ledger import Ledger
from binder.streams import DispatcherStream
from cell.home import ObjectView, Replica
from cell.messages import ClaimState
from cell.reasons import Reason
from cell.unit import Verdict

_US_PER_MS = 1000


class Desk:
    """See the module."""

    def __init__(
        self, term: int, config: BinderConfig, ledger: Ledger, dispatcher: DispatcherStream
    ) -> None:
        self.ledger = ledger
        self.dispatcher = dispatcher
        self.book = Book(term, ledger, dispatcher)
        self.calls = Calls(term << 32 | 1, config.posts_max, config.post_retry_ms * _US_PER_MS)
        self.objects = Objects()
        self.endings = Endings()
        self.gangs: dict[tuple[int, int], Gang] = {}
        self.recorded: dict[tuple[int, int], RecordedUnit] = {}
        self.doubtful: dict[Replica, int] = {}
        """Objects with a Post that may yet be applied, until they are bound or gone."""
        self.is_listed = False
        self.is_leading = True

    def wish(self, wish: Wish, now_us: int | None = None) -> None:
        """Ask for a call, at once or (with `now_us`) after the pause."""
        if not self.is_leading and wish.purpose.kind not in READS:
            return
        if now_us is None:
            self.calls.ask(wish)
        else:
            self.calls.ask_later(now_us, wish)

    def state(self, claim: int) -> int:
        """The claim's state, NONE for none."""
        return NONE if claim == NONE else int(self.ledger.claims.state[claim])

    def object_of(self, row: Row) -> int:
        """Uid of the object of a row's replica, 0 for none."""
        view = self.objects.get(object_name(row))
        return view.object if view else 0

    def post(self, replica: Replica, object_uid: int, node: int) -> None:
        """Ask for the binding of an object to a node."""
        name = self.ledger.nodes.specs[node].name
        self.wish(Wish(Purpose("post", replica, object_uid), node=name))

    def confirm(self, claim: int, node: int) -> None:
        """A binding is known to be there: the claim is BOUND, on the node where it really is."""
        replica = self.book.replica(claim)
        self.doubtful.pop(replica, None)
        self.book.add({**self.book.row_of(claim, Verdict.BOUND), "node": node})
        self.settle_member(replica, is_bound=True)

    def settle_member(self, replica: Replica, *, is_bound: bool) -> None:
        """Tell its gang what became of a replica."""
        gang = self.gangs.get((replica.uid_hi, replica.uid_lo))
        if gang is not None and replica in gang.members:
            gang.settle(replica, is_bound=is_bound)

    def gone(self, replica: Replica, object_uid: int) -> None:
        """A call has shown that the object is no more.

        1. A Post is slow. 2. Its object is evicted and a new one of the name is placed. 3. The Post
        is answered: the claim that is there now is the new object's.
        """
        self.objects.lose(replica, object_uid)
        if self.is_superseded(replica, object_uid):
            self._settle_owed(replica, object_uid)
        else:
            self.ended(replica, object_uid, Reason.HOME_GONE, is_ours=True)

    def is_superseded(self, replica: Replica, object_uid: int) -> bool:
        """Whether another object has the name by now."""
        view = self.objects.get(replica)
        return view is not None and view.object != object_uid

    def ended(self, replica: Replica, object_uid: int, reason: Reason, *, is_ours: bool) -> None:
        """The object holds no room any more: its claim ends, and with it what waited for that."""
        claim = self.book.claim(replica)
        self.doubtful.pop(replica, None)
        ending = self.endings.end(replica, object_uid)
        is_done = reason is Reason.REPORTED_DONE
        if claim != NONE:
            is_going = self.state(claim) == ClaimState.TERMINATING
            verdict = Verdict.RELEASED if is_done and not is_going else Verdict.FAILED
            row = self.book.row_of(claim, verdict, ending.reason if ending else reason)
            self.book.add(row, is_told=is_ours and not (ending and ending.is_told))
        self.settle_member(replica, is_bound=is_done)
        self._settle_owed(replica, object_uid)

    def _settle_owed(self, replica: Replica, object_uid: int) -> None:
        for row in self.endings.done(replica, object_uid):
            self.book.add(row)

    def evict(self, replica: Replica, object_uid: int, reason: Reason, *, is_told: bool) -> None:
        """Delete an object, or write a replica's end; its claim is going from now on."""
        claim = self.book.claim(replica)
        if claim != NONE:
            self.book.terminate(claim)
        self.settle_member(replica, is_bound=False)
        self.endings.begin(replica, Ending(object_uid, reason, is_told))
        found = self.recorded.get((replica.uid_hi, replica.uid_lo))
        if found is None:
            self.wish(Wish(Purpose("evict", replica, object_uid)))
        else:
            found.end(replica, reason)
            self.write_recorded(found)

    def write_recorded(self, found: RecordedUnit, now_us: int | None = None) -> None:
        """Write what is wanted of a unit that is placed by its record, one write at a time."""
        write, read = Purpose("write", found.name), Purpose("read record", found.name)
        is_open = self.calls.is_open(write) or self.calls.is_open(read)
        if found.wanted and self.is_leading and not is_open:
            found.sent = found.record()
            self.wish(Wish(write, version=found.version, record=found.sent), now_us)

    def row_for(self, view: ObjectView, node: int, verdict: Verdict) -> Row:
        """A row that claims room for an object as it was shown."""
        replica = view.replica
        return {
            "handle": 0,
            "uid_hi": replica.uid_hi,
            "uid_lo": replica.uid_lo,
            "revision": view.revision,
            "attempt": 0,
            "verdict": verdict,
            "reason": Reason.NONE,
            "group": replica.group,
            "ordinal": replica.ordinal,
            "node": node,
            "argument": 0,
            "klass": self.ledger.number_class(view.klass),
        }
