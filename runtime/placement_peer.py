"""The rolling controller's only peer: the dispatcher's Placement API as messages of `cell.release`.

Turns Watch, Unwatch and Call into watches and requests, and gives back Seen, Changes and Called. A
session is one connection: the first of its streams or requests to break ends it all, told as one
PeerDown, and a new one is made with backoff. What must hold: within a session a prefix's Seen comes
before its Changes, and nothing of an ended session reaches the core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc

from cell.effects import PeerDown, PeerUp, Received
from cell.link import Hello
from cell.messages import Acks, Amend, Cancel, ChangeRows, Changes, ReplicaView, Submit, UnitView
from cell.reasons import Refusal, Status
from cell.release import DISPATCHER, Call, Called, Seen, Unwatch, Watch
from cell.unit import NO_PIN, GroupSpec, Phase
from godel.v1 import placement_pb2, types_pb2
from runtime.class_message import class_message
from runtime.loop import Shell
from runtime.placement_client import PlacementClient, StreamBroken
from runtime.tls import BadTls, Identity

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
NOBODY = "\0"
"""A prefix that no unit has: the watch that shows whether the session lives."""
ANSWERS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Statuses that answer a request; any other leaves its fate unknown and ends the session."""


class PlacementPeer:
    """Keeps a session with the dispatcher open; a `Task` of the service."""

    def __init__(self, shell: Shell, target: str, identity: Identity | None = None) -> None:
        self._shell = shell
        self._target = target
        self._identity = identity

    async def run(self) -> None:
        """Connect for ever."""
        wait = BACKOFF_SECONDS_MIN
        while True:
            is_met = False
            try:
                async with PlacementClient(self._target, self._identity) as client:
                    session = Session(self._shell, client)
                    await session.run()
                is_met = session.is_met
            except BadTls as error:
                self._shell.log.error("the dispatcher cannot be called", why=error)
            wait = BACKOFF_SECONDS_MIN if is_met else min(2 * wait, BACKOFF_SECONDS_MAX)
            await asyncio.sleep(wait)


class Session:
    """One connection; the core's Port while it lasts."""

    def __init__(self, shell: Shell, client: PlacementClient) -> None:
        self._shell = shell
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.is_met = False
        """Whether the dispatcher answered."""

    async def run(self) -> None:
        """Last until something breaks."""
        self._begin(self._live())
        try:
            why = await self._ended
        finally:
            self._end("cancelled")
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.is_met:
            self._shell.log.say("dispatcher lost", why=why)
            self._shell.put(PeerDown(DISPATCHER))

    def send(self, body: Any) -> None:
        """Take a message of the core; dropped when the session has ended."""
        if self._ended.done():
            return
        match body:
            case Watch(prefix=prefix):
                self._unwatch(prefix)
                self._watches[prefix] = self._begin(self._watch(prefix))
            case Unwatch(prefix=prefix):
                self._unwatch(prefix)
            case Call():
                self._begin(self._call(body))
            case _:
                raise TypeError(f"no message to a dispatcher: {type(body).__name__}")

    def _unwatch(self, prefix: str) -> None:
        task = self._watches.pop(prefix, None)
        if task is not None:
            task.cancel()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """End the session when `work` breaks."""
        try:
            await work
        except (grpc.RpcError, StreamBroken) as error:
            self._end(_text(error))
        except Exception as error:
            if not self._ended.done():
                self._ended.set_exception(error)

    def _end(self, why: str) -> None:
        if not self._ended.done():
            self._ended.set_result(why)

    def _deliver(self, body: Any) -> None:
        if not self._ended.done():
            self._shell.put(Received(DISPATCHER, body))

    async def _live(self) -> None:
        """The session lasts as long as this watch."""
        async for _ in self._client.watch(prefix=NOBODY, is_snapshot_wanted=False):
            if not self.is_met:
                self.is_met = True
                self._shell.log.say("dispatcher found")
                self._shell.put(PeerUp(DISPATCHER, Hello(name=DISPATCHER, role=DISPATCHER)), self)
        self._end("closed by the dispatcher")

    async def _watch(self, prefix: str) -> None:
        views: list[UnitView] = []
        is_whole = False
        async for reply in self._client.watch(prefix=prefix, is_packed=True):
            views += [unit_view(view) for view in reply.snapshot]
            if reply.is_snapshot_end and not is_whole:
                is_whole = True
                self._deliver(Seen(prefix, tuple(views)))
                views = []
            if reply.packed.keys:
                self._deliver(changes_of(reply))
        self._end(f"the watch of {prefix} was closed")

    async def _call(self, call: Call) -> None:
        try:
            reply = await self._ask(call.body)
        except grpc.aio.AioRpcError as error:
            if error.code() not in ANSWERS:
                raise
            status = Status(error.code().value[0])
            self._deliver(Called(call.number, Refusal(status, "", error.details() or "")))
            return
        self._deliver(Called(call.number, acks_of(reply)))

    async def _ask(
        self, body: Submit | Amend | Cancel
    ) -> placement_pb2.SubmitReply | types_pb2.BatchReply:
        match body:
            case Submit():
                return await self._client.submit(submit_request(body, self._client))
            case Amend():
                return await self._client.amend(amend_request(body))
        return await self._client.cancel(body.keys)


