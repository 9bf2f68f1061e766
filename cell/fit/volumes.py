"""Rules: volumes that replicas share, or must not share.

A claim that one replica may use keeps all others out of the cluster; a disk that a node mounts once
keeps them off its node, unless all of them only read it; and a node attaches no more volumes of a
driver than it says, each volume once, whoever uses it. Where volumes are is said by the class's
`places`, a static rule.
"""

from __future__ import annotations

from cell.between import Between, Disk
from cell.fit.counters import EVERYWHERE, NODE, Check, Counter
from cell.reasons import Reason


class ClaimUse(Counter, frozen=True):
    """Residents that use a claim."""

    claim: str

    def weight(self, between: Between) -> int:
        """See Counter."""
        return int(any(each.name == self.claim for each in between.claims))


class DiskUse(Counter, frozen=True):
    """Residents that mount a disk so that others cannot."""

    disk: Disk

    def weight(self, between: Between) -> int:
        """See Counter."""
        return int(any(is_taken(self.disk, each) for each in between.disks))


class Attached(Counter, frozen=True):
    """Volumes of a driver that a node has attached, each once: what residents have is kept in
    `Counts.seats`, not added up."""

    driver: str

    def weight(self, between: Between) -> int:
        """See Counter."""
        return 0


def is_taken(disk: Disk, other: Disk) -> bool:
    """Whether one node cannot mount both."""
    if (disk.kind, disk.name) != (other.kind, other.name):
        return False
    if disk.hosts and other.hosts and not set(disk.hosts) & set(other.hosts):
        return False
    return not (disk.is_read_only and other.is_read_only)


def volume_checks(between: Between) -> list[Check]:
    """What the class's volumes demand."""
    alone = [each.name for each in between.claims if each.is_alone]
    checks = [Check(Reason.CLAIM_IN_USE, ClaimUse(EVERYWHERE, name)) for name in alone]
    checks += [Check(Reason.DISK_IN_USE, DiskUse(NODE, disk)) for disk in between.disks]
    by_driver: dict[str, list[str]] = {}
    for claim in between.claims:
        if claim.driver:
            by_driver.setdefault(claim.driver, []).append(claim.name)
    for driver, names in by_driver.items():
        checks.append(
            Check(Reason.VOLUME_LIMIT, Attached(NODE, driver), volumes=tuple(dict.fromkeys(names)))
        )
    return checks
