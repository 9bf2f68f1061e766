"""Clients of the second home: what they want is a unit in the API server, not a request to us.

Takes what clients ask for, answers at once, and tells the promises. Like whoever makes objects
there, it ends a unit of which an object has failed or was deleted, and one whose objects are done.
Some units have no objects; where all of a request are such, it goes to the dispatcher.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from cell.home import ObjectState, ObjectView
from cell.messages import Acks, Cancel, Submit
from cell.reasons import Refusal, Status
from cell.unit import UnitSpec, uid_of
from tests.simulation.api_server import ApiServer, unit_of
from tests.simulation.promises import Promises, submitted
from tests.simulation.requests import Courier

Uid = tuple[int, int]
PODS = "pods/"
"""Where pods with units of their own, their gangs, and what is formed of them have their keys."""


class UnitDesk:
    """See the module."""

    name = "api-server"

    def __init__(self, server: ApiServer, promises: Promises, courier: Courier) -> None:
        self._server = server
        self._promises = promises
        self._courier = courier
        self._done: dict[Uid, set[tuple[int, int]]] = {}
        server.on_changed = self._changed

    @property
    def open_count(self) -> int:
        """See Courier."""
        return self._courier.open_count

    def ask(self, body: Any, answered: Callable[[Any], None]) -> None:
        """Do what a client asks for, and answer; or let the dispatcher do it."""
        if isinstance(body, Submit | Cancel) and all(is_alone(key) for key in body.keys):
            self._courier.ask(body, answered)
            return
        self._promises.asked(body)
        match body:
            case Submit():
                refused = self._submit(body)
                count = len(body.keys)
            case Cancel():
                refused = [self._cancel(key) for key in body.keys]
                count = len(body.keys)
            case _:
                raise AssertionError(f"nobody asks the API server for {body}")
        answer = Acks(count, tuple((i, r) for i, r in enumerate(refused) if r is not None))
        self._promises.answered(body, answer)
        answered(answer)

    def _submit(self, body: Submit) -> list[Refusal | None]:
        refused: list[Refusal | None] = []
        priorities = body.units.priority.tolist()
        for (key, groups), priority in zip(submitted(body).items(), priorities, strict=True):
            if key in self._server.keys:
                refused.append(Refusal(Status.ALREADY_EXISTS, "key", "is in use"))
                continue
            refused.append(None)
            unit = unit_of(UnitSpec(key, groups, priority))
            self._server.put_unit(unit, is_alone=is_alone(key))
        return refused

    def _cancel(self, key: str) -> Refusal | None:
        self._server.end_unit(uid_of(key))
        return None

    def _changed(self, view: ObjectView) -> None:
        """An object has changed: its unit may be over."""
        uid = view.replica.uid_hi, view.replica.uid_lo
        unit = self._server.units.get(uid)
        if unit is None or view.revision != unit.revision:
            return
        if view.state is ObjectState.DONE:
            done = self._done.setdefault(uid, set())
            done.add((view.replica.group, view.replica.ordinal))
            if len(done) == sum(group.count for group in unit.groups):
                self._server.end_unit(uid)
        elif view.state in (ObjectState.FAILED, ObjectState.DELETED):
            self._server.end_unit(uid)


def is_alone(key: str) -> bool:
    """Whether the replicas of a unit are no objects: one in three."""
    return not key.startswith(PODS) and zlib.crc32(key.encode()) % 3 == 0