def _text(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)


def submit_request(body: Submit, client: PlacementClient) -> placement_pb2.SubmitRequest:
    """A batch as columns; its classes get the client's numbers."""
    numbers = [client.class_number(class_message(spec)) for spec in body.classes]
    columns = body.groups
    packed = placement_pb2.PackedUnits(
        keys=body.keys,
        priority=body.units.priority.tobytes(),
        groups=body.units.groups.tobytes(),
        class_number=b"".join([numbers[k].to_bytes(4, "little") for k in columns.klass.tolist()]),
        count=columns.count.tobytes(),
        min=columns.min.tobytes(),
        roles=body.roles,
        pins=body.pins,
    )
    if (columns.pin != NO_PIN).any():
        packed.pin = columns.pin.tobytes()
    return placement_pb2.SubmitRequest(packed=packed)


def amend_request(body: Amend) -> placement_pb2.AmendRequest:
    """A batch of amendments with its classes."""
    request = placement_pb2.AmendRequest()
    numbers: dict[Any, int] = {}
    for item in body.items:
        request.items.add(
            key=item.key,
            revision=item.revision,
            groups=[_group(group, request, numbers) for group in item.groups],
            place=int(item.place),
        )
    return request


def _group(
    group: GroupSpec, request: placement_pb2.AmendRequest, numbers: dict[Any, int]
) -> types_pb2.Group:
    number = numbers.setdefault(group.klass, len(numbers))
    if number == len(request.classes):
        request.classes.add(number=number, spec=class_message(group.klass))
    return types_pb2.Group(
        role=group.role, class_number=number, count=group.count, min=group.min, pin=group.pin
    )


def acks_of(reply: placement_pb2.SubmitReply | types_pb2.BatchReply) -> Acks:
    """The answer to a batch."""
    return Acks(
        reply.count,
        tuple(
            [
                (r.index, Refusal(Status(r.code), r.field, r.reason, r.retry_after_ms))
                for r in reply.refused
            ]
        ),
    )


def unit_view(view: placement_pb2.UnitView) -> UnitView:
    """A unit of a snapshot."""
    return UnitView(
        key=view.key,
        uid=view.uid,
        revision=view.revision,
        priority=view.priority,
        word=view.word,
        phases=dict(view.phases),
        why=view.why,
        wakes=tuple(view.wakes),
        submitted_at_us=view.submitted_at_us,
        bound_at_us=view.bound_at_us,
        attempts=view.attempts,
        replicas=tuple(
            [ReplicaView(r.group, r.ordinal, Phase(r.phase).name, r.node) for r in view.replicas]
        ),
    )


def changes_of(reply: placement_pb2.WatchReply) -> Changes:
    """The changes of one message."""
    packed = reply.packed
    names = ("revision", "group", "ordinal", "phase", "node", "reason", "argument")
    return Changes(
        keys=tuple(packed.keys),
        rows=ChangeRows.from_bytes({name: getattr(packed, name) for name in names}),
        nodes=tuple(packed.nodes),
        resources=tuple(packed.resources),
        at_us=reply.at_us,
    )
