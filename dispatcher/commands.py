"""What the binder is asked to do, repeated at each session until it is settled.

What is outstanding is kept where it belongs: `op` of a unit, `freeing` of a replica, and claims of
units that are not known any more (orphans). Here is only what has still to be sent in this session.
A unit has one operation at a time: a later amendment supersedes an earlier one, a cancel all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.messages import ClassDef, UidRows
from cell.unit import WHOLE_UNIT, CommandOp, Commands
from dispatcher.codes import Op
from dispatcher.columns import I64s
from dispatcher.table import Table

Uid = tuple[int, int]
NO_HANDLE = (1 << 32) - 1
_NOTHING: I64s = np.empty(0, np.int64)


class Asked:
    """Commands outstanding, and what of them this session has not been sent."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._units: list[I64s] = []
        self._frees: list[I64s] = []
        self._orphans: dict[Uid, None] = {}
        """Uids with claims at the binder that nobody here knows."""
        self._orphans_unsent: dict[Uid, None] = {}
        self._unsure: I64s = _NOTHING
        """Claims that the binder is to confirm in this session."""
        self._is_sent: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def ask(self, handles: I64s, op: int) -> None:
        """An operation of these units begins, in place of what was under way."""
        if len(handles):
            self._table.units.op[handles] = op
            self._units.append(handles)

    def repeat(self, handles: I64s) -> None:
        """Send the operations of these units again."""
        if len(handles):
            self._units.append(handles)

    def free(self, rows: I64s, reasons: NDArray[Any]) -> None:
        """The room of these replicas is to be given back."""
        if len(rows):
            self._table.replicas.freeing[rows] = reasons
            self._frees.append(rows)

    def adopt(self, uid: Uid) -> None:
        """A claim of an unknown unit: end whatever it is."""
        self._orphans[uid] = self._orphans_unsent[uid] = None

    def settle_orphan(self, uid: Uid) -> None:
        """The binder has ended an unknown unit."""
        self._orphans.pop(uid, None)
        self._orphans_unsent.pop(uid, None)

    @property
    def orphans(self) -> UidRows:
        """All claims of unknown units."""
        uids = list(self._orphans)
        return UidRows.of(uid_hi=[hi for hi, _ in uids], uid_lo=[lo for _, lo in uids])

    @property
    def is_due(self) -> bool:
        """Whether something waits to be sent."""
        is_asked = self._units or self._frees or self._orphans_unsent
        return bool(is_asked) or len(self._unsure) > 0

    def confirm(self, rows: I64s) -> None:
        """Have the binder say which of these claims it does not know."""
        self._unsure = rows

    def begin_session(self) -> None:
        """A session with the binder: everything outstanding is sent, classes are told anew."""
        table = self._table
        known = table.known()
        self._units = [known[table.units.op[known] != Op.NONE]]
        self._frees = [np.flatnonzero(table.replicas.freeing).astype(np.int64)]
        self._orphans_unsent = dict(self._orphans)
        self._is_sent[:] = False

    def end_session(self) -> None:
        """Nothing can be sent; the next session begins with everything."""
        self._units, self._frees, self._orphans_unsent = [], [], {}
        self._unsure = _NOTHING

    def forget_classes(self, numbers: list[int]) -> None:
        """These numbers may stand for other classes from now on."""
        self._is_sent[[number for number in numbers if number < len(self._is_sent)]] = False

    def cut(self) -> tuple[Commands, tuple[ClassDef, ...]]:
        """What is to be sent now, and the classes that the session has not had."""
        parts = [*self._cut_units(), *self._cut_frees(), *self._cut_orphans()]
        if len(self._unsure):
            parts.append(self._replica_rows(self._unsure, CommandOp.CONFIRM))
        self.end_session()
        if not parts:
            return Commands.empty(), ()
        rows = Commands.concat(parts)
        amended = rows.op == CommandOp.AMEND
        return rows, self._fresh(np.unique(rows.klass[amended]))

    def _cut_units(self) -> list[Commands]:
        if not self._units:
            return []
        units = self._table.units
        handles = np.unique(np.concatenate(self._units))
        op = units.op[handles]
        whole = handles[(op == Op.CANCEL) | (op == Op.RELEASE)]
        parts = []
        if len(whole):
            rows = self._rows(whole, ordinal=WHOLE_UNIT)
            rows.op[:] = units.op[whole] - 1
            parts.append(rows)
        amended = handles[op == Op.AMEND]
        if len(amended):
            groups = self._table.group_rows(amended)
            owner = np.repeat(amended, units.groups[amended])
            rows = self._rows(owner, ordinal=WHOLE_UNIT)
            rows.op[:] = CommandOp.AMEND
            rows.group[:] = groups - units.group_at[owner]
            rows.klass[:] = self._table.groups.klass[groups]
            parts.append(rows)
        return parts

    def _cut_frees(self) -> list[Commands]:
        if not self._frees:
            return []
        table = self._table
        found = np.unique(np.concatenate(self._frees))
        found = found[table.replicas.freeing[found] != 0]
        if not len(found):
            return []
        return [self._replica_rows(found, CommandOp.FREE)]

    def _replica_rows(self, found: I64s, op: CommandOp) -> Commands:
        table = self._table
        owner = table.replicas.unit[found]
        rows = self._rows(owner, ordinal=0)
        rows.op[:] = op
        rows.reason[:] = table.replicas.freeing[found]
        rows.group[:], rows.ordinal[:] = table.place_of(owner, found)
        return rows

    def _cut_orphans(self) -> list[Commands]:
        if not self._orphans_unsent:
            return []
        uids = list(self._orphans_unsent)
        return [
            Commands.of(
                op=[CommandOp.CANCEL] * len(uids),
                handle=NO_HANDLE,
                uid_hi=[hi for hi, _ in uids],
                uid_lo=[lo for _, lo in uids],
                revision=0,
                group=0,
                ordinal=WHOLE_UNIT,
                klass=0,
                reason=0,
            )
        ]

    def _rows(self, handles: I64s, ordinal: int) -> Commands:
        units = self._table.units
        return Commands.of(
            op=np.zeros(len(handles), np.uint8),
            handle=handles,
            uid_hi=units.uid_hi[handles],
            uid_lo=units.uid_lo[handles],
            revision=units.revision[handles],
            group=np.zeros(len(handles), np.uint8),
            ordinal=np.full(len(handles), ordinal, np.uint32),
            klass=np.zeros(len(handles), np.uint32),
            reason=np.zeros(len(handles), np.uint16),
        )

    def _fresh(self, classes: NDArray[Any]) -> tuple[ClassDef, ...]:
        if not len(classes):
            return ()
        count = len(self._table.classes.entries)
        if len(self._is_sent) < count:
            grown = np.zeros(2 * count, np.bool_)
            grown[: len(self._is_sent)] = self._is_sent
            self._is_sent = grown
        fresh = classes[~self._is_sent[classes]]
        self._is_sent[fresh] = True
        return tuple(ClassDef(n, self._table.classes.entries[n]) for n in fresh.tolist())
