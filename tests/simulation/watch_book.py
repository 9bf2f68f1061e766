"""What watchers of units were told, from one listing on: the picture a user has.

Rules here: within one life of the dispatcher a replica is told to be bound once per revision, never
after its end, and revisions never go back. In the end the picture agrees with the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cell.messages import NO_NODE, Changes, UnitView
from cell.unit import WHOLE_UNIT, Phase, uid_of
from tests.simulation.promises import Promises
from tests.simulation.world import Broken

HOLDS_CLAIM = (Phase.BOUND, Phase.STARTING, Phase.READY)
ENDED = (Phase.DONE, Phase.FAILED, Phase.CANCELLED)
Replica = tuple[int, int]


@dataclass
class UnitPicture:
    """One unit as told: phase, node and revision of each replica, as last heard."""

    revision: int = 0
    phases: dict[Replica, tuple[Phase, str, int]] = field(default_factory=dict)


class WatchBook:
    """All units as told."""

    def __init__(self, promises: Promises) -> None:
        self._promises = promises
        self.units: dict[str, UnitPicture] = {}
        self.cancelled: set[tuple[int, int]] = set()
        """Uids whose end by cancel was told: from then on nothing may bind them."""

    def listed(self, views: list[UnitView]) -> None:
        """The dispatcher has restarted: watchers list everything again."""
        self.units = {view.key: picture_of(view) for view in views}
        self.cancelled |= {uid_of(v.key) for v in views if v.word.upper() == "CANCELLED"}

    def begin_again(self, key: str) -> None:
        """The key names a new unit from now on."""
        self.units.pop(key, None)
        self.cancelled.discard(uid_of(key))

    def published(self, changes: Changes) -> None:
        """The dispatcher tells what changed."""
        rows = changes.rows
        table = zip(
            changes.keys,
            rows.revision.tolist(),
            rows.group.tolist(),
            rows.ordinal.tolist(),
            rows.phase.tolist(),
            rows.node.tolist(),
            strict=True,
        )
        for key, revision, group, ordinal, phase, node in table:
            name = "" if node == NO_NODE else changes.nodes[node]
            self._change(key, revision, (group, ordinal), Phase(phase), name)

    def _change(self, key: str, revision: int, replica: Replica, phase: Phase, node: str) -> None:
        picture = self.units.setdefault(key, UnitPicture())
        if revision < picture.revision:
            raise Broken("revisions never go back", f"{revision} after {picture.revision}", key)
        picture.revision = revision
        if phase is Phase.CANCELLED:
            self.cancelled.add(uid_of(key))
        for name in self._replicas(key, revision) if replica[1] == WHOLE_UNIT else [replica]:
            self._check(key, picture, name, (phase, node, revision))
            picture.phases[name] = (phase, node, revision)

    def _check(
        self, key: str, picture: UnitPicture, replica: Replica, told: tuple[Phase, str, int]
    ) -> None:
        phase, node, revision = told
        before = picture.phases.get(replica)
        if phase is not Phase.BOUND or before is None or before[2] != revision:
            return
        if before[0] in ENDED:
            raise Broken("ended replicas stay ended", f"{replica} was {before[0].name}", key)
        if before[0] in HOLDS_CLAIM:
            seen = f"{replica} on {node}, and before that on {before[1]}"
            raise Broken("outcomes are applied once", seen, key)

    def _replicas(self, key: str, revision: int) -> list[Replica]:
        promise = self._promises.by_key.get(key)
        if promise is None or revision not in promise.contents:
            raise Broken("claims are for what was asked", f"told of revision {revision}", key)
        groups = promise.contents[revision]
        return [(g, ordinal) for g, spec in enumerate(groups) for ordinal in range(spec.count)]


def picture_of(view: UnitView) -> UnitPicture:
    """A unit as listed."""
    phases = {
        (r.group, r.ordinal): (Phase.__members__[r.phase.upper()], r.node, view.revision)
        for r in view.replicas
    }
    return UnitPicture(view.revision, phases)
