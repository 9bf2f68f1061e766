"""The dumb twin of placing: one replica at a time, every node looked at, exact fractions.

It shares with the scheduler only the names of things: rules, scores, order and ties are written
again in the plainest way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from fractions import Fraction

from cell.classes import POD_SLOT, ClassSpec
from cell.node import NodeSpec
from cell.requirements import Term
from tests.unit.scheduler.builders import U

WISHES = {"taints": 3, "node_affinity": 2}
WEIGHTS: dict[str, dict[str, int]] = {
    "default": {"least": 1, "balanced": 1, **WISHES},
    "pack": {"most": 1, **WISHES},
    "spread": {"least": 1, **WISHES},
}
Row = tuple[int, int, int, int]


class Twin:
    """A cluster as a scheduler of this name and partition sees it."""

    def __init__(
        self, name: str, partition: int, partitions: int, weights: Mapping[str, Mapping[str, int]]
    ) -> None:
        self.nodes: dict[int, NodeSpec] = {}
        self.used: dict[int, dict[str, int]] = {}
        self._seed = int.from_bytes(
            hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"
        )
        self._partition, self._partitions = partition, partitions
        self._weights = {**WEIGHTS, **weights}

    def put(self, index: int, node: NodeSpec) -> None:
        self.nodes[index] = node
        self.used[index] = {}

    def free(self, index: int, resource: str) -> int:
        amount = dict(self.nodes[index].allocatable).get(resource, 0)
        return amount - self.used[index].get(resource, 0)

    def take(self, index: int, spec: ClassSpec, sign: int = 1) -> None:
        for name, amount in taken(spec).items():
            self.used[index][name] = self.used[index].get(name, 0) + sign * amount

    def place(self, units: Iterable[U]) -> tuple[list[Row], set[int]]:
        """Rows in order of placement, and the units that got nothing."""
        rows: list[Row] = []
        refused = set()
        for unit in units:
            made = self._place_unit(unit)
            rows += made
            if not made:
                refused.add(unit.number)
        return rows, refused

    def _place_unit(self, unit: U) -> list[Row]:
        made: list[Row] = []
        got = [0] * len(unit.rows)
        for is_extra in (False, True):
            for i, row in enumerate(unit.rows):
                for _ in range(row.count - row.least if is_extra else row.least):
                    node = self._best(row.klass, row.pin)
                    if node is None:
                        break
                    self.take(node, row.klass)
                    made.append((unit.number, row.group, row.first + got[i], node))
                    got[i] += 1
                if not is_extra and got[i] < row.least:
                    for _, group, _, node in made:
                        spec = next(r.klass for r in unit.rows if r.group == group)
                        self.take(node, spec, -1)
                    return []
        return made

    def _best(self, spec: ClassSpec, pin: str) -> int | None:
        fitting = [i for i in self.nodes if self._is_fitting(i, spec, pin)]
        return max(fitting, key=lambda i: self._order(i, spec), default=None)

    def _is_fitting(self, index: int, spec: ClassSpec, pin: str) -> bool:
        node = self.nodes[index]
        return (
            pin in ("", node.name)
            and self._is_allowed(index, spec)
            and all(self.free(index, name) >= amount for name, amount in demand(spec).items())
        )

    def _is_allowed(self, index: int, spec: ClassSpec) -> bool:
        node = self.nodes[index]
        labels = dict(node.labels)
        tolerated = {t.key for t in spec.tolerations}
        return (
            not node.unschedulable
            and all(t.key in tolerated for t in node.taints if t.effect == "NoSchedule")
            and all(labels.get(key) == value for key, value in spec.selector)
        )

    def _order(self, index: int, spec: ClassSpec) -> tuple[int, int, int]:
        """The partition comes first, unless the class prefers some nodes to others."""
        is_own = int(index % self._partitions == self._partition)
        score, rank = self.score(index, spec), self._rank(index)
        return (score, is_own, rank) if self.is_wishing(spec) else (is_own, score, rank)

    def is_wishing(self, spec: ClassSpec) -> bool:
        values = self._values(spec)
        weights = self._weights[spec.profile]
        return any(len(set(values[name].values())) > 1 for name in WISHES if name in weights)

    def _values(self, spec: ClassSpec) -> dict[str, dict[int, int]]:
        """By plugin and allowed node: what its spec says of preferences."""
        allowed = [i for i in self.nodes if self._is_allowed(i, spec)]
        tolerated = {t.key for t in spec.tolerations}
        return {
            "taints": {
                i: sum(
                    t.effect == "PreferNoSchedule" and t.key not in tolerated
                    for t in self.nodes[i].taints
                )
                for i in allowed
            },
            "node_affinity": {
                i: sum(w.weight for w in spec.wishes if _is_wished(w.term, self.nodes[i]))
                for i in allowed
            },
        }

    def _wished(self, index: int, spec: ClassSpec) -> dict[str, int]:
        found = {}
        for name, values in self._values(spec).items():
            points = 100 * values[index] // (max(values.values()) or 1)
            found[name] = 100 - points if name == "taints" else points
        return found

    def score(self, index: int, spec: ClassSpec) -> int:
        """Weighted sum of the profile's scores with the replica on the node."""
        used, mine = self.used[index], taken(spec)
        before, after, full = list[Fraction](), list[Fraction](), list[Fraction]()
        for name in ("cpu", "memory"):
            capacity = dict(self.nodes[index].allocatable).get(name, 0)
            if capacity:
                beside = used.get(f"unasked:{name}", 0) + mine.get(f"unasked:{name}", 0)
                there, more = used.get(name, 0), mine.get(name, 0)
                uses = (there, there + more, there + more + beside)
                shares = [Fraction(min(use, capacity), capacity) for use in uses]
                for listed, share in zip((before, after, full), shares, strict=True):
                    listed.append(share)
        mean = len(full) or 1
        scores = {
            "least": sum((100 * (1 - s)).__floor__() for s in full) // mean,
            "most": sum((100 * s).__floor__() for s in full) // mean,
            "balanced": 50 + (50 + _evenness(after) - _evenness(before)) // 2,
        }
        if not {"cpu", "memory"} & {*mine}:
            scores["balanced"] = 0
        scores |= self._wished(index, spec)
        return sum(scores[n] * w for n, w in self._weights[spec.profile].items() if n in scores)

    def _rank(self, index: int) -> int:
        """The seeded permutation of 20 bits, written as arithmetic."""
        size = 1 << 20
        mixed = index ^ (self._seed % size)
        mixed ^= mixed // 1024
        mixed = mixed * (self._seed // size % size | 1) % size
        return mixed ^ (mixed // 1024)


def _is_wished(term: Term, node: NodeSpec) -> bool:
    """Terms of the tests ask for values of one label."""
    labels = dict(node.labels)
    return all(labels.get(r.key) in r.values for r in term.labels)


def _evenness(shares: list[Fraction]) -> int:
    apart = max(shares) - min(shares) if len(shares) == 2 else Fraction(0)
    return (100 * (1 - apart / 2)).__floor__()


def taken(spec: ClassSpec) -> dict[str, int]:
    return {**demand(spec), **{f"unasked:{name}": amount for name, amount in spec.unasked}}


def demand(spec: ClassSpec) -> dict[str, int]:
    return {POD_SLOT: 1, **dict(spec.demand)}
