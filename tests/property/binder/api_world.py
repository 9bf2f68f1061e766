"""A small API server for walks: objects and records with versions, calls applied or not, answers
lost, a watch that is late. It shares nothing with the binder's home but the messages."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

import msgspec

from cell.home import (
    Answered,
    Call,
    Code,
    Evict,
    ObjectState,
    ObjectView,
    Post,
    Read,
    ReadRecord,
    RecordView,
    Relist,
    Relisted,
    Replica,
    Watched,
    Write,
)
from cell.node import NodeSpec

HOLDS = (ObjectState.BOUND, ObjectState.TERMINATING)


class ApiWorld:
    """See the module. `late` are writes whose caller was told UNKNOWN before they were done."""

    def __init__(self, random: Random, nodes: list[NodeSpec]) -> None:
        self.random = random
        self.nodes = nodes
        self.objects: dict[Replica, ObjectView] = {}
        self.records: dict[tuple[int, int], RecordView] = {}
        self.open: list[Call] = []
        self.late: list[Call] = []
        self.deltas: deque[ObjectView] = deque()
        self.bound: list[tuple[Replica, int]] = []
        """Every binding ever done: an object twice is a finding."""
        self.disturbed: set[tuple[int, int]] = set()
        """Units of which somebody else has ended a member."""
        self.version = 10
        self.made = 0

    def create(self, replica: Replica, klass: bytes, node: str = "", **fields: Any) -> None:
        if replica not in self.objects:
            self.made += 1
            state = ObjectState.BOUND if node else ObjectState.PENDING
            self._put(ObjectView(replica, self.made, 0, state, node, klass=klass, **fields))

    def change(self, replica: Replica, state: ObjectState) -> None:
        """What others do to an object."""
        view = self.objects.get(replica)
        if view is not None and state > view.state:
            self.disturbed.add((replica.uid_hi, replica.uid_lo))
            self._put(msgspec.structs.replace(view, state=state))

    def _put(self, view: ObjectView) -> None:
        self.version += 1
        view = msgspec.structs.replace(view, version=self.version)
        self.objects[view.replica] = view
        if view.state is ObjectState.DELETED:
            del self.objects[view.replica]
        self.deltas.append(view)

    def serve(self, call: Call, *, is_kind: bool) -> Any:
        """An answer to one call, which may have been done, not done, or be done later."""
        fate = "done" if is_kind else self.random.choice(["done", "lost", "not", "late", "busy"])
        if isinstance(call, Relist):
            self.deltas.clear()
            kept = tuple(view for view in self.records.values() if view.record is not None)
            return Relisted(call.call, tuple(self.objects.values()), tuple(self.nodes), kept)
        if fate == "busy":
            return Answered(call.call, Code.THROTTLED)
        if fate == "late":
            self.late.append(call)
        if fate in ("not", "late"):
            return Answered(call.call, Code.UNKNOWN)
        answer = self._apply(call)
        return answer if fate == "done" else Answered(call.call, Code.UNKNOWN)

    def land(self, kind: Any = object) -> None:
        """What was to be done late is done now."""
        landing = [call for call in self.late if isinstance(call, kind)]
        self.late = [call for call in self.late if not isinstance(call, kind)]
        for call in landing:
            self._apply(call)

    def delta(self) -> Watched | None:
        """The next of what the watch has to show."""
        return Watched((self.deltas.popleft(),)) if self.deltas else None

    def _apply(self, call: Call) -> Answered:
        match call:
            case Post(replica=replica, object=uid, node=node):
                view = self.objects.get(replica)
                if view is None:
                    return Answered(call.call, Code.GONE)
                if view.object != uid or view.state is not ObjectState.PENDING:
                    return Answered(call.call, Code.CONFLICT)
                self.bound.append((replica, uid))
                self._put(msgspec.structs.replace(view, state=ObjectState.BOUND, node=node))
                return Answered(call.call, Code.OK)
            case Read(replica=replica):
                view = self.objects.get(replica)
                return Answered(call.call, Code.OK if view else Code.GONE, found=view)
            case Evict(replica=replica, object=uid):
                view = self.objects.get(replica)
                if view is None:
                    return Answered(call.call, Code.GONE)
                if view.object != uid:
                    return Answered(call.call, Code.CONFLICT)
                going = ObjectState.TERMINATING if view.node else ObjectState.DELETED
                if view.state is not ObjectState.TERMINATING:
                    self._put(msgspec.structs.replace(view, state=going))
                return Answered(call.call, Code.OK)
            case Write():
                return self._write(call)
            case ReadRecord(uid_hi=hi, uid_lo=lo):
                kept = self.records.get((hi, lo), RecordView(0, None))
                return Answered(call.call, Code.OK, kept=kept)
        raise AssertionError(call)

    def _write(self, call: Write) -> Answered:
        uid = call.uid_hi, call.uid_lo
        if self.records.get(uid, RecordView(0, None)).version != call.version:
            return Answered(call.call, Code.CONFLICT)
        self.version += 1
        self.records[uid] = RecordView(self.version, call.record)
        return Answered(call.call, Code.OK, version=self.version)
