"""Units as users see them: pure reads of the table, also in great numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np

from cell.messages import ReplicaView, Summary, UnitView
from cell.reasons import Reason, Wake, text
from cell.unit import Phase, Word, word_of
from dispatcher.codes import State
from dispatcher.columns import I64s
from dispatcher.routing import Router
from dispatcher.table import Table
from dispatcher.uids import find_keys
from dispatcher.waiting.parked import SCHEDULER

_STANDING = (State.ACTIVE, State.BACKOFF, State.PARKED, State.GATHERING, State.COMMANDED)
QUEUED = "in the queue"


class Views:
    """See the module."""

    def __init__(self, table: Table, router: Router) -> None:
        self._table = table
        self._router = router

    def unit(self, key: str) -> UnitView | None:
        """One unit with its replicas."""
        handle = find_keys(self._table, (key,))
        return self._views(handle, is_whole=True)[0] if handle[0] >= 0 else None

    def units(self, prefix: str, word: str, count_max: int) -> list[UnitView]:
        """Units in order of their keys, without replicas; of one word, or all when it is empty."""
        handles = self._find(prefix)
        if word:
            words = self._words(handles)
            wanted = Word.__members__.get(word.upper(), None)
            handles = handles[[w is wanted for w in words]] if len(handles) else handles
        if count_max:
            handles = handles[:count_max]
        return self._views(handles, is_whole=False)

    def units_whole(self, prefix: str) -> list[UnitView]:
        """Units in order of their keys, with replicas."""
        return self._views(self._find(prefix), is_whole=True)

    def summary(self) -> Summary:
        """Counts over all units."""
        known = self._table.known()
        words = Counter(word.name for word in self._words(known))
        states = self._table.units.state[known]
        standing = known[np.isin(states, _STANDING)]
        lines = Counter(self._table.whys[standing].tolist())
        unsaid = lines.pop("", 0)
        if unsaid:
            lines[self._unsaid()] += unsaid
        return Summary(dict(words), dict(lines))

    def _find(self, prefix: str) -> I64s:
        """Handles of units whose key begins with a prefix, in order of keys."""
        known = self._table.known()
        pairs = sorted(
            (key, handle)
            for key, handle in zip(self._table.keys[known].tolist(), known.tolist(), strict=True)
            if key.startswith(prefix)
        )
        return np.array([handle for _, handle in pairs], np.int64)

    def _words(self, handles: I64s) -> list[Word]:
        return [word_of(counts) for counts in self._table.phase_counts(handles).tolist()]

    def _views(self, handles: I64s, *, is_whole: bool) -> list[UnitView]:
        counts = self._table.phase_counts(handles).tolist()
        return [
            self._view(handle, phases, is_whole=is_whole)
            for handle, phases in zip(handles.tolist(), counts, strict=True)
        ]

    def _view(self, handle: int, phases: list[int], *, is_whole: bool) -> UnitView:
        table, units = self._table, self._table.units
        is_standing = units.state[handle] in _STANDING
        return UnitView(
            key=table.keys[handle],
            uid=f"{int(units.uid_hi[handle]):016x}{int(units.uid_lo[handle]):016x}",
            revision=int(units.revision[handle]),
            priority=int(units.priority[handle]),
            word=word_of(phases).name,
            phases={phase.name: phases[phase] for phase in Phase if phases[phase]},
            why=self._why(handle, is_standing=is_standing),
            wakes=self._wakes(handle) if is_standing else (),
            submitted_at_us=int(units.submitted_us[handle]),
            bound_at_us=int(units.bound_us[handle]),
            attempts=int(units.tries[handle]),
            replicas=self._replicas(handle) if is_whole else (),
        )

    def _why(self, handle: int, *, is_standing: bool) -> str:
        units = self._table.units
        if units.is_failed[handle]:
            return text(int(units.reason[handle]))
        if not is_standing:
            return ""
        return self._table.whys[handle] or self._unsaid()

    def _unsaid(self) -> str:
        """Why an active unit waits that nobody has refused yet."""
        if self._router.is_any_ready:
            return QUEUED
        return text(Reason.WAITING_FOR_SCHEDULER)

    def _wakes(self, handle: int) -> tuple[str, ...]:
        units = self._table.units
        match int(units.state[handle]):
            case State.PARKED:
                mask = int(units.wakes[handle])
                names = [w.name or "" for w in Wake if w in Wake(mask & Wake.ALL) and w]
                return (*names, "SCHEDULER") if mask & SCHEDULER else tuple(names)
            case State.BACKOFF:
                return ("TIME",)
            case State.GATHERING:
                return ("MEMBERS",)
            case State.COMMANDED:
                return ("BINDER",)
        return ("SCHEDULER",)

    def _replicas(self, handle: int) -> tuple[ReplicaView, ...]:
        table = self._table
        one = np.array([handle], np.int64)
        rows = table.all_replicas(one)
        group, ordinal = table.place_of(np.repeat(one, len(rows)), rows)
        phases = table.replicas.phase[rows].tolist()
        in_flight = table.units.state[handle] == State.FLIGHT
        return tuple(
            ReplicaView(
                g,
                o,
                (Phase.PLACING if in_flight and phase == Phase.WAITING else Phase(phase)).name,
                table.names.text(node),
            )
            for g, o, phase, node in zip(
                group.tolist(),
                ordinal.tolist(),
                phases,
                table.replicas.node[rows].tolist(),
                strict=True,
            )
        )
