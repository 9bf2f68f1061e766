"""Rule: required affinity and anti-affinity between replicas, with Kubernetes' meaning.

Affinity counts replicas that match all terms of the class, per domain of each term; where nobody
does, a replica that matches its own terms may be the first. Anti-affinity holds in both directions:
what a resident's term means may not come into its domain.
"""

from __future__ import annotations

from collections.abc import Iterable

from cell.between import Between, PodTerm, is_meant
from cell.fit.counters import Check, Counter, Selection
from cell.reasons import Reason


class Matching(Counter, frozen=True):
    """Residents that are in every one of the selections."""

    selections: tuple[Selection, ...]

    def weight(self, between: Between) -> int:
        """See Counter."""
        labels = dict(between.labels)
        return int(all(each.has(between, labels) for each in self.selections))


class Holders(Counter, frozen=True):
    """Residents that have the term among their required anti-affinity."""

    term: PodTerm

    def weight(self, between: Between) -> int:
        """See Counter."""
        return int(self.term in between.anti_affinity)


def affinity_checks(between: Between) -> list[Check]:
    """What the class demands of those that are there."""
    all_of = tuple(_selection(term) for term in between.affinity)
    is_self = bool(all_of) and bool(Matching("", all_of).weight(between))
    checks = [
        Check(Reason.POD_AFFINITY, Matching(term.key, all_of), is_self) for term in between.affinity
    ]
    checks += [
        Check(Reason.POD_ANTI_AFFINITY, Matching(term.key, (_selection(term),)))
        for term in between.anti_affinity
    ]
    return checks


def holders(between: Between) -> list[Holders]:
    """Counters of those who, like this class, must not have some others beside them."""
    return [Holders(term.key, term) for term in between.anti_affinity]


def held_checks(held: Iterable[Holders], between: Between) -> list[Check]:
    """What those demand that are there."""
    labels = dict(between.labels)
    return [
        Check(Reason.HELD_ANTI_AFFINITY, each)
        for each in held
        if is_meant(each.term, between.namespace, labels)
    ]


def _selection(term: PodTerm) -> Selection:
    return Selection(term.selector, term.namespaces)
