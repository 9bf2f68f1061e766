"""Placing by hooks: units with a class whose profile has plugins that no kernel has compiled.

Same law and same keys as `kernels.place`, replica by replica from Python. Keys are kept in the same
slots, so hooks are asked again only for nodes that changed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.classes import ClassTable
from scheduler.framework.plugin import SCORE_MAX, View
from scheduler.kernels.keys import SCORE_MAX as TOTAL_MAX
from scheduler.kernels.keys import TIE_BITS, UNFIT, node_of
from scheduler.kernels.layout import (
    ANYWHERE,
    BLOCK,
    EXPLAIN_NS,
    HOOK_NS,
    MADE,
    NO_ROW,
    NO_SLOT,
    SPENT,
    UNIT,
    Limits,
    Placements,
    Rows,
    Slots,
)
from scheduler.kernels.place import best_beside, put, undo
from scheduler.tables import NodeTables

NOT_FOUND = -1


class Hooked:
    """Places units one by one over one session's node tables."""

    def __init__(self, tables: NodeTables, classes: ClassTable) -> None:
        self._tables = tables
        self._classes = classes

    def place_unit(
        self,
        slots: Slots,
        rows: Rows,
        out: Placements,
        progress: NDArray[np.int64],
        limits: Limits,
    ) -> None:
        """Place the next unit: all its minima or nothing, then what is above them."""
        first, unit = int(progress[MADE]), int(progress[UNIT])
        lo, hi = int(rows.start[unit]), int(rows.start[unit + 1])
        out.short[unit] = NO_ROW
        for row in range(lo, hi):
            self._place_row(slots, rows, out, progress, limits, row, int(rows.min[row]))
            if out.got[row] < rows.min[row]:
                columns, log = self._tables.columns, self._tables.log
                counts = self._tables.neighbours.columns
                undo(columns, self._classes.columns, counts, log, rows, out, first, progress[MADE])
                progress[MADE] = first
                out.short[unit] = row
                break
        else:
            for row in range(lo, hi):
                extra = int(rows.want[row] - rows.min[row])
                self._place_row(slots, rows, out, progress, limits, row, extra)
            if progress[MADE] == first:
                out.short[unit] = lo
        progress[UNIT] += 1

    def keys(self, slots: Slots, slot: int, nodes: NDArray[np.int64]) -> NDArray[np.int32]:
        """The keys of a slot's class for distinct nodes, by its plugins' hooks."""
        klass, is_wishing = int(slots.klass[slot]), int(slots.is_wishing[slot])
        gain = slots.gain[slot, nodes].astype(np.int64)
        profile = self._classes.profiles[klass]
        assert profile is not None
        tables, columns = self._tables, self._classes.columns
        spec, view = self._classes.specs[klass], self.view(nodes)
        feasible = gain >= 0
        for j in range(columns.entries[klass]):
            feasible &= view.free[columns.resource[klass, j]] >= columns.amount[klass, j]
        for plugin in profile.filters:
            narrowed = feasible.copy()
            plugin.filter(view, spec, narrowed)
            feasible &= narrowed
        total = gain
        for scorer, weight in profile.scores:
            score = np.zeros(len(nodes), np.int64)
            if scorer.is_about(spec):
                scorer.score(view, spec, feasible, score)
            total += weight * np.clip(score, 0, SCORE_MAX)
        keys = tables.columns.base[is_wishing, nodes]
        keys = keys + (np.minimum(total, TOTAL_MAX) << (TIE_BITS + is_wishing))
        return np.where(feasible, keys, UNFIT).astype(np.int32)

    def view(self, nodes: NDArray[np.int64]) -> View:
        """These nodes as plugins may read them."""
        tables = self._tables
        return View(
            resources=tables.resources.numbers,
            free=tables.columns.free[:, nodes],
            allocatable=tables.allocatable[nodes].T,
            names=tables.statics.names[nodes],
            texts=tables.statics.strings.texts,
        )

    def _place_row(
        self,
        slots: Slots,
        rows: Rows,
        out: Placements,
        progress: NDArray[np.int64],
        limits: Limits,
        row: int,
        want: int,
    ) -> None:
        if rows.slot[row] == NO_SLOT:
            return
        for _ in range(want):
            node = self._choose(slots, rows, progress, limits, row)
            if node == NOT_FOUND:
                return
            columns, log = self._tables.columns, self._tables.log
            counts = self._tables.neighbours.columns
            put(columns, self._classes.columns, counts, log, rows, out, progress[MADE], row, node)
            progress[MADE] += 1

    def _choose(
        self, slots: Slots, rows: Rows, progress: NDArray[np.int64], limits: Limits, row: int
    ) -> int:
        """The best node for one replica of the row."""
        slot, pin = int(rows.slot[row]), int(rows.pin[row])
        if pin != ANYWHERE:
            nodes = np.array([pin] if pin >= 0 else [], np.int64)
            progress[SPENT] += HOOK_NS
            klass = int(rows.klass[row])
            keys = self.keys(slots, slot, nodes)
            is_refused = pin >= 0 and self._tables.neighbours.reason(klass, pin)
            if is_refused:
                return NOT_FOUND
            return pin if np.any(keys != UNFIT) else NOT_FOUND
        progress[SPENT] += self._catch_up(slots, slot, limits)
        klass, classes = int(rows.klass[row]), self._classes.columns
        if classes.has_checks[klass] or classes.has_wishes[klass]:
            counts = self._tables.neighbours.columns
            best = best_beside(counts, classes, slots, slot, limits.nodes)
        else:
            best = int(slots.tops[slot, : limits.nodes // BLOCK].max(initial=UNFIT))
        return NOT_FOUND if best == UNFIT else node_of(best, self._tables.columns.ties)

    def _catch_up(self, slots: Slots, slot: int, limits: Limits) -> int:
        """Make the keys of a slot right for the nodes as they are; returns what it cost."""
        ring, head = self._tables.log.ring, int(self._tables.log.head[0])
        lag = head - int(slots.seen[slot])
        if lag > limits.lag_max:
            nodes = np.arange(self._tables.count)
        else:
            nodes = np.unique(ring[np.arange(head - lag, head) & (len(ring) - 1)]).astype(np.int64)
        if len(nodes):
            slots.keys[slot, nodes] = self.keys(slots, slot, nodes)
            blocks = np.unique(nodes // BLOCK)
            slots.tops[slot, blocks] = slots.keys[slot].reshape(-1, BLOCK)[blocks].max(axis=1)
        slots.seen[slot] = head
        return HOOK_NS + len(nodes) * EXPLAIN_NS
