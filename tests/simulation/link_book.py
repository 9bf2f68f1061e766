"""What components say to each other, checked where it leaves them: numbers that only grow.

Rules here: attempts, terms, floors and acks never go back, an attempt is given out once, an outcome
keeps its number and its content however often it is resent, plans keep their numbering, and what
the binder has settled as cancelled or released is fenced from then on.
"""

from __future__ import annotations

from typing import Any

from cell.messages import Assign, Command, Plan, Settle, State
from cell.unit import WHOLE_UNIT, Verdict
from tests.simulation.ledger_book import LedgerBook
from tests.simulation.node import Node
from tests.simulation.world import Broken

Outcome = tuple[Any, ...]
_ENDS = (Verdict.FAILED, Verdict.RELEASED)


class LinkBook:
    """All messages of all links."""

    def __init__(self, ledger: LedgerBook) -> None:
        self._ledger = ledger
        self.may_skip_numbers = False
        """Whether outcomes may be left out between two lives of the binder."""
        self._attempts: dict[tuple[int, int], tuple[int, int]] = {}
        self._marks = (0, 0)
        self._next = (0, 0)
        self._ack = 0
        self._outcomes: dict[int, Outcome] = {}
        self._settled: dict[tuple[str, int], int] = {}
        self._node_names: dict[tuple[str, int], list[str]] = {}
        self._stamps: dict[tuple[str, int], tuple[int, int]] = {}
        self._plans: dict[tuple[str, int], int] = {}

    def sent(self, node: Node, peer: str, body: Any) -> None:
        """A message leaves a node."""
        session = (f"{node.name}>{peer}", node.life << 32 | node.ports[peer].session)
        match body:
            case Assign():
                self._assign(body)
            case Command():
                self._command(body)
            case Settle():
                self._settle(session, body)
            case State():
                self._state(session, body)
            case Plan():
                self._plan(session, body)

    def _assign(self, body: Assign) -> None:
        rows = body.rows
        units = zip(rows.attempt.tolist(), rows.uid_hi.tolist(), rows.uid_lo.tolist(), strict=True)
        fresh: dict[int, tuple[int, int]] = {}
        for attempt, hi, lo in units:
            if fresh.setdefault(attempt, (hi, lo)) != (hi, lo):
                raise Broken("an attempt is given out once", f"{attempt} twice", (hi, lo))
        for attempt, uid in fresh.items():
            named = (body.term, attempt)
            if named in self._attempts:
                raise Broken("an attempt is given out once", f"{named} again", uid)
            if named < self._marks:
                raise Broken("attempts never go back", f"{named} below {self._marks}", uid)
            self._attempts[named] = uid

    def _command(self, body: Command) -> None:
        marks, after = (body.term, body.floor), (body.term, body.next)
        if marks < self._marks or after < self._next:
            seen = f"{marks}, {after} after {self._marks}, {self._next}"
            raise Broken("attempts never go back", seen)
        if body.floor > body.next:
            raise Broken("attempts never go back", f"floor {body.floor} above next {body.next}")
        is_new_term = self._marks[0] != body.term
        if body.ack < self._ack and not (self.may_skip_numbers and is_new_term):
            raise Broken("acks never go back", f"{body.ack} after {self._ack}")
        self._marks, self._next, self._ack = marks, after, body.ack

    def _settle(self, session: tuple[str, int], body: Settle) -> None:
        names = self._node_names.setdefault(session, [])
        del names[body.node_base :]
        names.extend(body.nodes)
        expected = self._settled.get(session)
        if len(body.rows):
            # A session begins where the dispatcher's last ack left off, and has no gaps.
            if expected is not None and body.first != expected:
                raise Broken("outcomes in order", f"{body.first} after {expected}")
            may_begin = self.may_skip_numbers or body.first <= self._ack
            if expected is None and not may_begin:
                raise Broken("outcomes in order", f"begins with {body.first} of {self._ack}")
            self._settled[session] = body.first + len(body.rows)
        for i, row in enumerate(body.rows.rows()):
            verdict = row["verdict"]
            has_node = verdict in (Verdict.BOUND, Verdict.ALREADY, Verdict.AMENDED)
            node = names[row["node"]] if has_node else ""
            uid = (row["uid_hi"], row["uid_lo"])
            outcome = (uid, row["revision"], verdict, row["group"], row["ordinal"], node)
            number = body.first + i
            if number not in self._outcomes:
                self._outcomes[number] = outcome
                self._fence(uid, row)
                if verdict in _ENDS and row["ordinal"] != WHOLE_UNIT:
                    # The claim's whole life may have fallen between two lives of the binder.
                    self._ledger.unit(uid).is_end_told = True
            elif self._outcomes[number] != outcome:
                seen = f"{number} was {self._outcomes[number]} and is {outcome}"
                raise Broken("an outcome keeps its number", seen, uid)

    def _fence(self, uid: tuple[int, int], row: dict[str, int]) -> None:
        """From its first telling on: the binder has put an end to the unit, or to a revision.

        1. A cancelled unit's key is used again. 2. The tombstone refuses a plan for it. 3. The
        tombstone goes: that attempt was refused, the new unit was not cancelled.
        """
        if row["verdict"] == Verdict.RELEASED:
            book = self._ledger.unit(uid)
            book.fence = max(book.fence, row["revision"])
        elif row["verdict"] == Verdict.CANCELLED and not row["attempt"]:
            self._ledger.unit(uid).is_cancelled = True

    def _state(self, session: tuple[str, int], body: State) -> None:
        stamp = (body.term, body.generation)
        if stamp < self._stamps.get(session, (0, 0)):
            raise Broken("generations in order", f"{stamp} after {self._stamps[session]}")
        self._stamps[session] = stamp

    def _plan(self, session: tuple[str, int], body: Plan) -> None:
        expected = self._plans.get(session, 0)
        if body.first != expected:
            raise Broken("plan rows are numbered", f"{body.first} after {expected}")
        self._plans[session] = body.first + len(body.rows)
