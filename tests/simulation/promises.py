"""What clients asked for and what they were promised: contents of units by revision, and acks.

The auditor fills it from the requests that reach the dispatcher and the answers that leave it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cell.messages import Acks, Amend, Cancel, Join, Member, Report, Submit
from cell.unit import NO_PIN, GroupSpec, Phase, Place, uid_of

Groups = tuple[GroupSpec, ...]
Replica = tuple[int, int]


@dataclass
class Promise:
    """One unit: the content of each revision somebody asked for, and what was acknowledged."""

    key: str
    contents: dict[int, Groups] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    """Members that were acknowledged, of a gang that gathers."""
    reached: dict[str, Member] = field(default_factory=dict)
    """Members that reached the dispatcher and were not refused."""
    acked_revision: int = 0
    is_cancel_asked: bool = False
    is_cancel_acked: bool = False
    reported: dict[tuple[int, int, int], Phase] = field(default_factory=dict)
    """Acknowledged reports: the furthest phase of (revision, group, ordinal)."""

    @property
    def is_acked(self) -> bool:
        """Whether its submission was acknowledged."""
        return self.acked_revision > 0

    @property
    def is_incomplete(self) -> bool:
        """Whether it is a gang that still waits for members."""
        size = next((member.size for member in self.reached.values()), 0)
        return len(self.members) < size


class Promises:
    """All units anybody asked for."""

    def __init__(self) -> None:
        self.by_key: dict[str, Promise] = {}
        self.by_uid: dict[tuple[int, int], Promise] = {}

    def begin_again(self, key: str) -> None:
        """The key's unit has ended and was forgotten: from now on it names a new one."""
        del self.by_key[key], self.by_uid[uid_of(key)]

    def formed(self, key: str, groups: Groups) -> None:
        """A unit that nobody submits: a pod, or what is made of pods. Nothing is promised of it."""
        self._promise(key).contents[1] = groups

    def asked(self, body: object) -> None:
        """A request has reached the dispatcher."""
        match body:
            case Submit():
                for key, groups in submitted(body).items():
                    promise = self._promise(key)
                    if not promise.is_acked:
                        promise.contents[1] = groups
            case Amend():
                for item in body.items:
                    promise = self._promise(item.key)
                    if item.revision > promise.acked_revision:
                        promise.contents[item.revision] = item.groups
                        promise.places[item.revision] = item.place
            case Cancel():
                for key in body.keys:
                    self._promise(key).is_cancel_asked = True
            case Join():
                for member in body.members:
                    promise = self._promise(member.gang)
                    promise.reached[member.name] = member
                    promise.contents[1] = gathered(list(promise.reached.values()))

    def answered(self, body: object, answer: object) -> None:
        """The dispatcher has answered a request."""
        if not isinstance(answer, Acks):
            return
        refused = {item for item, _ in answer.refused}
        accepted: list[tuple[str, int]] = []
        match body:
            case Submit():
                accepted = [(key, 1) for i, key in enumerate(body.keys) if i not in refused]
            case Amend():
                items = [item for i, item in enumerate(body.items) if i not in refused]
                accepted = [(item.key, item.revision) for item in items]
            case Cancel():
                for i, key in enumerate(body.keys):
                    self.by_key[key].is_cancel_acked |= i not in refused
            case Join():
                for i, member in enumerate(body.members):
                    promise = self.by_key[member.gang]
                    if i not in refused:
                        # Its second request may have been refused before the first was answered.
                        promise.members[member.name] = promise.reached[member.name] = member
                        accepted.append((member.gang, 1))
                    elif member.name not in promise.members:
                        promise.reached.pop(member.name, None)
                    promise.contents[1] = gathered(list(promise.reached.values()))
            case Report():
                self._reported(body, refused)
        for key, revision in accepted:
            promise = self.by_key[key]
            promise.acked_revision = max(promise.acked_revision, revision)

    def _reported(self, body: Report, refused: set[int]) -> None:
        rows = body.rows
        for i, key in enumerate(body.keys):
            promise = self.by_key.get(key)
            if i not in refused and promise is not None:
                name = (int(rows.revision[i]), int(rows.group[i]), int(rows.ordinal[i]))
                phase = Phase(int(rows.phase[i]))
                promise.reported[name] = max(phase, promise.reported.get(name, phase))

    def _promise(self, key: str) -> Promise:
        promise = self.by_key.get(key)
        if promise is None:
            promise = self.by_key[key] = Promise(key)
            self.by_uid[uid_of(key)] = promise
        return promise


def submitted(body: Submit) -> dict[str, Groups]:
    """The units of a Submit in row form."""
    units: dict[str, Groups] = {}
    at = 0
    for key, count in zip(body.keys, body.units.groups.tolist(), strict=True):
        groups = []
        for i in range(at, at + count):
            pin = int(body.groups.pin[i])
            groups.append(
                GroupSpec(
                    body.classes[int(body.groups.klass[i])],
                    body.roles[i] if body.roles else "",
                    int(body.groups.count[i]),
                    int(body.groups.min[i]),
                    "" if pin == NO_PIN else body.pins[pin],
                )
            )
        at += count
        units[key] = tuple(groups)
    return units


def gathered(members: list[Member]) -> Groups:
    """The groups of a gang made of members: one per class and pin, in order of the first name."""
    counts: dict[tuple[object, str], list[Member]] = {}
    for member in sorted(members, key=lambda m: m.name):
        counts.setdefault((member.klass, member.pin), []).append(member)
    return tuple(
        GroupSpec(group[0].klass, "", len(group), len(group), group[0].pin)
        for group in counts.values()
    )
