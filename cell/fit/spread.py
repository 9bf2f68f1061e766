"""Rule: topology spread. A domain may have at most `max_skew` more of the selected replicas than
the domain with the fewest, counted over the nodes that the class could use.

With fewer domains than `domains_min` the fewest is taken to be none. Replicas that are being
stopped do not count, and an empty selector counts nobody (kube-scheduler's own peculiarity).
"""

from __future__ import annotations

from cell.between import Between, Spread, is_selected
from cell.fit.counters import Check, Counter, Eligible, Selection
from cell.fit.static import StaticRules
from cell.reasons import Reason


class Spreading(Counter, frozen=True):
    """Residents that a constraint selects, on nodes that count."""

    selection: Selection
    nodes: Eligible

    @property
    def eligible(self) -> Eligible:
        """See Counter."""
        return self.nodes

    @property
    def is_leaving_counted(self) -> bool:
        """See Counter."""
        return False

    def weight(self, between: Between) -> int:
        """See Counter."""
        if not self.selection.selector:
            return 0
        return int(self.selection.has(between, dict(between.labels)))


def spread_checks(between: Between, rules: StaticRules) -> list[Check]:
    """The constraints that must hold; `rules` are the class's own."""
    required = [each for each in between.spread if each.is_required]
    keys = tuple(sorted({each.key for each in required}))
    return [_check(between, each, keys, rules) for each in required]


def _check(between: Between, spread: Spread, keys: tuple[str, ...], rules: StaticRules) -> Check:
    is_narrow = spread.is_affinity_honoured
    eligible = Eligible(
        keys,
        selector=rules.selector if is_narrow else (),
        affinity=rules.affinity if is_narrow else None,
        tolerations=rules.tolerations if spread.are_taints_honoured else None,
    )
    return Check(
        Reason.TOPOLOGY_SPREAD,
        Spreading(spread.key, Selection(spread.selector, (between.namespace,)), eligible),
        is_self=is_selected(spread.selector, dict(between.labels)),
        skew_max=spread.max_skew,
        domains_min=spread.domains_min,
    )
