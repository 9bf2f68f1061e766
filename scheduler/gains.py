"""Gains: what the static rules and the static scores say of nodes for a class, as placing reads it.

Values are normalised over the nodes that the static rules allow, whatever room they have: so a gain
is kept per class and changes only when a node's spec does. ADR 12 says what that means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec
from cell.fit.static import StaticMask, StaticNodes
from scheduler.framework.plugin import SCORE_MAX, VALUE_MAX, StaticScorePlugin, Values

Rows = NDArray[np.int64]
REFUSED = -1
"""Gain of a node that the static rules refuse."""


class Gains:
    """One class's gains for all nodes, repaired on reading."""

    def __init__(
        self,
        nodes: StaticNodes,
        mask: StaticMask,
        spec: ClassSpec,
        plugins: tuple[tuple[StaticScorePlugin, int], ...],
    ) -> None:
        self.is_wishing = False
        """Whether some allowed nodes are preferred to others."""
        self.tops: tuple[int, ...] = ()
        """The largest value of each plugin: while it stays, so do the gains of unchanged nodes."""
        self._nodes = nodes
        self._mask = mask
        self._spec = spec
        self._plugins = plugins
        self._values = np.zeros((len(plugins), 0), np.int16)
        self._gains: Values = np.zeros(0, np.int16)
        self._changes = -1

    def read(self) -> Values:
        """int16 [node] over the nodes known now: the weighted sum, or REFUSED."""
        if self._changes != self._nodes.changes:
            rows = self._follow()
            self._changes = self._nodes.changes
            self._sum(rows)
        return self._gains

    def points(self) -> list[tuple[str, int, NDArray[np.int64]]]:
        """Each plugin's name, weight and normalised score by node, as `read` has counted it."""
        self.read()
        return [
            (plugin.name, weight, _points(plugin, values, top))
            for (plugin, weight), values, top in zip(
                self._plugins, self._values, self.tops, strict=True
            )
        ]

    def _follow(self) -> Rows:
        """Take the values of new and changed nodes; returns these."""
        nodes = self._nodes
        changed = nodes.changed_since(self._changes) if self._changes >= 0 else None
        if changed is None or self._values.shape[1] != nodes.count:
            self._values = np.zeros((len(self._plugins), nodes.count), np.int16)
            self._gains = np.full(nodes.count, REFUSED, np.int16)
            rows = np.arange(nodes.count)
        else:
            rows = np.unique(np.array(changed, np.int64))
        for (plugin, _), values in zip(self._plugins, self._values, strict=True):
            values[rows] = np.clip(plugin.values(nodes, self._spec, rows), 0, VALUE_MAX)
        return rows

    def _sum(self, rows: Rows) -> None:
        """Gains of the rows, and of all where what they are normalised by has changed."""
        mask, before = self._mask.read(), self.tops
        tops = np.where(mask, self._values, 0).max(axis=1, initial=0)
        least = np.where(mask, self._values, VALUE_MAX).min(axis=1, initial=VALUE_MAX)
        self.is_wishing, self.tops = bool((least < tops).any()), tuple(tops.tolist())
        if self.tops != before:
            rows = np.arange(len(mask))
        gains: NDArray[np.int64] = np.zeros(len(rows), np.int64)
        for (plugin, weight), values, top in zip(
            self._plugins, self._values, self.tops, strict=True
        ):
            gains += weight * _points(plugin, values[rows], top)
        self._gains[rows] = np.where(mask[rows], gains, REFUSED)


def _points(plugin: StaticScorePlugin, values: Values, top: int) -> NDArray[np.int64]:
    """0 to SCORE_MAX by node; of refused nodes it means nothing."""
    points = SCORE_MAX * np.minimum(values, top).astype(np.int64) // max(top, 1)
    return SCORE_MAX - points if plugin.is_reversed else points
