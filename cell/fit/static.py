"""The static rules together: whether a class may be on a node, whatever room there is.

Used by scheduler and binder alike, so that they cannot disagree. `StaticNodes` follows `NodeSpecs`;
`StaticMask` is one class's answer for all nodes, computed once and repaired for the nodes whose
labels, taints, cordon or presence changed since it was last read.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec, Toleration
from cell.fit.cordon import is_cordon_tolerated
from cell.fit.features import declared
from cell.fit.labels import NeedTerm, NodeLabels, attracted, need_term, selected
from cell.fit.pinned import NOWHERE
from cell.fit.strings import Strings
from cell.fit.taints import NodeTaints
from cell.messages import NodeFlag, NodeSpecs
from cell.node import FEATURE_PREFIX, Effect, Taint
from cell.reasons import Reason

LOG_MAX = 4096
"""Changed nodes that masks catch up with one by one; further behind they are computed afresh."""

Rows = NDArray[np.int64]
Bits = NDArray[np.bool_]

_EFFECTS = {
    Effect.NO_SCHEDULE: "NoSchedule",
    Effect.PREFER_NO_SCHEDULE: "PreferNoSchedule",
    Effect.NO_EXECUTE: "NoExecute",
}


class StaticNodes:
    """What the static rules read of nodes, by node index. `count` nodes are known (or were)."""

    def __init__(self) -> None:
        self.count = 0
        self.strings = Strings()
        self.labels = NodeLabels()
        self.taints = NodeTaints()
        self.names: NDArray[np.int32] = np.zeros(0, np.int32)
        self.is_present: Bits = np.zeros(0, np.bool_)
        self.is_cordoned: Bits = np.zeros(0, np.bool_)
        self.changes = 0
        """Changed nodes so far; `changed_since` names the latest."""
        self._log: list[int] = []
        self._by_name: dict[int, int] = {}

    def put(self, specs: NodeSpecs, ids: NDArray[np.int32]) -> None:
        """Take new specs of nodes; the last row of a node wins, removed nodes match nothing.

        `ids` maps the table's string numbers to ids of `strings`.
        """
        if not len(specs):
            return
        rows = specs.node.astype(np.int64)
        if len(np.unique(rows)) != len(rows):
            for i in range(len(rows)):
                self.put(_one(specs, i), ids)
            return
        self._resize(int(rows.max()) + 1)
        is_removed = (specs.flags & NodeFlag.REMOVED) != 0
        self.is_present[rows] = ~is_removed
        self.is_cordoned[rows] = (specs.flags & NodeFlag.UNSCHEDULABLE) != 0
        self._rename(rows, ids[specs.name], is_removed)
        keys, values = ids[specs.label_key], ids[specs.label_value]
        self.labels.put(rows, specs.labels.astype(np.int32), keys, values)
        self._put_taints(rows, specs, ids)
        self._changed(rows)

    def node_of(self, name: str) -> int:
        """Index of the present node of that name, else NOWHERE."""
        return self._by_name.get(self.strings.intern(name), NOWHERE)

    def changed_since(self, changes: int) -> list[int] | None:
        """Nodes changed since `changes` was read, oldest first; None when that is too long ago."""
        behind = self.changes - changes
        if behind > len(self._log):
            return None
        return self._log[len(self._log) - behind :]

    def _resize(self, count: int) -> None:
        if count > len(self.names):
            size = max(64, count, 2 * len(self.names))
            grown = size - len(self.names)
            self.names = np.concatenate([self.names, np.full(grown, -1, np.int32)])
            self.is_present = np.concatenate([self.is_present, np.zeros(grown, np.bool_)])
            self.is_cordoned = np.concatenate([self.is_cordoned, np.zeros(grown, np.bool_)])
            self.labels.resize(size)
            self.taints.resize(size)
        self.count = max(self.count, count)

    def _rename(self, rows: Rows, names: NDArray[np.int32], is_removed: Bits) -> None:
        nodes = rows.tolist()
        for node, old in zip(nodes, self.names[rows].tolist(), strict=True):
            if self._by_name.get(old) == node:
                del self._by_name[old]
        self.names[rows] = names
        for node, name, is_gone in zip(nodes, names.tolist(), is_removed.tolist(), strict=True):
            if not is_gone:
                self._by_name[name] = node

    def _put_taints(self, rows: Rows, specs: NodeSpecs, ids: NDArray[np.int32]) -> None:
        self.taints.column[rows[specs.taints == 0]] = 0
        ends = np.cumsum(specs.taints, dtype=np.int64)
        texts = self.strings.texts
        keys, values = ids[specs.taint_key].tolist(), ids[specs.taint_value].tolist()
        effects = specs.taint_effect.tolist()
        for i in np.flatnonzero(specs.taints).tolist():
            span = range(int(ends[i]) - int(specs.taints[i]), int(ends[i]))
            taints = [
                Taint(texts[keys[j]], texts[values[j]], _EFFECTS[Effect(effects[j])]) for j in span
            ]
            self.taints.put(int(rows[i]), tuple(taints))

    def _changed(self, rows: Rows) -> None:
        self._log.extend(rows.tolist())
        self.changes += len(rows)
        if len(self._log) > 2 * LOG_MAX:
            del self._log[:-LOG_MAX]


def _one(specs: NodeSpecs, i: int) -> NodeSpecs:
    """Row i as a table without allocatable, which no static rule reads."""
    label = int(specs.labels[:i].sum())
    taint = int(specs.taints[:i].sum())
    labels = slice(label, label + int(specs.labels[i]))
    taints = slice(taint, taint + int(specs.taints[i]))
    row = slice(i, i + 1)
    return NodeSpecs(
        node=specs.node[row],
        incarnation=specs.incarnation[row],
        flags=specs.flags[row],
        name=specs.name[row],
        labels=specs.labels[row],
        taints=specs.taints[row],
        allocatable=np.empty(0, np.int64),
        label_key=specs.label_key[labels],
        label_value=specs.label_value[labels],
        taint_key=specs.taint_key[taints],
        taint_value=specs.taint_value[taints],
        taint_effect=specs.taint_effect[taints],
    )


class StaticRules(msgspec.Struct, frozen=True):
    """What a class demands of nodes, its strings as ids."""

    selector: tuple[tuple[int, int], ...]
    affinity: tuple[NeedTerm, ...] | None
    tolerations: tuple[Toleration, ...]
    is_cordon_tolerated: bool
    features: tuple[int, ...] = ()
    """Keys of the labels that stand for what nodes declare."""
    places: tuple[tuple[NeedTerm, ...], ...] = ()


def rules_of(spec: ClassSpec, strings: Strings) -> StaticRules:
    """The static rules of a normalised class."""
    affinity = spec.affinity
    return StaticRules(
        selector=tuple((strings.intern(k), strings.intern(v)) for k, v in spec.selector),
        affinity=None if affinity is None else tuple(need_term(t, strings) for t in affinity),
        tolerations=spec.tolerations,
        is_cordon_tolerated=is_cordon_tolerated(spec.tolerations),
        features=tuple(strings.intern(f"{FEATURE_PREFIX}{name}") for name in spec.features),
        places=tuple(tuple(need_term(t, strings) for t in terms) for terms in spec.places),
    )


def verdicts(nodes: StaticNodes, rules: StaticRules, rows: Rows) -> list[tuple[Reason, Bits]]:
    """Per rule whether each row passes it, in kube-scheduler's order of filters."""
    return [
        (Reason.UNSCHEDULABLE, ~nodes.is_cordoned[rows] | rules.is_cordon_tolerated),
        (Reason.TAINT, nodes.taints.tolerated(rules.tolerations, rows)),
        (Reason.NODE_SELECTOR, selected(nodes.labels, rules.selector, rows)),
        (Reason.NODE_AFFINITY, _attracted(nodes, rules.affinity, rows)),
        (Reason.VOLUME_PLACE, _reached(nodes, rules.places, rows)),
        (Reason.NODE_FEATURES, declared(nodes.labels, rules.features, rows)),
    ]


