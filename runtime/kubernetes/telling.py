"""Tells people why pods wait: PodScheduled=False with a message, and an event when that changes.

Fed by the binder's core (`tell`: lines of units) and by what the watch shows of pods (`see`,
`listed`). What must hold: the newest line of a pod is the one that is written, what the pod says
already is not written again, and a pod that waits no more is left alone; writes are paced and have
few connections of their own, so that no number of waiting pods slows bindings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec

from cell.home import Tell
from runtime.kubernetes.api import Api, NotSent, Permit, Reply, Unknown, meta_of, micro_time
from runtime.kubernetes.events import (
    ANSWER_SECONDS_MAX,
    NOTE_BYTES_MAX,
    WRITE_SECONDS,
    Events,
    Refusals,
    cut,
)
from runtime.kubernetes.objects import SCHEDULED, UNSCHEDULABLE, Condition, Name, Pods, Seen, Uid

WRITERS = 2
"""Pods that are told at a time, each over one connection."""
RETRY_SECONDS = 30.0
"""A pod whose condition could not be written is told again after this time."""
REST_SECONDS = 1.0
"""After so long a rest that many seconds' worth of pods may be told at once."""
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
_GONE = (404, 409)
_OTHER_UID = b'"field":"metadata.uid"'
"""In a 422: another pod has the name, and the server does not change its uid (no 409)."""


class Bucket:
    """Lets `per_second` things happen on average, and those of REST_SECONDS at once."""

    def __init__(self, per_second: float) -> None:
        self._each = 1 / per_second
        self._next_at = 0.0

    def take(self, now: float) -> float:
        """Seconds until the next thing may happen, which counts as happening then."""
        self._next_at = max(self._next_at, now - REST_SECONDS) + self._each
        return max(0.0, self._next_at - now)


class _Waiting(msgspec.Struct):
    """A pod of ours that waits."""

    version: int
    condition: Condition
    refusal: str
    noted: str = ""
    """Of its last event."""
    is_busy: bool = False
    """It is being told, or has to be left alone for a while."""


class Telling:
    """See the module. `run` writes; all else is told at any time."""

    def __init__(
        self,
        api: Api,
        pods: Pods,
        events: Events,
        refusals: Refusals,
        per_second_max: float,
        may_write: Permit,
    ) -> None:
        self._api = api
        self._pods = pods
        self._events = events
        self._refusals = refusals
        self._may_write = may_write
        self._bucket = Bucket(per_second_max)
        self._waiting: dict[Name, _Waiting] = {}
        self._lines: dict[Uid, str] = {}
        """Of units with pods that wait; before the first list, of all that were told."""
        self._due: dict[Name, None] = {}
        """Pods to be told, in order."""
        self._is_due = asyncio.Event()
        self._is_listed = False

    # What is to be told

    def tell(self, told: Tell) -> None:
        """Take the newest lines of units."""
        for line in told.lines:
            uid = line.uid_hi, line.uid_lo
            names = list(self._waiting_of(uid))
            if names or not self._is_listed:
                self._lines[uid] = line.text
            for name in names:
                self._review(name)

    def see(self, seen: Seen) -> None:
        """Take a pod as shown; what is older than our own last write says nothing."""
        name, condition = seen.name, seen.condition
        if condition is None:
            replica = seen.view.replica
            self._forget(name, (replica.uid_hi, replica.uid_lo))
            return
        waiting = self._waiting.get(name)
        if waiting is None:
            self._waiting[name] = _Waiting(seen.view.version, condition, seen.refusal)
        elif seen.view.version >= waiting.version:
            waiting.version, waiting.condition = seen.view.version, condition
            waiting.refusal = seen.refusal
        self._review(name)

    def listed(self, names: set[Name]) -> None:
        """There are only these pods; all of them were seen."""
        for name in self._waiting.keys() - names:
            self._forget(name, self._pods.unit_of(name))
        self._is_listed = True
        kept = [uid for uid in self._lines if any(self._waiting_of(uid))]
        self._lines = {uid: self._lines[uid] for uid in kept}

    def _waiting_of(self, uid: Uid) -> Iterator[Name]:
        return (name for name in self._pods.of_unit(uid) if name in self._waiting)

    def _forget(self, name: Name, uid: Uid) -> None:
        if self._waiting.pop(name, None) is None:
            return
        self._due.pop(name, None)
        if not any(self._waiting_of(uid)):
            self._lines.pop(uid, None)

    def _line(self, name: Name) -> str:
        text = self._waiting[name].refusal or self._lines.get(self._pods.unit_of(name), "")
        return cut(text, NOTE_BYTES_MAX)

    def _review(self, name: Name) -> None:
        """Whether the pod has to be told has changed, perhaps."""
        waiting, line = self._waiting[name], self._line(name)
        if not line or line == waiting.condition.message:
            self._due.pop(name, None)
        elif not waiting.is_busy and name not in self._due:
            self._due[name] = None
            self._is_due.set()

    # Writing

    async def run(self) -> None:
        """Write until cancelled."""
        await asyncio.gather(*(self._write() for _ in range(WRITERS)))

    async def _write(self) -> None:
        while True:
            await self._is_due.wait()
            if not self._due:
                self._is_due.clear()
                continue
            await asyncio.sleep(self._bucket.take(asyncio.get_running_loop().time()))
            # Chosen behind the wait: who was bound meanwhile is not told.
            if self._due:
                name = next(iter(self._due))
                del self._due[name]
                await self._tell(name)

    async def _tell(self, name: Name) -> None:
        waiting, line = self._waiting[name], self._line(name)
        waiting.is_busy = True
        reply = await self._patch(name, waiting.condition, line)
        if reply is not None and _is_gone(reply):
            return  # The watch will say so.
        if reply is not None and reply.status == 200:
            self._written(waiting, line, reply)
        if reply is not None and waiting.noted != line:
            waiting.noted = line
            await self._events.failed(name, line)
        if waiting.condition.message == line:
            self._release(name, waiting)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(RETRY_SECONDS, self._release, name, waiting)

    def _written(self, waiting: _Waiting, line: str, reply: Reply) -> None:
        version = meta_of(reply.body).version
        if version > waiting.version:
            waiting.version, waiting.condition = version, Condition(True, line)

    def _release(self, name: Name, waiting: _Waiting) -> None:
        waiting.is_busy = False
        if self._waiting.get(name) is waiting:
            self._review(name)

    async def _patch(self, name: Name, before: Condition, line: str) -> Reply | None:
        """Write a pod's condition, if it is still that pod."""
        condition: dict[str, Any] = {
            "type": SCHEDULED,
            "status": "False",
            "reason": UNSCHEDULABLE,
            "message": line,
        }
        if not before.is_false:
            condition["lastTransitionTime"] = micro_time(time.time_ns() // 1000)[:19] + "Z"
        body = {
            "metadata": {"uid": str(UUID(name.uid))},
            "status": {"conditions": [condition]},
        }
        path = f"/api/v1/namespaces/{name.namespace}/pods/{name.name}/status"
        try:
            reply = await self._api.call(
                "PATCH",
                path,
                msgspec.json.encode(body),
                {"timeout": f"{WRITE_SECONDS}s"},
                ANSWER_SECONDS_MAX,
                STRATEGIC_MERGE,
                self._may_write,
            )
        except (NotSent, Unknown):
            return None
        if not _is_gone(reply):
            self._refusals.note("PATCH pods/status", reply)
        return reply


def _is_gone(reply: Reply) -> bool:
    """Whether a status was refused because the pod is no more."""
    return reply.status in _GONE or (reply.status == 422 and _OTHER_UID in reply.body)
