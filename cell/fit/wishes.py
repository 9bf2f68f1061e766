"""Wishes between replicas, as gains on counters beside the checks: preferred affinity in both
directions, and topology spread that is no condition.

A resident's wish for a replica counts as the replica's own, and so does, with REQUIRED_WEIGHT, a
term that a resident requires: who needs the others draws them. Read by schedulers alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cell.between import Between, PodTerm, Spread, is_meant
from cell.fit.counters import NODE, Counter, Eligible, Selection
from cell.fit.pod_affinity import Matching
from cell.fit.spread import Spreading
from cell.fit.static import StaticRules
from cell.node import HOSTNAME_LABEL

REQUIRED_WEIGHT = 1
"""kube-scheduler's hardPodAffinityWeight."""


class Wanting(Counter, frozen=True):
    """By how much residents want to be beside, or away from, what the term means."""

    term: PodTerm

    def weight(self, between: Between) -> int:
        """See Counter."""
        wished = sum(wish.weight for wish in between.wishes if wish.term == self.term)
        return wished + REQUIRED_WEIGHT * between.affinity.count(self.term)


class Pull(msgspec.Struct, frozen=True):
    """A domain is worth `weight` for each that its counter has."""

    counter: Counter
    weight: int


class Even(msgspec.Struct, frozen=True):
    """A domain is the better the fewer its counter has."""

    counter: Counter
    label: str
    """Nodes without it have no domain."""
    skew_max: int
    is_label_needed: bool
    """Whether nodes without it are not scored at all."""


class Wishes(msgspec.Struct, frozen=True):
    """All of one class."""

    pulls: tuple[Pull, ...] = ()
    evens: tuple[Even, ...] = ()

    @property
    def counters(self) -> list[Counter]:
        """What they read."""
        return [*(each.counter for each in self.pulls), *(each.counter for each in self.evens)]


def wantings(between: Between) -> list[Wanting]:
    """Counters of those who, like this class, want some others beside them."""
    terms = [*(wish.term for wish in between.wishes), *between.affinity]
    return [Wanting(term.key, term) for term in terms]


def wishes_of(between: Between, wanted: Iterable[Wanting], rules: StaticRules) -> Wishes:
    """What a class wishes, and what residents wish of it; `rules` are the class's own."""
    labels = dict(between.labels)
    pulls = [
        Pull(Matching(term.key, (Selection(term.selector, term.namespaces),)), wish.weight)
        for wish in between.wishes
        for term in (wish.term,)
    ]
    pulls += [Pull(each, 1) for each in wanted if is_meant(each.term, between.namespace, labels)]
    wished = [each for each in between.spread if not each.is_required]
    keys = tuple(sorted({each.key for each in wished if each.are_keys_needed}))
    return Wishes(tuple(pulls), tuple(_even(between, each, keys, rules) for each in wished))


def _even(between: Between, spread: Spread, keys: tuple[str, ...], rules: StaticRules) -> Even:
    """Replicas of one node are counted whatever node it is, as kube-scheduler does."""
    selection = Selection(spread.selector, (between.namespace,))
    counter = Spreading(NODE, selection, Eligible(()))
    if spread.key != HOSTNAME_LABEL:
        is_narrow = spread.is_affinity_honoured
        eligible = Eligible(
            keys,
            selector=rules.selector if is_narrow else (),
            affinity=rules.affinity if is_narrow else None,
            tolerations=rules.tolerations if spread.are_taints_honoured else None,
        )
        counter = Spreading(spread.key, selection, eligible)
    return Even(counter, spread.key, spread.max_skew, spread.are_keys_needed)
