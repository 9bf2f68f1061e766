"""Units of clients as PlacementRequests: made and deleted for the dispatcher's core.

What must hold: a Create is OK only when the API server has that unit, whoever made it and however
often it was asked for; a lost answer is resolved by reading.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec

from cell.home import Answered, Code, Create, Delete
from cell.unit import uid_of
from runtime.fields import BadManifest
from runtime.kubernetes.api import Api, NotSent, Reply, Unknown, said
from runtime.kubernetes.records import GROUP_VERSION, KIND, PLURAL
from runtime.kubernetes.specs import spec_of, unit_of
from runtime.log import Log

CALLS_MAX = 32
"""In the API server at a time; others wait for their turn."""
NAME_CHARS_MAX = 40
"""Of a key in its request's name, before the part that makes it unique."""
_DONE = (200, 201, 202)
_LATER = (429, 500, 502, 503, 504)
_UNFIT = re.compile(r"[^a-z0-9]+")


class Submitting:
    """See the module; requests are made in one namespace."""

    def __init__(self, api: Api, namespace: str, put: Callable[[Answered], None], log: Log) -> None:
        self._api = api
        self._path = f"/apis/{GROUP_VERSION}/namespaces/{namespace}/{PLURAL}"
        self._put = put
        self._log = log
        self._turns = asyncio.Semaphore(CALLS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def perform(self, call: Create | Delete) -> None:
        """Make a call; its answer comes through `put`."""
        task = asyncio.ensure_future(self._perform(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is under way: who asked for it asks again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _perform(self, call: Create | Delete) -> None:
        async with self._turns:
            try:
                if isinstance(call, Create):
                    code, why = await self._create(call)
                else:
                    code, why = await self._delete(call)
            except (NotSent, Unknown) as error:
                code, why = Code.UNKNOWN, str(error)
        self._put(Answered(call.call, code, why=why))

    async def _create(self, call: Create) -> tuple[Code, str]:
        name, spec = name_of(call.unit.key), spec_of(call.unit)
        if unit_of(call.unit.key, spec) != call.unit:
            why = "units here cannot have wishes, features or rules between replicas yet"
            return Code.GONE, why
        if call.is_known:
            return await self._compare(call, name)
        body = {
            "apiVersion": GROUP_VERSION,
            "kind": KIND,
            "metadata": {"name": name},
            "spec": spec,
        }
        try:
            reply = await self._api.call("POST", self._path, msgspec.json.encode(body))
        except Unknown:
            return await self._compare(call, name)
        if reply.status == 409:
            return await self._compare(call, name)
        return self._code("POST", reply)

    async def _compare(self, call: Create, name: str) -> tuple[Code, str]:
        """Whether the request of that name says the same unit."""
        reply = await self._api.call("GET", f"{self._path}/{name}")
        if reply.status == 404:
            return (
                (Code.GONE, "") if call.is_known else (Code.UNKNOWN, "its making was not answered")
            )
        if reply.status not in _DONE:
            return self._code("GET", reply)
        found: dict[str, Any] = msgspec.json.decode(reply.body)
        spec = found.get("spec") or {}
        if found["metadata"].get("deletionTimestamp"):
            return Code.THROTTLED, "the last unit of this key is being deleted"
        try:
            is_same = unit_of(spec.get("key", ""), spec) == call.unit
        except BadManifest:
            is_same = False
        return (Code.OK, "") if is_same else (Code.CONFLICT, "")

    async def _delete(self, call: Delete) -> tuple[Code, str]:
        reply = await self._api.call("DELETE", f"{self._path}/{name_of(call.key)}")
        if reply.status == 404:
            return Code.GONE, ""
        return self._code("DELETE", reply)

    def _code(self, method: str, reply: Reply) -> tuple[Code, str]:
        """What a refusal means: later again, or never as it stands."""
        if reply.status in _DONE:
            return Code.OK, ""
        why = f"the API server says {reply.status}: {said(reply)}"
        if reply.status in _LATER:
            return Code.THROTTLED, why
        self._log.error("a unit is refused", call=f"{method} {self._path}", why=why)
        return Code.GONE, why


def name_of(key: str) -> str:
    """The name of a unit's request: what can be read of its key, and a part of its uid."""
    readable = _UNFIT.sub("-", key.lower())[:NAME_CHARS_MAX].strip("-")
    hi, _ = uid_of(key)
    return f"{readable}-{hi:016x}" if readable else f"{hi:016x}"
