"""Journal rows gathered over one event of the API-server home and applied in runs.

The home adds rows as it goes; whatever reads the ledger for a unit with rows not yet applied has
them applied first. Rows that are told go through the outcome log and to the dispatcher, others only
change the ledger. Every change is published.
"""

from __future__ import annotations

from typing import Any

from binder.ledger import Ledger
from binder.records import Journal
from binder.streams import DispatcherStream
from binder.view import changes_of
from cell.effects import Effect, Publish
from cell.home import Replica
from cell.messages import NO_NODE, ClaimRows, ClaimState
from cell.reasons import Reason, Wake
from cell.unit import WHOLE_UNIT, Verdict

Row = dict[str, int]


class Book:
    """See the module. `is_mute` when nothing may be told any more."""

    def __init__(self, term: int, ledger: Ledger, dispatcher: DispatcherStream) -> None:
        self.is_mute = False
        self._term = term
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._rows: list[Row] = []
        self._units: set[tuple[int, int]] = set()
        self._is_told = False
        self._effects: list[Effect] = []

    def take(self) -> list[Effect]:
        """Apply what is gathered; the effects since the last call."""
        self._flush()
        effects, self._effects = self._effects, []
        return effects

    def sync(self) -> None:
        """Apply what is gathered."""
        self._flush()

    def claim(self, replica: Replica) -> int:
        """The replica's claim that holds room, or NONE."""
        self._settle(replica.uid_hi, replica.uid_lo)
        uid = replica.uid_hi, replica.uid_lo
        return self._ledger.claim_of(uid, replica.group, replica.ordinal)

    def claims(self, uid: tuple[int, int]) -> list[int]:
        """The unit's claims that hold room."""
        self._settle(*uid)
        return self._ledger.claims_of(uid)

    def unit(self, uid: tuple[int, int]) -> int:
        """The unit in the ledger, or NONE."""
        self._settle(*uid)
        return self._ledger.unit_of(uid)

    def replica(self, claim: int) -> Replica:
        """The name of a claim's replica."""
        claims, units = self._ledger.claims, self._ledger.units
        unit = claims.unit[claim]
        return Replica(
            int(units.uid_hi[unit]),
            int(units.uid_lo[unit]),
            int(claims.group[claim]),
            int(claims.ordinal[claim]),
        )

    def row_of(self, claim: int, verdict: Verdict, reason: Reason = Reason.NONE) -> Row:
        """A row about a claim as it stands."""
        claims, unit = self._ledger.claims, self._ledger.claims.unit[claim]
        replica = self.replica(claim)
        return {
            "handle": int(self._ledger.units.handle[unit]),
            "uid_hi": replica.uid_hi,
            "uid_lo": replica.uid_lo,
            "revision": int(claims.revision[claim]),
            "attempt": int(claims.attempt[claim]),
            "verdict": verdict,
            "reason": reason,
            "group": replica.group,
            "ordinal": replica.ordinal,
            "node": int(claims.node[claim]),
            "argument": 0,
            "klass": int(claims.klass[claim]),
        }

    def add(self, row: Row, *, is_told: bool = True) -> None:
        """Gather a row."""
        is_told = is_told and not self.is_mute
        if self._rows and is_told is not self._is_told:
            self._flush()
        self._is_told = is_told
        self._rows.append(row)
        self._units.add((row["uid_hi"], row["uid_lo"]))

    def terminate(self, claim: int) -> None:
        """The claim's replica is going."""
        self._flush()
        if self._ledger.claims.state[claim] != ClaimState.TERMINATING:
            self._publish(self._ledger.terminate(claim))

    def drop(self, claims: list[int]) -> None:
        """Undo holds that came to nothing."""
        self._flush()
        if claims:
            self._publish(self._ledger.drop(claims))

    def _settle(self, uid_hi: int, uid_lo: int) -> None:
        if (uid_hi, uid_lo) in self._units:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        self._units.clear()
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
        self._apply(Journal.of(**columns), is_told=self._is_told)

    def _apply(self, journal: Journal, *, is_told: bool) -> None:
        if not len(journal):
            return
        commit = self._ledger.draft(journal)
        rows = self._ledger.apply(commit, is_told=is_told)
        if is_told:
            self._effects += self._dispatcher.settle(commit.first, journal)
        self._publish(rows)

    def _publish(self, rows: ClaimRows) -> None:
        if not len(rows):
            return
        if (rows.state == ClaimState.FREE).any():
            self._dispatcher.wakes |= Wake.ROOM_FREED
        self._effects.append(Publish(changes_of(self._ledger, self._term, rows)))


def whole_row(row: Row, verdict: Verdict, reason: Reason) -> Row:
    """A row about the whole unit of another row."""
    return {
        **row,
        "verdict": verdict,
        "reason": reason,
        "group": 0,
        "ordinal": WHOLE_UNIT,
        "node": NO_NODE,
        "argument": 0,
        "klass": 0,
    }


def uid_of_row(row: Row) -> tuple[int, int]:
    """The uid of a row."""
    return row["uid_hi"], row["uid_lo"]


def object_name(row: Row) -> Replica:
    """The name of the object that stands for a row's replica."""
    return Replica(row["uid_hi"], row["uid_lo"], row["group"], row["ordinal"])
