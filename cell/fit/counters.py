"""What rules between replicas are made of: counters, and checks of a class against them.

A counter says how many residents of some kind each domain has: the values of a node label, or the
nodes themselves. Rules name the counters that they need; equal ones are one.
"""

from __future__ import annotations

import msgspec

from cell.between import Between, Selector, is_selected
from cell.classes import Toleration
from cell.fit.labels import NeedTerm
from cell.reasons import Reason

NODE = ""
"""Key of counters whose domains are the nodes themselves."""
EVERYWHERE = "*"
"""Key of counters with one domain, which all nodes are in."""


class Eligible(msgspec.Struct, frozen=True):
    """The nodes whose residents count: they have all `keys`, the labels that are asked for, and no
    taint that is not tolerated (None: taints do not matter)."""

    keys: tuple[str, ...]
    selector: tuple[tuple[int, int], ...] = ()
    affinity: tuple[NeedTerm, ...] | None = None
    tolerations: tuple[Toleration, ...] | None = None


class Counter(msgspec.Struct, frozen=True):
    """Base of the kinds of counters."""

    key: str
    """The node label whose values are the domains, or NODE."""

    @property
    def eligible(self) -> Eligible | None:
        """The nodes that count; None: all."""
        return None

    @property
    def is_leaving_counted(self) -> bool:
        """Whether replicas count that are being stopped."""
        return True

    def weight(self, between: Between) -> int:
        """How much one resident of such a class counts."""
        raise NotImplementedError


class Selection(msgspec.Struct, frozen=True):
    """Replicas that a selector selects in some namespaces (None: in all)."""

    selector: Selector
    namespaces: tuple[str, ...] | None

    def has(self, between: Between, labels: dict[str, str]) -> bool:
        """Whether a replica is one of them; `labels` are its own."""
        if self.namespaces is not None and between.namespace not in self.namespaces:
            return False
        return is_selected(self.selector, labels)


class Check(msgspec.Struct, frozen=True):
    """One condition on the domain of a node; what it demands follows from the reason it refuses
    with (`counting._is_passed`)."""

    reason: Reason
    counter: Counter
    is_self: bool = False
    """Whether the replica would count itself."""
    skew_max: int = 0
    domains_min: int = 0
    volumes: tuple[str, ...] = ()
    """Volumes that a node has to attach, unless it has them already."""
