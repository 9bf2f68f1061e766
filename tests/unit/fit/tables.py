"""Builders: node specs as the table a stream carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cell.fit.static import StaticNodes
from cell.messages import NodeFlag, NodeSpecs
from cell.node import EFFECTS, NodeSpec


def specs_table(
    strings: list[str], nodes: Mapping[int, NodeSpec | None], resources: Sequence[str] = ()
) -> NodeSpecs:
    """Specs by node index, None for a removed node; extends `strings` with what they name."""

    def number(text: str) -> int:
        if text not in strings:
            strings.append(text)
        return strings.index(text)

    present = {i: n or NodeSpec("gone") for i, n in nodes.items()}
    flags = {
        i: NodeFlag.REMOVED if n is None else NodeFlag.UNSCHEDULABLE * n.unschedulable
        for i, n in nodes.items()
    }
    labels = [label for n in present.values() for label in n.labels]
    taints = [taint for n in present.values() for taint in n.taints]
    amounts = [dict(n.allocatable).get(r, 0) for n in present.values() for r in resources]
    return NodeSpecs(
        node=np.array(list(nodes), np.uint32),
        incarnation=np.ones(len(nodes), np.uint32),
        flags=np.array(list(flags.values()), np.uint8),
        name=np.array([number(n.name) for n in present.values()], np.uint32),
        labels=np.array([len(n.labels) for n in present.values()], np.uint16),
        taints=np.array([len(n.taints) for n in present.values()], np.uint16),
        allocatable=np.array(amounts, np.int64),
        label_key=np.array([number(k) for k, _ in labels], np.uint32),
        label_value=np.array([number(v) for _, v in labels], np.uint32),
        taint_key=np.array([number(t.key) for t in taints], np.uint32),
        taint_value=np.array([number(t.value) for t in taints], np.uint32),
        taint_effect=np.array([EFFECTS[t.effect] for t in taints], np.uint8),
    )


def put_nodes(statics: StaticNodes, nodes: Mapping[int, NodeSpec | None]) -> None:
    """Let `statics` follow new specs, in one table."""
    strings: list[str] = []
    table = specs_table(strings, nodes)
    statics.put(table, statics.strings.intern_all(strings))
