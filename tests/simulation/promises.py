"""What clients asked for and what they were promised: contents of units by revision, and acks.

The auditor fills it from the requests that reach the dispatcher and the answers that leave it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cell.messages import Acks, Amend, Cancel, Submit
from cell.unit import NO_PIN, GroupSpec, uid_of

Groups = tuple[GroupSpec, ...]


@dataclass
class Promise:
    """One unit: the content of each revision somebody asked for, and what was acknowledged."""

    key: str
    contents: dict[int, Groups] = field(default_factory=dict)
    acked_revision: int = 0
    is_cancel_asked: bool = False
    is_cancel_acked: bool = False

    @property
    def is_acked(self) -> bool:
        """Whether its submission was acknowledged."""
        return self.acked_revision > 0


class Promises:
    """All units anybody asked for."""

    def __init__(self) -> None:
        self.by_key: dict[str, Promise] = {}
        self.by_uid: dict[tuple[int, int], Promise] = {}

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
            case Cancel():
                for key in body.keys:
                    self._promise(key).is_cancel_asked = True

    def answered(self, body: object, answer: object) -> None:
        """The dispatcher has answered a request."""
        if not isinstance(answer, Acks):
            return
        refused = {item for item, _ in answer.refused}
        match body:
            case Submit():
                accepted = [(key, 1) for i, key in enumerate(body.keys) if i not in refused]
            case Amend():
                accepted = [
                    (item.key, item.revision)
                    for i, item in enumerate(body.items)
                    if i not in refused
                ]
            case Cancel():
                accepted = []
                for i, key in enumerate(body.keys):
                    self.by_key[key].is_cancel_acked |= i not in refused
            case _:
                return
        for key, revision in accepted:
            promise = self.by_key[key]
            promise.acked_revision = max(promise.acked_revision, revision)

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
