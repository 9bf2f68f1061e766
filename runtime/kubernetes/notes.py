"""Writes how gangs stand into the status of their PodGroups, for people and for the next leader.

Of what follows quickly only the newest is written. What could not be written is tried again, unless
the API server refuses it: then the log says so.
"""

from __future__ import annotations

import asyncio

import msgspec

from cell.home import Code, GangPhase, GangState, Note
from runtime.kubernetes.podgroups import PodGroups
from runtime.kubernetes.records import Document, Perform

PAUSE_SECONDS = 0.25
"""Between rounds of writes."""
TRIES_MAX = 20
"""Of one state: a refusal may be final."""


class GroupNotes:
    """See the module. `write` merges into an object."""

    def __init__(self, groups: PodGroups, write: Perform) -> None:
        self._groups = groups
        self._write = write
        self._due: dict[str, GangState] = {}
        self._newest: dict[str, GangState] = {}
        self._tries: dict[str, int] = {}

    def put(self, note: Note) -> bool:
        """Take what is to be written; whether nobody is writing."""
        is_idle = not self._due
        for state in note.states:
            self._due[state.key] = self._newest[state.key] = state
            self._tries[state.key] = TRIES_MAX
        return is_idle and bool(self._due)

    async def write_all(self) -> None:
        """Write until nothing is due."""
        while self._due:
            await asyncio.sleep(PAUSE_SECONDS)
            for key, state in list(self._due.items()):
                is_done = await self._write_state(state)
                self._tries[key] -= 1
                if self._due.get(key) == state and (is_done or not self._tries[key]):
                    del self._due[key]

    async def write_scheduled(self, key: str, uid: int) -> None:
        """Write that a gang is bound, before anything depends on it; at best."""
        newest = self._newest.get(key, GangState(key, GangPhase.SCHEDULED))
        state = msgspec.structs.replace(newest, phase=GangPhase.SCHEDULED, uid=uid)
        await self._write_state(state)

    async def _write_state(self, state: GangState) -> bool:
        body: Document | None = self._groups.patch(state)
        if body is None:
            return True
        code, _ = await self._write("PATCH", self._groups.status_path(state.key), body)
        if code is Code.OK:
            self._groups.wrote(state.key, body)
        return code in (Code.OK, Code.GONE, Code.CONFLICT)
