"""What the API server has shown of its objects: the newest view of each, by unit.

A view that is older than what was seen changes nothing. An object that a call has shown to be gone
stays gone, although the watch, which is late, may still show it once more.
"""

from __future__ import annotations

from collections.abc import Iterable

from cell.home import ObjectState, ObjectView, Replica

Uid = tuple[int, int]


class Objects:
    """See the module."""

    def __init__(self) -> None:
        self._by_unit: dict[Uid, dict[Replica, ObjectView]] = {}
        self._gone: dict[Replica, int] = {}

    def get(self, replica: Replica) -> ObjectView | None:
        """The newest view of the object of that name, if there is one."""
        return self._by_unit.get((replica.uid_hi, replica.uid_lo), {}).get(replica)

    def of_unit(self, uid: Uid) -> list[ObjectView]:
        """The unit's objects, by name."""
        return [view for _, view in sorted(self._by_unit.get(uid, {}).items())]

    def all(self) -> Iterable[ObjectView]:
        """Every object, by name."""
        for uid in sorted(self._by_unit):
            yield from self.of_unit(uid)

    def see(self, view: ObjectView) -> bool:
        """Take a view; returns whether it is news."""
        replica = view.replica
        if self._gone.get(replica) == view.object:
            if view.state is ObjectState.DELETED:
                del self._gone[replica]
            return False
        before = self.get(replica)
        if before is not None and view.version <= before.version:
            return False
        if view.state is ObjectState.DELETED:
            self._drop(replica)
            return before is not None
        self._by_unit.setdefault((replica.uid_hi, replica.uid_lo), {})[replica] = view
        return True

    def lose(self, replica: Replica, object_uid: int) -> None:
        """A call has shown that this object is gone."""
        before = self.get(replica)
        if before is not None and before.object == object_uid:
            self._drop(replica)
            self._gone[replica] = object_uid

    def forget(self, replica: Replica) -> None:
        """A list has shown that there is no such object."""
        self._drop(replica)

    def forget_gone(self) -> None:
        """A new list: the watch begins after it and shows nothing older."""
        self._gone.clear()

    def _drop(self, replica: Replica) -> None:
        uid = replica.uid_hi, replica.uid_lo
        objects = self._by_unit.get(uid, {})
        objects.pop(replica, None)
        if not objects:
            self._by_unit.pop(uid, None)
