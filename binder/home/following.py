"""What the watch, a Read or a list shows, taken into the ledger: on any difference it wins.

Objects of others are charged, too, so room may be negative. A claim on a node that is gone stays
until its object is gone.
"""

from __future__ import annotations

from binder.home.calls import Purpose, Wish
from binder.home.desk import Desk
from binder.home.gang_steps import GangSteps
from binder.home.recorded_steps import RecordedSteps
from binder.kernels.layout import NONE
from binder.records import Journal, NodeEntry
from binder.requests import ask
from cell.home import ObjectState, ObjectView, Relisted
from cell.messages import ClaimState, RegisterNodes, RemoveNodes
from cell.node import NodeSpec
from cell.reasons import Reason
from cell.unit import Verdict

ENDED = {
    ObjectState.DONE: Reason.REPORTED_DONE,
    ObjectState.FAILED: Reason.REPORTED_FAILED,
    ObjectState.DELETED: Reason.HOME_GONE,
}


class Following:
    """See the module."""

    def __init__(self, desk: Desk, gangs: GangSteps) -> None:
        self._desk = desk
        self._gangs = gangs
        self.recorded = RecordedSteps(desk, self.see)

    def see(self, view: ObjectView) -> None:
        """Take the newest view of an object; what it shows is true."""
        before = self._desk.objects.get(view.replica)
        if not self._desk.objects.see(view):
            return
        if before is not None and before.object != view.object:
            self._desk.ended(view.replica, before.object, Reason.HOME_GONE, is_ours=before.is_ours)
        match view.state:
            case ObjectState.BOUND:
                self._see_bound(view)
            case ObjectState.TERMINATING:
                self._see_terminating(view)
            case ObjectState.DONE | ObjectState.FAILED | ObjectState.DELETED:
                reason = ENDED[view.state]
                self._desk.ended(view.replica, view.object, reason, is_ours=view.is_ours)

    def _see_bound(self, view: ObjectView) -> None:
        claim, node = self._desk.book.claim(view.replica), self._node(view.node)
        match self._desk.state(claim):
            case ClaimState.COMMITTING:
                self._desk.confirm(claim, node)
            case ClaimState.TERMINATING if int(self._desk.ledger.claims.node[claim]) != node:
                self._desk.book.drop([claim])
                self._hold(view, node, is_told=False)
                self._desk.book.terminate(self._desk.book.claim(view.replica))
            case x if x == NONE and view.is_ours and self._is_refused(view):
                self._hold(view, node, is_told=False)
                self._desk.evict(view.replica, view.object, Reason.CANCELLED, is_told=True)
            case x if x == NONE:
                self._hold(view, node, is_told=view.is_ours)
                self._desk.settle_member(view.replica, is_bound=True)
            case ClaimState.BOUND if self._is_resized(claim, view):
                row = self._desk.book.row_of(claim, Verdict.BOUND)
                self._desk.book.drop([claim])
                klass = self._desk.ledger.number_class(view.klass)
                self._desk.book.add({**row, "klass": klass}, is_told=False)

    def _is_resized(self, claim: int, view: ObjectView) -> bool:
        """Whether the object takes other amounts than its claim does."""
        ledger = self._desk.ledger
        klass, before = ledger.number_class(view.klass), int(ledger.claims.klass[claim])
        now, then = ledger.classes.specs[klass], ledger.classes.specs[before]
        return (now.demand, now.unasked) != (then.demand, then.unasked)

    def _see_terminating(self, view: ObjectView) -> None:
        claim = self._desk.book.claim(view.replica)
        if not view.node:
            if claim != NONE:
                self._desk.ended(view.replica, view.object, Reason.HOME_GONE, is_ours=view.is_ours)
            return
        node = self._node(view.node)
        if claim != NONE and int(self._desk.ledger.claims.node[claim]) != node:
            self._desk.book.drop([claim])
            claim = NONE
        if claim == NONE:
            self._hold(view, node, is_told=False)
            claim = self._desk.book.claim(view.replica)
        self._desk.settle_member(view.replica, is_bound=False)
        self._desk.book.terminate(claim)

    def _is_refused(self, view: ObjectView) -> bool:
        """Whether the unit was cancelled, or the object's revision released, settled or not.

        1. A unit is cancelled; the eviction of an object is slow, other outcomes are acked, the
        tombstone goes. 2. Another object of the unit is made, and somebody binds it.
        """
        if self._desk.endings.is_ended(view):
            return True
        unit = self._desk.book.unit((view.replica.uid_hi, view.replica.uid_lo))
        units = self._desk.ledger.units
        return unit != NONE and bool(units.cancelled[unit] or units.revision[unit] > view.revision)

    def _hold(self, view: ObjectView, node: int, *, is_told: bool) -> None:
        self._desk.book.add(self._desk.row_for(view, node, Verdict.BOUND), is_told=is_told)

    def relisted(self, now_us: int, listed: Relisted) -> None:
        """Everything anew: what is not listed is read if it holds room, else forgotten."""
        self._desk.objects.forget_gone()
        names = {node.name for node in listed.nodes}
        nodes = self._desk.ledger.nodes
        gone = tuple(n for n in sorted(nodes.by_name) if n not in names and nodes.node_of(n) >= 0)
        self.put_nodes(listed.nodes, gone)
        self.recorded.relisted(listed.units)
        for view in listed.objects:
            self.see(view)
        present = {view.replica for view in listed.objects}
        for view in list(self._desk.objects.all()):
            is_recorded = (view.replica.uid_hi, view.replica.uid_lo) in self._desk.recorded
            if view.replica in present or is_recorded:
                continue
            if self._desk.book.claim(view.replica) != NONE:
                self._desk.wish(Wish(Purpose("read", view.replica, view.object)))
            else:
                self._desk.objects.forget(view.replica)
                self._desk.ended(view.replica, view.object, Reason.HOME_GONE, is_ours=view.is_ours)
        # 1. A list is made. 2. A gang of ours is complete, its record removed. 3. The list arrives:
        # what a former leader has left unfinished is in the first list or nowhere.
        for kept in listed.records if not self._desk.is_listed else ():
            self._gangs.adopt(now_us, kept)
        self._desk.is_listed = True

    def put_nodes(self, nodes: tuple[NodeSpec, ...], removed: tuple[str, ...]) -> None:
        """Node changes; claims on a node that is gone stay until their objects are."""
        for request in (RemoveNodes(removed), RegisterNodes(nodes)):
            asked = ask(self._desk.ledger, request)
            if asked.entries:
                self._desk.dispatcher.wakes |= asked.wakes
                self._put_entries(tuple(asked.entries.values()))
        if removed:
            self.recorded.leave_nodes()

    def _put_entries(self, entries: tuple[NodeEntry, ...]) -> None:
        self._desk.book.sync()
        self._desk.ledger.apply(self._desk.ledger.draft(Journal.empty(), entries))

    def _node(self, name: str) -> int:
        """The node's number; a node that was never shown is known as removed."""
        node = self._desk.ledger.nodes.by_name.get(name, NONE)
        if node == NONE:
            node = self._desk.ledger.nodes.count
            self._put_entries((NodeEntry(node, 1, NodeSpec(name), is_removed=True),))
        return node
