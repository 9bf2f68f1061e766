"""Units as users see them: read from the table, made only when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from cell.messages import ReplicaView, Summary, UnitView
from cell.reasons import Reason, Wake, text
from cell.uid_index import ABSENT
from cell.unit import Phase, Word, uid_of, word_of
from dispatcher.columns import I64s
from dispatcher.table import State, Table

_WAITS = (State.ACTIVE, State.BACKOFF, State.PARKED, State.GATHERING, State.COMMANDED)


class Views:
    """Reads of the table. `is_any_ready` says whether a scheduler could take units now."""

    def __init__(self, table: Table, is_any_ready: Callable[[], bool]) -> None:
        self._table = table
        self._is_any_ready = is_any_ready

    def unit(self, key: str) -> UnitView | None:
        """One unit with its replicas."""
        hi, lo = uid_of(key)
        handles = self._table.find(np.array([hi], np.uint64), np.array([lo], np.uint64))
        return None if handles[0] == ABSENT else self._views(handles, has_replicas=True)[0]

    def units(self, prefix: str, word: str, count_max: int, *, is_whole: bool) -> list[UnitView]:
        """Units in the order of their keys."""
        known = self._table.known()
        keys = self._table.keys
        if prefix:
            chosen = [h for h in known.tolist() if keys[h].startswith(prefix)]
        else:
            chosen = known.tolist()
        chosen.sort(key=keys.__getitem__)
        handles = np.array(chosen, np.int64)
        if word:
            wanted = Word.__members__.get(word.upper(), -1)
            handles = handles[self._words(handles) == wanted]
        if count_max:
            handles = handles[:count_max]
        return self._views(handles, has_replicas=is_whole)

    def summary(self) -> Summary:
        """Counts per word, and of waiting units per line of why."""
        handles = self._table.known()
        words = self._words(handles)
        counted = np.bincount(words, minlength=len(Word))
        waiting = handles[words == Word.WAITING]
        why = Counter(self.why(handle) for handle in waiting.tolist())
        return Summary({word.name: int(counted[word]) for word in Word if counted[word]}, dict(why))

    def why(self, handle: int) -> str:
        """One line: why a unit waits."""
        units = self._table.units
        match State(int(units.state[handle])):
            case State.PARKED:
                return str(self._table.whys[handle]) or text(int(units.reason[handle]))
            case State.GATHERING:
                return text(Reason.WAITING_FOR_MEMBERS)
            case State.BACKOFF:
                return text(Reason.CONFLICT)
            case State.COMMANDED:
                return "its former room is being released"
            case State.ACTIVE:
                if self._is_any_ready():
                    return "its turn to be tried"
                return text(Reason.WAITING_FOR_SCHEDULER)
        return ""

    def _words(self, handles: I64s) -> I64s:
        counts = self._table.phase_counts(handles)
        distinct, position = np.unique(counts > 0, axis=0, return_inverse=True)
        words = np.array([word_of(row.astype(int).tolist()) for row in distinct], np.int64)
        return words[position.reshape(-1)] if len(handles) else np.empty(0, np.int64)

    def _views(self, handles: I64s, *, has_replicas: bool) -> list[UnitView]:
        table, units = self._table, self._table.units
        counts = table.phase_counts(handles)
        views = []
        for handle, row in zip(handles.tolist(), counts.tolist(), strict=True):
            state = units.state[handle]
            views.append(
                UnitView(
                    key=str(table.keys[handle]),
                    uid=f"{int(units.uid_hi[handle]):016x}{int(units.uid_lo[handle]):016x}",
                    revision=int(units.revision[handle]),
                    priority=int(units.priority[handle]),
                    word=word_of(row).name,
                    phases={phase.name: row[phase] for phase in Phase if row[phase]},
                    why=self.why(handle) if state in _WAITS else "",
                    wakes=_wakes(int(units.wakes[handle])) if state == State.PARKED else (),
                    submitted_at_us=int(units.submitted_us[handle]),
                    bound_at_us=int(units.bound_us[handle]),
                    attempts=int(units.tries[handle]),
                    replicas=self._replicas(handle) if has_replicas else (),
                )
            )
        return views

    def _replicas(self, handle: int) -> tuple[ReplicaView, ...]:
        table = self._table
        rows = table.all_replicas(np.array([handle], np.int64))
        owner = np.full(len(rows), handle, np.int64)
        group, ordinal = table.place_of(owner, rows)
        is_flight = table.units.state[handle] == State.FLIGHT
        return tuple(
            ReplicaView(
                g,
                o,
                Phase.PLACING.name if is_flight and phase == Phase.WAITING else Phase(phase).name,
                table.names.text(node),
            )
            for g, o, phase, node in zip(
                group.tolist(),
                ordinal.tolist(),
                table.replicas.phase[rows].tolist(),
                table.replicas.node[rows].tolist(),
                strict=True,
            )
        )


def _wakes(mask: int) -> tuple[str, ...]:
    """Names of the events of a mask."""
    named = [str(wake.name).lower().replace("_", " ") for wake in Wake if mask & wake]
    return (*named, "scheduler connected") if mask & 8 else tuple(named)