def _attracted(nodes: StaticNodes, terms: tuple[NeedTerm, ...] | None, rows: Rows) -> Bits:
    return attracted(nodes.labels, nodes.names, nodes.strings, terms, rows)


def _reached(nodes: StaticNodes, places: tuple[tuple[NeedTerm, ...], ...], rows: Rows) -> Bits:
    """Whether every volume of a class is, or can be, where each node is."""
    held = np.ones(len(rows), np.bool_)
    for terms in places:
        held &= _attracted(nodes, terms, rows)
    return held


def passes(nodes: StaticNodes, rules: StaticRules, rows: Rows) -> Bits:
    """Whether each row is present and passes every static rule."""
    held = nodes.is_present[rows]
    for _, verdict in verdicts(nodes, rules, rows):
        held &= verdict
    return held


class StaticMask:
    """One class's static answer for all nodes, repaired on reading."""

    def __init__(self, nodes: StaticNodes, rules: StaticRules) -> None:
        self.rules = rules
        self._nodes = nodes
        self._mask: Bits = np.zeros(0, np.bool_)
        self._changes = -1

    def read(self) -> Bits:
        """bool [node] over the nodes known now; valid until the nodes change."""
        nodes = self._nodes
        if self._changes == nodes.changes:
            return self._mask
        changed = nodes.changed_since(self._changes) if self._changes >= 0 else None
        if changed is None or len(self._mask) != nodes.count:
            self._mask = passes(nodes, self.rules, np.arange(nodes.count))
        else:
            rows = np.unique(np.array(changed, np.int64))
            self._mask[rows] = passes(nodes, self.rules, rows)
        self._changes = nodes.changes
        return self._mask
