"""The API-server home: the ledger is what the watch has shown plus what we posted and not yet seen.

A plan's claims are COMMITTING until their bindings are confirmed, by an answer, a Read or the
watch. A conflict or a time-out is no verdict: the object is read by name and its uid compared; room
stays charged until then. On any difference the watch wins. Gangs go by a record (`gangs.py`), units
without objects by one alone (`recorded.py`).

Nothing is durable here but the API server itself, so a new core lists everything and derives its
claims; the outcome log begins at a number of its own term.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from binder.config import BinderConfig
from binder.core import BinderCore
from binder.evaluate import Judged
from binder.home.arrivals import Arrivals, standing_of
from binder.home.calls import Purpose, Wish
from binder.home.command_steps import CommandSteps
from binder.home.desk import Desk
from binder.home.following import Following
from binder.home.forming import Forming
from binder.home.gang_steps import GangSteps
from binder.home.gangs import Phase
from binder.home.plan_steps import PlanSteps
from binder.ledger import Ledger
from binder.records import Record
from binder.requests import Asked
from binder.streams import DispatcherStream
from cell.effects import Effect
from cell.home import (
    Answered,
    Answers,
    Code,
    HomeEvent,
    LeaseLost,
    Line,
    Relisted,
    Tell,
    Watched,
    WatchLost,
)
from cell.messages import ClaimState, Explain
from cell.reasons import Refusal, Status
from cell.unit import Commands

_NUMBERS_PER_TERM = 1 << 34
"""Outcomes one term may number; terms are below 1 << 28."""
_US_PER_MS = 1000


class ApiServerHome:
    """See the module; one `Home` of the binder's core."""

    def __init__(
        self, term: int, config: BinderConfig, ledger: Ledger, dispatcher: DispatcherStream
    ) -> None:
        self.wake_at_us = 0
        self._desk = Desk(term, config, ledger, dispatcher)
        self._gangs = GangSteps(self._desk, config.gang_repair_ms_max * _US_PER_MS)
        self._following = Following(self._desk, self._gangs)
        self._recorded = self._following.recorded
        self._arrivals = Arrivals(dispatcher, config.settle_rows_max)
        self._forming = Forming(self._desk)
        self._plans = PlanSteps(self._desk, self._gangs, self._recorded, self._arrivals)
        self._commands = CommandSteps(self._desk)
        self._successor = (0, 0)
        """Term of the last dispatcher that was told claims, and the outcomes these stood for."""
        self._is_list_owed = False
        """Whether a dispatcher that came before the first list has to be told all units."""
        ledger.log.skip_to(term * _NUMBERS_PER_TERM)

    def restore(self, records: Iterable[Record]) -> None:
        """There are none: everything is derived from the first list."""
        if tuple(records):
            raise ValueError("records in the API-server home")

    def snapshot(self) -> list[Record]:
        """Nothing is kept here."""
        return []

    def refusal(self) -> Refusal | None:
        """Nodes are the API server's."""
        return Refusal(Status.FAILED_PRECONDITION, "", "nodes are registered in the API server")

    def explain(self, explain: Explain) -> list[Effect]:
        """Passed on: whoever tells knows what the home says already."""
        rows, lines = explain.rows, explain.lines
        if not self._desk.is_leading or not (rows.line < len(lines)).all():
            return []
        uids = zip(rows.uid_hi.tolist(), rows.uid_lo.tolist(), rows.line.tolist(), strict=True)
        told = [Line(hi, lo, lines[line]) for hi, lo, line in uids]
        return [Tell(tuple(self._forming.spread(told)))]

    def take_nodes(self, asked: Asked) -> list[Effect]:
        """Never called: requests are refused."""
        raise ValueError("a request for nodes in the API-server home")

    def tick(self, now_us: int) -> list[Effect]:
        """List first of all; then calls that are due again, and gangs whose time is over."""
        if not self._desk.is_listed:
            self._desk.wish(Wish(Purpose("relist")))
        self._gangs.step_all(now_us)
        return self._effects(now_us)

    def handle(self, now_us: int, event: HomeEvent) -> list[Effect]:
        """Take an answer, a delta, a list, or the loss of the lease."""
        match event:
            case Answered():
                self._answered(now_us, self._forming.answered(event))
            case Answers(answers):
                for answer in answers:
                    self._answered(now_us, self._forming.answered(answer))
            case Watched():
                self._see(self._forming.seen(now_us, event))
            case WatchLost():
                # A list under way may have been lost with its watch.
                self._desk.calls.forget(Purpose("relist"))
                self._desk.wish(Wish(Purpose("relist")))
            case Relisted():
                self._take_list(now_us, event)
            case LeaseLost():
                self._lose_lease()
        self._gangs.step_all(now_us)
        return self._effects(now_us)

    def open_dispatcher(self, peer: str, term: int) -> list[Effect]:
        """All units, then what it has not acked, or what stands for that.

        1. A dispatcher acks outcomes, and dies. 2. Its successor keeps nothing: what became of
        replicas before its term it has to be told as it stands. 3. A binder that has heard of no
        dispatcher yet has its whole log. Without the lease there is nothing to be said.
        """
        if not self._desk.is_leading:
            return []
        book, dispatcher = self._desk.book, self._desk.dispatcher
        before = book.take()
        if not self._desk.is_listed or not self._is_successor(term):
            log = dispatcher.open(peer)
            return [*before, *(self._arrivals.take_all() if self._desk.is_listed else []), *log]
        names = dispatcher.open(peer, is_history_told=False)
        following = self._desk.ledger.log.next
        self._successor = term, following
        claims = standing_of(self._desk, self._arrivals.uids)
        return [*before, *names, *self._arrivals.take_all(claims, following)]

    def _is_successor(self, term: int) -> bool:
        """Whether a dispatcher may lack what its predecessor has acked: it is new, or has not acked
        yet what stood for that."""
        marks = self._desk.ledger.marks
        successor, following = self._successor
        return marks.term not in (0, term) or (term == successor and marks.ack < following)

    def take_plan(self, now_us: int, judged: Judged) -> list[Effect]:
        """Hold the room of what is bound, then post; a gang's record comes before."""
        self._plans.take(judged)
        return self._effects(now_us)

    def take_commands(self, now_us: int, run: Commands, klass: NDArray[np.int32]) -> list[Effect]:
        """Evict what a command ends, and settle it when the API server has taken that."""
        if not self._desk.is_leading:
            return []
        self._commands.take(run, klass)
        return self._effects(now_us)

    def _see(self, delta: Watched) -> None:
        self._following.put_nodes(delta.nodes, delta.removed)
        for unit in delta.units:
            self._arrivals.see(unit)
            self._recorded.put(unit)
        for view in delta.objects:
            self._following.see(view)

    def _take_list(self, now_us: int, listed: Relisted) -> None:
        """Everything anew.

        1. A list is under way, and the watch is lost. 2. Another is asked for, and arrives. 3. The
        first is served after all: deltas follow that one now, and what the other's watch had still
        to show never comes.
        """
        if self._desk.calls.answered(listed.call) is None:
            self._desk.wish(Wish(Purpose("relist")))
            return
        was_listed = self._desk.is_listed
        listed = self._forming.listed(now_us, listed, is_first=not was_listed)
        self._following.relisted(now_us, listed)
        self._arrivals.relisted(listed.units)
        self._commands.obey_early()
        self._is_list_owed |= not was_listed

    def _effects(self, now_us: int) -> list[Effect]:
        """Units before outcomes of theirs, their ends behind them."""
        if (delta := self._forming.due(now_us)) is not None:
            self._see(delta)
        is_whole, self._is_list_owed = self._is_list_owed, False
        arrivals = self._arrivals.take_all() if is_whole else self._arrivals.take_new()
        outcomes = self._desk.book.take()
        calls = [self._forming.asked(call) for call in self._desk.calls.take(now_us)]
        effects = [*arrivals, *outcomes, *calls, *self._arrivals.take_gone()]
        effects += self._forming.notes() if self._desk.is_leading else []
        forming_us = self._forming.wake_at_us
        times = [self._desk.calls.wake_at_us, forming_us, *self._gangs.deadlines()]
        self.wake_at_us = min((at_us for at_us in times if at_us), default=0)
        return effects

    # Answers

    def _answered(self, now_us: int, answer: Answered) -> None:
        purpose = self._desk.calls.answered(answer.call)
        if purpose is None:
            return
        gang, recorded = self._desk.gangs.get(purpose.uid), self._desk.recorded.get(purpose.uid)
        match purpose.kind:
            case "post":
                self._posted(now_us, purpose, answer.code)
            case "read":
                self._read(now_us, purpose, answer)
            case "evict":
                self._evicted(now_us, purpose, answer.code)
            case "write" if recorded is not None:
                self._recorded.wrote(now_us, recorded, answer)
            case "read record" if recorded is not None:
                self._recorded.read_record(now_us, recorded, answer)
            case "write" if gang is not None:
                self._gangs.wrote(now_us, gang, answer)
            case "read record" if gang is not None:
                self._gangs.read_record(now_us, gang, answer)

    def _posted(self, now_us: int, purpose: Purpose, code: Code) -> None:
        claim = self._desk.book.claim(purpose.replica)
        is_superseded = self._desk.is_superseded(purpose.replica, purpose.object)
        if self._desk.state(claim) != ClaimState.COMMITTING or is_superseded:
            return
        match code:
            case Code.OK:
                self._desk.confirm(claim, int(self._desk.ledger.claims.node[claim]))
            case Code.GONE:
                self._desk.gone(purpose.replica, purpose.object)
            case Code.THROTTLED:
                self._post_again(now_us, purpose, claim)
            case _:
                self._desk.doubtful[purpose.replica] = purpose.object
                self._desk.wish(Wish(msgspec.structs.replace(purpose, kind="read")))

    def _post_again(self, now_us: int, purpose: Purpose, claim: int) -> None:
        """To the same node: an earlier Post may yet be applied. Without the lease: wait."""
        name = self._desk.ledger.nodes.specs[int(self._desk.ledger.claims.node[claim])].name
        if self._desk.is_leading:
            post = msgspec.structs.replace(purpose, kind="post")
            self._desk.wish(Wish(post, node=name), now_us)
        elif not self._is_doubtful(purpose):
            self._desk.book.drop([claim])

    def _is_doubtful(self, post: Purpose) -> bool:
        return self._desk.doubtful.get(post.replica) == post.object

    def _read(self, now_us: int, purpose: Purpose, answer: Answered) -> None:
        if answer.code is Code.GONE:
            self._desk.gone(purpose.replica, purpose.object)
            return
        if answer.code is not Code.OK or answer.found is None:
            self._desk.wish(Wish(purpose), now_us)
            return
        self._following.see(answer.found)
        claim = self._desk.book.claim(purpose.replica)
        if answer.found.object != purpose.object:
            self._desk.gone(purpose.replica, purpose.object)
        elif self._desk.state(claim) == ClaimState.COMMITTING:
            self._post_again(now_us, purpose, claim)

    def _evicted(self, now_us: int, purpose: Purpose, code: Code) -> None:
        match code:
            case Code.UNKNOWN | Code.THROTTLED:
                self._desk.wish(Wish(purpose), now_us)
                return
            case Code.GONE | Code.CONFLICT:
                self._desk.gone(purpose.replica, purpose.object)
        for row in self._desk.endings.done(purpose.replica, purpose.object):
            self._desk.book.add(row)

    # The lease

    def _lose_lease(self) -> None:
        """Another leads: what was not posted is given back, what was is followed to its end.

        1. A Post is answered by a time-out, the object has no node yet. 2. It is to be posted once
        more, and the lease is lost. 3. The first is applied: its room was held.
        """
        self._desk.is_leading = False
        self._desk.book.is_mute = self._arrivals.is_mute = True
        dropped = self._desk.calls.keep_reads()
        posts = {purpose.replica for purpose in dropped if not self._is_doubtful(purpose)}
        for gang in self._desk.gangs.values():
            if gang.phase is Phase.WRITING:
                posts.update(gang.members)
        claims = [self._desk.book.claim(replica) for replica in sorted(posts)]
        self._desk.book.drop([c for c in claims if self._desk.state(c) == ClaimState.COMMITTING])
        self._recorded.lose_lease()
        self._desk.gangs.clear()
        self._desk.endings.clear()
        self._commands.clear()


class ApiServerBinder(BinderCore):
    """The binder's core on the API-server home: `restore` with no records, then a Tick."""

    def __init__(self, term: int, config: BinderConfig | None = None) -> None:
        super().__init__(term, config, ApiServerHome)
