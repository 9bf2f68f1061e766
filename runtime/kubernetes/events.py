"""Events of pods (events.k8s.io/v1), as people read them in `kubectl describe`.

Used by `telling` for pods that wait, and by the binder's service, if it is asked to, for each pod
that was bound. Nothing rests on an event: one that is refused or lost is not sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import msgspec

from runtime.kubernetes.api import Api, NotSent, Permit, Reply, Unknown, micro_time, said
from runtime.kubernetes.objects import Name
from runtime.log import Log

NOTE_BYTES_MAX = 1024
"""The API server takes no more."""
NAME_CHARS_MAX = 230
"""Of a pod's name in an event's, which adds a time and may have 253."""
BOUND_MAX = 20_000
"""Pods bound whose events are not sent yet; beyond it the oldest get none."""
BOUND_WRITERS = 8
WRITE_SECONDS = 1
"""The server gives a write up after this time."""
ANSWER_SECONDS_MAX = 2.0
DONE = (200, 201, 202)
_ENDING = "is being terminated"
"""Said of a namespace in which nothing may be made any more."""


class Refusals:
    """Says in the log what the API server refuses, once until it does not any more."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._said: set[str] = set()

    def note(self, call: str, reply: Reply) -> None:
        """How a kind of call went."""
        if reply.status in DONE:
            self._said.discard(call)
        elif call not in self._said and _ENDING not in (why := said(reply)):
            self._said.add(call)
            self._log.error("the API server refuses", call=call, status=reply.status, why=why)


class Events:
    """Sends events of pods; `controller` and `instance` say who reports."""

    def __init__(
        self, api: Api, controller: str, instance: str, refusals: Refusals, may_write: Permit
    ) -> None:
        self._api = api
        self._controller = controller
        self._instance = instance
        self._refusals = refusals
        self._may_write = may_write

    async def failed(self, name: Name, note: str) -> None:
        """A pod cannot be placed."""
        await self._post(name, "Warning", "FailedScheduling", "Scheduling", note)

    async def bound(self, name: Name, node: str) -> None:
        """A pod was bound to a node."""
        note = f"Successfully assigned {name.namespace}/{name.name} to {node}"
        await self._post(name, "Normal", "Scheduled", "Binding", note)

    async def _post(self, name: Name, kind: str, reason: str, action: str, note: str) -> None:
        at_ns = time.time_ns()
        regarding = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": name.namespace,
            "name": name.name,
            "uid": name.uid,
        }
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": _event_name(name, at_ns), "namespace": name.namespace},
            "eventTime": micro_time(at_ns // 1000),
            "type": kind,
            "reason": reason,
            "action": action,
            "note": cut(note, NOTE_BYTES_MAX),
            "regarding": regarding,
            "reportingController": self._controller,
            "reportingInstance": self._instance,
        }
        path = f"/apis/events.k8s.io/v1/namespaces/{name.namespace}/events"
        try:
            reply = await self._api.call(
                "POST",
                path,
                msgspec.json.encode(body),
                {"timeout": f"{WRITE_SECONDS}s"},
                ANSWER_SECONDS_MAX,
                permit=self._may_write,
            )
        except (NotSent, Unknown):
            return
        self._refusals.note("POST events", reply)


class Successes:
    """An event for each pod that was bound; more are dropped than the API server takes in time."""

    def __init__(self, events: Events, log: Log) -> None:
        self._events = events
        self._log = log
        self._queue: deque[tuple[Name, str]] = deque()
        self._is_any = asyncio.Event()
        self._dropped = 0

    def put(self, name: Name, node: str) -> None:
        """A pod was bound."""
        if len(self._queue) >= BOUND_MAX:
            self._queue.popleft()
            self._dropped += 1
            if self._dropped == 1:
                self._log.say("more pods are bound than events can be sent", limit=BOUND_MAX)
        self._queue.append((name, node))
        self._is_any.set()

    async def run(self) -> None:
        """Send until cancelled."""
        await asyncio.gather(*(self._send() for _ in range(BOUND_WRITERS)))

    async def _send(self) -> None:
        while True:
            await self._is_any.wait()
            if not self._queue:
                self._is_any.clear()
                continue
            name, node = self._queue.popleft()
            await self._events.bound(name, node)


def cut(text: str, bytes_max: int) -> str:
    """The text, or as much of its begin as so many bytes hold."""
    encoded = text.encode()
    if len(encoded) <= bytes_max:
        return text
    return encoded[: bytes_max - 3].decode(errors="ignore") + "..."


def _event_name(name: Name, at_ns: int) -> str:
    """Like kube-scheduler's; what is cut off a long name leaves no dot or dash at its end."""
    return f"{name.name[:NAME_CHARS_MAX].rstrip('.-')}.{at_ns:x}"
