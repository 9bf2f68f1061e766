"""What changed in one call of the core, for whoever watches: rows of `Changes`, in order.

Keys are taken when a change is noted, because its unit may be forgotten before the call ends. That
a unit waits or is being placed is told only when it lasts: most are bound before anybody looks.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.messages import NO_NODE, ChangeRows, Changes
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT
from dispatcher.codes import IS_QUEUED, Phase, State
from dispatcher.columns import I64s, U64s
from dispatcher.config import DispatcherConfig
from dispatcher.table import Table


class News:
    """Changes noted since the last cut."""

    def __init__(self, table: Table, config: DispatcherConfig) -> None:
        self._table = table
        self._wait_us = config.news_ms * 1_000
        self._later: deque[tuple[int, I64s, U64s]] = deque()
        """When due, handles, and their ages: a handle may have another unit by then."""
        self._keys: list[NDArray[Any]] = []
        self._parts: list[ChangeRows] = []
        self._resources: dict[str, int] = {}

    def resource(self, name: str) -> int:
        """Index of a resource's name in the message, an argument of INSUFFICIENT_RESOURCE."""
        return self._resources.setdefault(name, len(self._resources))

    def units(
        self, handles: I64s, phase: int, reason: int = Reason.NONE, argument: int = 0
    ) -> None:
        """All replicas of these units that hold no room are in a phase; a unit of which some hold
        room is told replica by replica."""
        if not len(handles):
            return
        self._table.units.is_untold[handles] = 0
        is_mixed = self._table.units.bound_us[handles] != 0
        whole = handles[~is_mixed]
        if len(whole):
            unset = np.zeros(len(whole), np.uint32)
            self._add(whole, unset, unset + np.uint32(WHOLE_UNIT), phase, -1, reason, argument)
        for handle in handles[is_mixed]:
            self._rest(int(handle), phase, reason, argument)

    def later(self, now_us: int, handles: I64s) -> None:
        """What these units wait for has changed: to be told if they still wait after a while."""
        units = self._table.units
        handles = handles[units.is_untold[handles] == 0]
        if len(handles):
            units.is_untold[handles] = 1
            self._later.append((now_us + self._wait_us, handles, units.age[handles]))

    def replicas(self, rows: I64s, reasons: NDArray[Any] | int = Reason.NONE) -> None:
        """These replicas are in the phase that their rows say."""
        if not len(rows):
            return
        table = self._table
        owner = table.replicas.unit[rows]
        group, ordinal = table.place_of(owner, rows)
        phase, node = table.replicas.phase[rows], table.replicas.node[rows]
        self._add(owner, group, ordinal, phase, node, reasons, 0)

    def cut(self, now_us: int) -> Changes | None:
        """The message, if anything changed."""
        while self._later and self._later[0][0] <= now_us:
            _, handles, ages = self._later.popleft()
            self._tell_waiting(handles[self._table.units.age[handles] == ages])
        if not self._parts:
            return None
        rows = ChangeRows.concat(self._parts)
        keys = self._keys[0] if len(self._keys) == 1 else np.concatenate(self._keys)
        numbers = rows.node
        is_placed = numbers != NO_NODE
        nodes: tuple[str, ...] = ()
        if is_placed.any():
            names, position = np.unique(numbers[is_placed], return_inverse=True)
            nodes = tuple(map(self._table.names.entries.__getitem__, names.tolist()))
            local = numbers.copy()
            local[is_placed] = position
            rows = ChangeRows(**{**rows.__dict__, "node": local})
        changes = Changes(tuple(keys.tolist()), rows, nodes, tuple(self._resources), now_us)
        self._keys, self._parts, self._resources = [], [], {}
        return changes

    def next_at_us(self) -> int:
        """When `cut` is wanted next; 0 for never."""
        return self._later[0][0] if self._later else 0

    def _tell_waiting(self, handles: I64s) -> None:
        """Tell of these units whether they wait or are being placed, if they do and it is news."""
        units = self._table.units
        handles = handles[units.is_untold[handles] != 0]
        units.is_untold[handles] = 0
        state = units.state[handles]
        is_flight = state == State.FLIGHT
        self.units(handles[is_flight], Phase.PLACING)
        self.units(handles[IS_QUEUED[state] & ~is_flight], Phase.WAITING)

    def _rest(self, handle: int, phase: int, reason: int, argument: int) -> None:
        table = self._table
        rows = table.all_replicas(np.array([handle], np.int64))
        rows = rows[table.replicas.phase[rows] == Phase.WAITING]
        if len(rows):
            owner = np.full(len(rows), handle, np.int64)
            group, ordinal = table.place_of(owner, rows)
            self._add(owner, group, ordinal, phase, -1, reason, argument)

    def _add(
        self,
        handles: I64s,
        group: NDArray[Any],
        ordinal: NDArray[Any],
        phase: NDArray[Any] | int,
        node: NDArray[Any] | int,
        reason: NDArray[Any] | int,
        argument: int,
    ) -> None:
        count = len(handles)
        numbers = np.full(count, node, np.int32) if isinstance(node, int) else node
        self._keys.append(self._table.keys[handles])
        self._parts.append(
            ChangeRows(
                revision=self._table.units.revision[handles],
                group=group.astype(np.uint8),
                ordinal=ordinal.astype(np.uint32),
                phase=_column(phase, count, np.uint8),
                node=numbers.astype(np.uint32),
                reason=_column(reason, count, np.uint16),
                argument=np.full(count, argument, np.int64),
            )
        )


def _column(value: NDArray[Any] | int, count: int, dtype: Any) -> NDArray[Any]:
    return np.full(count, value, dtype) if np.ndim(value) == 0 else np.asarray(value, dtype)
