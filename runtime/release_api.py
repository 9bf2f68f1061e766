"""The Release API: requests into the rolling controller's core, rollingsets out.

One `ReleaseServicer` per controller, added to the client listener by its `__main__`. A refusal ends
the call with its status and names the field; one that follows a rollingset sees every change of it
until it is deleted, or is ended with RESOURCE_EXHAUSTED.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cell.reasons import Refusal, Status
from cell.release import (
    CreateRollingset,
    DeleteRollingset,
    GetRollingset,
    ListRollingsets,
    ReleaseColumn,
    RollingsetList,
    RollingsetSpec,
    RollingsetView,
    UpdateRollingset,
)
from cell.requirements import BadSpec, check_count
from cell.unit import GROUPS_MAX, Place
from godel.v1 import release_pb2, release_pb2_grpc
from runtime.class_message import class_message
from runtime.feed import Feed, FeedLimits
from runtime.grpc_status import CallRefused
from runtime.loop import Shell
from runtime.wire_classes import class_spec

SERVICE = "godel.v1.Release"
DELETED = "Deleted"


class ReleaseServicer(release_pb2_grpc.ReleaseServicer):
    """See the module."""

    def __init__(self, shell: Shell, limits: FeedLimits | None = None) -> None:
        self._shell = shell
        self._limits = limits = limits or FeedLimits()
        shell.wait_ms_max = limits.wait_ms_max
        self._feeds: dict[str, Feed[RollingsetView]] = {}
        shell.on_publish = self._publish

    def add_to(self, server: Any) -> None:
        """Register with a server: one of the `add` of a Listener."""
        release_pb2_grpc.add_ReleaseServicer_to_server(self, server)

    async def Create(
        self, request: release_pb2.CreateRequest, context: Any
    ) -> release_pb2.RollingsetView:
        """Create a rollingset."""
        return await self._change(CreateRollingset(_spec(request)))

    async def Update(
        self, request: release_pb2.UpdateRequest, context: Any
    ) -> release_pb2.RollingsetView:
        """Replace a rollingset's spec."""
        return await self._change(UpdateRollingset(_spec(request), request.generation))

    async def Delete(
        self, request: release_pb2.DeleteRequest, context: Any
    ) -> release_pb2.RollingsetView:
        """End a rollingset."""
        return await self._change(DeleteRollingset(request.name))

    async def GetRollingset(
        self, request: release_pb2.GetRollingsetRequest, context: Any
    ) -> release_pb2.RollingsetView:
        """One rollingset with its rows."""
        view: RollingsetView = await self._ask(GetRollingset(request.name))
        return view_message(view)

    async def ListRollingsets(
        self, request: release_pb2.ListRollingsetsRequest, context: Any
    ) -> release_pb2.ListRollingsetsReply:
        """All rollingsets without rows."""
        answer: RollingsetList = await self._ask(ListRollingsets())
        return release_pb2.ListRollingsetsReply(rollingsets=[view_message(v) for v in answer.views])

    async def WatchRollingset(
        self, request: release_pb2.WatchRollingsetRequest, context: Any
    ) -> AsyncIterator[release_pb2.RollingsetView]:
        """One rollingset, now and after each change."""
        name = request.name
        feed = self._feeds.setdefault(name, Feed(self._limits))
        try:
            # Following begins before the question: a change in between is seen twice, never lost.
            async with feed.following(self._shell, lambda: None) as (_, follower):
                view: RollingsetView = await self._ask(GetRollingset(name))
                yield _without_rows(view)
                while view.word != DELETED:
                    view = await follower.take()
                    yield _without_rows(view)
        finally:
            if not feed and self._feeds.get(name) is feed:
                del self._feeds[name]

    async def _change(self, body: Any) -> release_pb2.RollingsetView:
        """A request that changes something; refused while nothing can be written."""
        if refusal := self._shell.store_refusal:
            raise CallRefused(refusal)
        view: RollingsetView = await self._ask(body)
        return view_message(view)

    async def _ask(self, body: Any) -> Any:
        """The core's answer; a refusal ends the call."""
        answer = await self._shell.ask(body)
        if isinstance(answer, Refusal):
            raise CallRefused(answer)
        return answer

    def _publish(self, view: RollingsetView) -> None:
        feed = self._feeds.get(view.spec.name)
        if feed is not None:
            feed.publish(view)


def _spec(request: release_pb2.CreateRequest | release_pb2.UpdateRequest) -> RollingsetSpec:
    """The request's spec; ends the call when it cannot be one."""
    try:
        if not request.HasField("spec"):
            raise BadSpec("spec", "is absent")
        return rollingset_spec(request.spec)
    except BadSpec as bad:
        raise CallRefused(Refusal(Status.INVALID_ARGUMENT, bad.field, bad.reason)) from None


def rollingset_spec(spec: release_pb2.Rollingset) -> RollingsetSpec:
    """The spec of a rollingset with canonical classes. Raises BadSpec."""
    check_count("columns", len(spec.columns), GROUPS_MAX)
    try:
        place = Place(spec.place)
    except ValueError:
        raise BadSpec("place", f"{spec.place} is no place") from None
    return RollingsetSpec(
        name=spec.name,
        rows=spec.rows,
        columns=tuple([_column(i, column) for i, column in enumerate(spec.columns)]),
        max_unavailable=spec.max_unavailable or "1",
        max_surge=spec.max_surge or "0",
        keep=spec.keep or "0",
        place=place,
        is_paused=spec.is_paused,
        priority=spec.priority,
    )


def _column(i: int, column: release_pb2.Column) -> ReleaseColumn:
    if not column.HasField("spec"):
        raise BadSpec(f"columns[{i}].spec", "is absent")
    try:
        klass = class_spec(column.spec)
        return ReleaseColumn(column.name, klass, column.count or 1)
    except BadSpec as bad:
        raise BadSpec(f"columns[{i}].spec.{bad.field}", bad.reason) from None


def view_message(view: RollingsetView) -> release_pb2.RollingsetView:
    """The wire form of what a user sees."""
    return release_pb2.RollingsetView(
        spec=_spec_message(view.spec),
        generation=view.generation,
        latest=view.latest,
        stable=view.stable,
        word=view.word,
        ready_rows=view.ready_rows,
        versions=[
            release_pb2.VersionView(version=v.version, rows=v.rows, ready=v.ready)
            for v in view.versions
        ],
        why=view.why,
        rows=[
            release_pb2.RowView(
                ordinal=row.ordinal,
                key=row.key,
                revision=row.revision,
                version=row.version,
                is_ready=row.is_ready,
                ready_replicas=row.ready_replicas,
                replicas=row.replicas,
                why=row.why,
            )
            for row in view.rows
        ],
    )


def _without_rows(view: RollingsetView) -> release_pb2.RollingsetView:
    made = view_message(view)
    del made.rows[:]
    return made


def _spec_message(spec: RollingsetSpec) -> release_pb2.Rollingset:
    return release_pb2.Rollingset(
        name=spec.name,
        rows=spec.rows,
        columns=[
            release_pb2.Column(name=c.name, spec=class_message(c.klass), count=c.count)
            for c in spec.columns
        ],
        max_unavailable=str(spec.max_unavailable),
        max_surge=str(spec.max_surge),
        keep=str(spec.keep),
        place=int(spec.place),  # type: ignore[arg-type]
        is_paused=spec.is_paused,
        priority=spec.priority,
    )
