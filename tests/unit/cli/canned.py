"""Services that give canned answers over real gRPC, and remember what they were asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from cell.reasons import Status
from godel.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    placement_pb2,
    placement_pb2_grpc,
    release_pb2,
    release_pb2_grpc,
    types_pb2,
)

CODES = {code.value[0]: code for code in grpc.StatusCode}


def a_refusal(index: int, code: Status, reason: str, retry_after_ms: int = 0) -> types_pb2.Refused:
    """The refusal of an item, by its key."""
    return types_pb2.Refused(
        index=index, code=code, field="key", reason=reason, retry_after_ms=retry_after_ms
    )


def a_unit(key: str, word: str = "BOUND", **fields: Any) -> placement_pb2.UnitView:
    """A unit of one replica."""
    phase = types_pb2.Phase.Value(f"PHASE_{'READY' if word == 'RUNNING' else word}")
    return placement_pb2.UnitView(
        key=key,
        uid="00" * 16,
        revision=1,
        word=word,
        phases={types_pb2.Phase.Name(phase).removeprefix("PHASE_"): 1},
        replicas=[placement_pb2.ReplicaView(phase=phase)],
        **fields,
    )


def until_gone(context: Any) -> None:
    """Wait until the client has gone."""
    gone = futures.Future[None]()
    if context.add_callback(lambda: gone.set_result(None)):
        gone.result(timeout=60)


class CannedPlacement(placement_pb2_grpc.PlacementServicer):
    """A dispatcher: `units` are what it knows, `refusals` what it refuses by key, each once when
    the refusal says when to try again."""

    def __init__(self) -> None:
        self.units: dict[str, placement_pb2.UnitView] = {}
        self.refusals: dict[str, types_pb2.Refused] = {}
        self.submits: list[placement_pb2.SubmitRequest] = []
        self.cancels: list[placement_pb2.CancelRequest] = []
        self.lists: list[placement_pb2.ListRequest] = []
        self.watches: list[placement_pb2.WatchRequest] = []
        self.replies: list[list[placement_pb2.WatchReply | grpc.StatusCode]] = []
        """What each Watch is told; a status ends it so."""
        self.words_after: dict[str, str] = {}
        """Words that units have as soon as something changed."""
        self.failure: grpc.StatusCode | None = None

    def Submit(self, requests: Any, context: Any) -> Iterator[placement_pb2.SubmitReply]:
        """Answer each batch."""
        for request in requests:
            if self.failure is not None:
                context.abort(self.failure, "broken")
            self.submits.append(request)
            yield placement_pb2.SubmitReply(
                batch=request.batch,
                count=len(request.units),
                refused=self._refused([unit.key for unit in request.units]),
            )

    def Cancel(self, request: Any, context: Any) -> types_pb2.BatchReply:
        """Cancel what is known."""
        self.cancels.append(request)
        refused = [
            a_refusal(i, Status.NOT_FOUND, "no such unit")
            for i, key in enumerate(request.keys)
            if key not in self.units
        ]
        return types_pb2.BatchReply(count=len(request.keys), refused=refused)

    def Get(self, request: Any, context: Any) -> placement_pb2.UnitView:
        """Show a unit."""
        if request.key not in self.units:
            context.abort(grpc.StatusCode.NOT_FOUND, f"key: no unit {request.key}")
        return self.units[request.key]

    def List(self, request: Any, context: Any) -> Iterator[placement_pb2.ListReply]:
        """Counts first, then units one by one."""
        self.lists.append(request)
        summary = placement_pb2.Summary()
        for unit in self.units.values():
            summary.words[unit.word] += 1
            if unit.why:
                summary.why[unit.why] += 1
        yield placement_pb2.ListReply(summary=summary)
        for unit in self.units.values():
            if unit.key.startswith(request.prefix) and request.word in ("", unit.word):
                yield placement_pb2.ListReply(units=[] if request.is_summary else [unit])

    def Watch(self, request: Any, context: Any) -> Iterator[placement_pb2.WatchReply]:
        """The canned replies of this watch, then silence."""
        self.watches.append(request)
        for reply in self.replies.pop(0):
            if isinstance(reply, grpc.StatusCode):
                context.abort(reply, "ended")
            else:
                yield reply
                if reply.changes:
                    for key, word in self.words_after.items():
                        self.units[key] = a_unit(key, word)
        until_gone(context)

    def Amend(self, request: Any, context: Any) -> types_pb2.BatchReply:
        """Not used by the command line."""
        raise NotImplementedError

    def Report(self, request: Any, context: Any) -> types_pb2.BatchReply:
        """Not used by the command line."""
        raise NotImplementedError

    def _refused(self, keys: list[str]) -> list[types_pb2.Refused]:
        found = []
        for index, key in enumerate(keys):
            refusal = self.refusals.get(key)
            if refusal is not None:
                found.append(types_pb2.Refused())
                found[-1].CopyFrom(refusal)
                found[-1].index = index
                if refusal.retry_after_ms:
                    del self.refusals[key]
        return found


class CannedCluster(cluster_pb2_grpc.ClusterServicer):
    """A binder of some nodes."""

    def __init__(self) -> None:
        self.nodes: list[cluster_pb2.NodeView] = []
        self.requests: list[Any] = []

    def Register(self, request: Any, context: Any) -> types_pb2.BatchReply:
        """Accept all but nodes named bad."""
        self.requests.append(request)
        names = [node.name for node in request.nodes]
        refused = [
            a_refusal(i, Status.RESOURCE_EXHAUSTED, "full")
            for i, name in enumerate(names)
            if name.startswith("bad")
        ]
        return types_pb2.BatchReply(count=len(names), refused=refused)

    def Cordon(self, request: Any, context: Any) -> types_pb2.BatchReply:
        """Accept what is known."""
        return self._known(request)

    def Remove(self, request: Any, context: Any) -> types_pb2.BatchReply:
        """Accept what is known."""
        return self._known(request)

    def ListNodes(self, request: Any, context: Any) -> Iterator[cluster_pb2.ListNodesReply]:
        """One reply per node."""
        for node in self.nodes:
            if node.name.startswith(request.prefix):
                yield cluster_pb2.ListNodesReply(nodes=[node])

    def WatchLedger(self, request: Any, context: Any) -> Iterator[cluster_pb2.WatchLedgerReply]:
        """Not used by the command line."""
        raise NotImplementedError

    def _known(self, request: Any) -> types_pb2.BatchReply:
        self.requests.append(request)
        known = {node.name for node in self.nodes}
        refused = [
            a_refusal(i, Status.NOT_FOUND, "no such node")
            for i, name in enumerate(request.names)
            if name not in known
        ]
        return types_pb2.BatchReply(count=len(request.names), refused=refused)


class CannedRelease(release_pb2_grpc.ReleaseServicer):
    """A rolling controller that takes every spec."""

    def __init__(self) -> None:
        self.views: dict[str, release_pb2.RollingsetView] = {}
        self.updates: list[release_pb2.UpdateRequest] = []
        self.words: list[str] = []
        """Words that a watch shows one after another."""

    def put(self, spec: release_pb2.Rollingset) -> release_pb2.RollingsetView:
        """Know a rollingset."""
        generation = self.views[spec.name].generation + 1 if spec.name in self.views else 1
        view = release_pb2.RollingsetView(
            spec=spec,
            generation=generation,
            latest=generation,
            word="Rolling",
            versions=[release_pb2.VersionView(version=generation, rows=spec.rows)],
        )
        self.views[spec.name] = view
        return view

    def Create(self, request: Any, context: Any) -> release_pb2.RollingsetView:
        """Create, unless it is there."""
        if request.spec.name in self.views:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "name: exists with another spec")
        return self.put(request.spec)

    def Update(self, request: Any, context: Any) -> release_pb2.RollingsetView:
        """Update, if the generation is right."""
        self.updates.append(request)
        known = self._known(request.spec.name, context)
        if request.generation not in (0, known.generation):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "generation: read it again")
        return self.put(request.spec)

    def GetRollingset(self, request: Any, context: Any) -> release_pb2.RollingsetView:
        """Show one."""
        return self._known(request.name, context)

    def ListRollingsets(self, request: Any, context: Any) -> release_pb2.ListRollingsetsReply:
        """Show all."""
        return release_pb2.ListRollingsetsReply(rollingsets=list(self.views.values()))

    def Delete(self, request: Any, context: Any) -> release_pb2.RollingsetView:
        """Say that it is being deleted."""
        view = self._known(request.name, context)
        view.word = "Deleting"
        return view

    def WatchRollingset(self, request: Any, context: Any) -> Iterator[release_pb2.RollingsetView]:
        """The canned words, then silence."""
        view = self._known(request.name, context)
        for word in self.words:
            view.word = word
            yield view
        until_gone(context)

    def _known(self, name: str, context: Any) -> release_pb2.RollingsetView:
        if name not in self.views:
            context.abort(grpc.StatusCode.NOT_FOUND, f"name: no rollingset {name!r}")
        return self.views[name]


class CannedCell:
    """The three services, each on its socket in one state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.placement = CannedPlacement()
        self.cluster = CannedCluster()
        self.release = CannedRelease()
        self._servers = [
            self._serve(
                "dispatcher", placement_pb2_grpc.add_PlacementServicer_to_server, self.placement
            ),
            self._serve("binder", cluster_pb2_grpc.add_ClusterServicer_to_server, self.cluster),
            self._serve("sharding", release_pb2_grpc.add_ReleaseServicer_to_server, self.release),
        ]

    def _serve(self, name: str, add: Callable[[Any, Any], None], servicer: Any) -> grpc.Server:
        server = grpc.server(futures.ThreadPoolExecutor(4))
        add(servicer, server)
        server.add_insecure_port(f"unix:{self.state / name}.sock")
        server.start()
        return server

    def stop(self) -> None:
        """End all three."""
        for server in self._servers:
            server.stop(None).wait()
