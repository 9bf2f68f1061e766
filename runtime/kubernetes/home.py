"""The API server as the binder's home: performs its calls, and tells what the watches show.

Made by the binder's service; `perform` takes the core's calls (`cell.home`), `put` gives it events.
What must hold: every call is answered once; a write names the object's uid and bounds the server's
own time, so that its fate is settled when the lease has run out; nothing of a watch is told after
the WatchLost that ends it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any
from uuid import UUID

import msgspec

from cell.home import (
    Answered,
    Call,
    Code,
    Evict,
    HomeEvent,
    Note,
    Post,
    Read,
    ReadRecord,
    Relist,
    Relisted,
    Watched,
    WatchLost,
    Write,
)
from runtime.kubernetes.api import JSON, Api, Gone, NotSent, Permit, Refused, Reply, Unknown, said
from runtime.kubernetes.collections import (
    AllPodGroups,
    AllPods,
    Collection,
    NamespaceLabels,
    Nodes,
    Requests,
    StorageObjects,
    merged,
)
from runtime.kubernetes.notes import GroupNotes
from runtime.kubernetes.objects import LIVE, READING_KEY, Name, Pods, Seen
from runtime.kubernetes.placements import Placements
from runtime.kubernetes.podgroups import PodGroups
from runtime.kubernetes.records import REFUSED, Place, Records
from runtime.kubernetes.volumes import VolumeBinder
from runtime.log import Log
from runtime.storage import Storage

WRITE_SECONDS = 1
"""The server gives a write up after this time: a client's own time-out does not bound it."""
ANSWER_SECONDS_MAX = 2.0
RELIST_SECONDS = (0.05, 5.0)
"""Wait before a list is tried again: the first, and the longest; doubled, with a random part."""
STORAGE = {
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
    "CSIDriver": "/apis/storage.k8s.io/v1/csidrivers",
    "CSINode": "/apis/storage.k8s.io/v1/csinodes",
    "CSIStorageCapacity": "/apis/storage.k8s.io/v1/csistoragecapacities",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "PersistentVolumeClaim": "/api/v1/persistentvolumeclaims",
}
"""What says where volumes are, by kind; listed before the pods that are read with it."""
MERGE_PATCH = "application/merge-patch+json"
MISSED_SECONDS = (5.0, 10.0)
"""Between two looks for a collection that is not served."""
_CODES = {
    200: Code.OK,
    201: Code.OK,
    202: Code.OK,
    404: Code.GONE,
    409: Code.CONFLICT,
    410: Code.GONE,
    429: Code.THROTTLED,
}
_NOT_DONE = (400, 401, 403, 405, 413, 415, 422)
"""Refused as it stands: it may be granted later, and is said in the log."""
NOTHING = Watched()


class KubernetesHome:
    """See the module. `pods` are the pods of `scheduler_name` and all others that hold room."""

    def __init__(
        self,
        api: Api,
        scheduler_name: str,
        put: Callable[[HomeEvent], None],
        log: Log,
        may_write: Permit = lambda: True,
    ) -> None:
        self._api = api
        self._put = put
        self._log = log
        self.on_seen: Callable[[Seen], None] = lambda seen: None
        """Called with each pod as it is listed or watched."""
        self.on_listed: Callable[[set[Name]], None] = lambda names: None
        """Called with all pods there are, behind `on_seen` of each."""
        self.on_bound: Callable[[Name, str], None] = lambda name, node: None
        """Called when the server has taken a binding of ours."""
        self._may_write = may_write
        self._writing: set[asyncio.Task[Any]] = set()
        self._doubt_until = 0.0
        """When no write whose answer was lost can be in the server any more."""
        self._storage = Storage()
        namespaces: dict[str, Mapping[str, str]] = {}
        cluster = msgspec.structs.replace(LIVE, storage=self._storage, namespaces=namespaces)
        self.pods = Pods(scheduler_name, cluster)
        self._volumes = VolumeBinder(self._storage, self._write)
        self.records = Records(self._write, self._get)
        self.groups = PodGroups()
        self._notes = GroupNotes(self.groups, self._write)
        self._nodes = Nodes(log, self._storage, lambda: self._on_change("Node", None))
        self._all_pods = AllPods(
            self.pods, lambda seen: self.on_seen(seen), lambda names: self.on_listed(names)
        )
        self._collections: tuple[Collection, ...] = (
            NamespaceLabels(namespaces, lambda: self._on_change("Namespace", None)),
            *(
                StorageObjects(kind, path, self._storage, self._on_change, log)
                for kind, path in STORAGE.items()
            ),
            self._nodes,
            AllPodGroups(self.groups, log),
            self._all_pods,
            Requests(Placements(self.records, self._refuse, log)),
        )
        self._missed: set[str] = set()
        """Collections of which it was said that they are missed."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._has_failed = asyncio.Event()
        self._watches: list[asyncio.Task[None]] = []
        self._session = 0
        """Number of the list that the watches follow."""

    def perform(self, call: Call | Note) -> None:
        """Make a call; its answer, if it has one, comes through `put`."""
        match call:
            case Relist():
                self._start(self._relist(call))
            case Post() | Read() | Evict():
                name = self.pods.by_replica.get(call.replica)
                if name is None:
                    self._put(Answered(call.call, Code.GONE))
                else:
                    self._start(self._about(call, name))
            case Write() | ReadRecord():
                self._start(self._record(call))
            case Note():
                if self._notes.put(call):
                    self._start(self._notes.write_all())

    async def close(self) -> None:
        """Send no more writes, wait until none is in the server, and end all else."""
        self._may_write = lambda: False
        if self._writing:
            await asyncio.wait(self._writing, timeout=ANSWER_SECONDS_MAX)
        await asyncio.sleep(self._doubt_until - asyncio.get_running_loop().time())
        tasks = [*self._tasks, *self._watches]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self) -> None:
        """Run until something fails that nobody has foreseen; raises it, for nothing may stop
        without a word."""
        await self._has_failed.wait()
        assert self._failure is not None
        raise self._failure

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failure is None:
            self._log.error("the home of the binder fails", why=repr(error))
            self._failure = error
            self._has_failed.set()

    # Calls

    def _about(self, call: Post | Read | Evict, name: Name) -> Coroutine[Any, Any, None]:
        match call:
            case Post():
                return self._post(call, name)
            case Read():
                return self._read(call, name)
        return self._evict(call, name)

    def _on_change(self, kind: str, names: set[str] | None) -> list[Watched]:
        """What is another by now that namespaces, volumes or what nodes attach have changed."""
        if kind == "CSINode":
            return self._nodes.again(sorted(names or ()))
        return self._all_pods.renewed(self.pods.renewed(names))

    async def _post(self, call: Post, name: Name) -> None:
        self.pods.fix(name)
        claims = self.pods.claims(name)
        if claims and not await self._have_volumes(call, name, claims):
            return
        reading = self.pods.reading(name)
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                **{"name": name.name, "namespace": name.namespace, "uid": _uid(call.object)},
                **({"annotations": {READING_KEY: reading}} if reading else {}),
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": call.node},
        }
        code, _ = await self._write("POST", f"{_path(name)}/binding", body)
        self._put(Answered(call.call, code))
        if code is Code.OK:
            self.on_bound(name, call.node)

    async def _have_volumes(self, call: Post, name: Name, claims: tuple[str, ...]) -> bool:
        """Whether the pod's volumes are bound; if not the call is answered: later, or as another
        unit, placed anew."""
        code = await self._volumes.bind(name, claims, call.node)
        if code is Code.OK:
            return True
        if code is Code.CONFLICT:
            self._log.say("volumes cannot be bound", pod=name.key, node=call.node)
            for delta in self._all_pods.renewed(self.pods.renew(name)):
                self._put(delta)
        self._put(Answered(call.call, Code.THROTTLED))
        return False

    async def _evict(self, call: Evict, name: Name) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": _uid(call.object)},
        }
        code, _ = await self._write("DELETE", _path(name), body)
        self._put(Answered(call.call, code))

    async def _record(self, call: Write | ReadRecord) -> None:
        match call:
            case Write():
                if call.is_held:
                    await self._notes.write_scheduled(call.gang, call.gang_uid)
                if call.gang and call.record is not None:
                    place = self.groups.place(call.gang, call.gang_uid, call.record.key)
                    if place is not None:
                        self.records.put(place)
                self._put(await self.records.write(call))
            case ReadRecord():
                self._put(await self.records.read(call))

    def _refuse(self, place: Place, why: str) -> None:
        """Write into its status why a request cannot be placed, once: a list finds it again."""
        said = {"phase": REFUSED, "message": why}
        body = {"metadata": {"uid": place.uid}, "status": said}
        self._start(self._say(f"{place.path}/status", body))

    async def _say(self, path: str, body: dict[str, Any]) -> None:
        await self._write("PATCH", path, body)

    async def _write(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[Code, bytes]:
        """A write, if we may: how it went, and what was answered."""
        params = {"timeout": f"{WRITE_SECONDS}s"}
        encoded = msgspec.json.encode(body)
        kind = MERGE_PATCH if method == "PATCH" else JSON
        task = asyncio.current_task()
        assert task is not None
        self._writing.add(task)
        try:
            reply = await self._api.call(
                method,
                path,
                encoded,
                params,
                ANSWER_SECONDS_MAX,
                kind,
                permit=lambda: self._may_write(),
            )
        except NotSent:
            return Code.THROTTLED, b""
        except Unknown:
            self._doubt_until = asyncio.get_running_loop().time() + WRITE_SECONDS
            return Code.UNKNOWN, b""
        finally:
            self._writing.discard(task)
        return self._code(f"{method} {path}", reply), reply.body

    async def _get(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[Code, bytes]:
        """A read: how it went, and what was answered."""
        try:
            reply = await self._api.call(method, path, seconds_max=ANSWER_SECONDS_MAX)
        except (NotSent, Unknown):
            return Code.UNKNOWN, b""
        return self._code(f"{method} {path}", reply), reply.body

    async def _read(self, call: Read, name: Name) -> None:
        code, body = await self._get("GET", _path(name))
        found = None
        if code is Code.OK:
            found = self.pods.take(body).view
            if found.replica != call.replica:
                # A new pod has the name: the one that was asked for is no more.
                code, found = Code.GONE, None
        self._put(Answered(call.call, code, found))

    def _code(self, what: str, reply: Reply) -> Code:
        code = _CODES.get(reply.status)
        if code is not None:
            return code
        self._log.error("the API server refuses", call=what, status=reply.status, why=said(reply))
        return Code.THROTTLED if reply.status in _NOT_DONE else Code.UNKNOWN

    # The list and the watches

    async def _relist(self, call: Relist) -> None:
        """List until it works, then watch from there."""
        self._end_watches()
        self._session += 1
        session = self._session
        parts: list[Relisted] = []
        versions: list[str] = []
        for each in self._collections:
            if each is self._all_pods:
                # What they are read with may have changed while nobody watched.
                self.pods.renewed()
            versions.append(await self._until_listed(each))
            parts.append(each.listed())
        if session != self._session:
            return
        self._put(merged(call.call, parts))
        self._watches = [
            asyncio.ensure_future(self._follow(session, self._watch(each, version)))
            for each, version in zip(self._collections, versions, strict=True)
        ]
        for watch in self._watches:
            watch.add_done_callback(self._ended)

    async def _until_listed(self, collection: Collection) -> str:
        """The version of a list; "" where it is not served, or not shown to us."""
        wait = RELIST_SECONDS[0]
        while True:
            try:
                return await self._list(collection)
            except (NotSent, Unknown, Refused, Gone) as error:
                self._log.error("the API server cannot be listed", why=error)
                await asyncio.sleep(wait * (1 + random.random()))
                wait = min(2 * wait, RELIST_SECONDS[1])

    async def _list(self, collection: Collection) -> str:
        version: list[str] = []
        collection.begin()
        try:
            async for items in self._api.pages(collection.path, version):
                collection.page(items)
        except Refused as error:
            if not collection.lost:
                raise
            if collection.path not in self._missed:
                self._log.error(collection.lost, why=error)
            self._missed.add(collection.path)
            return ""
        self._missed.discard(collection.path)
        return version[0]

    async def _watch(self, collection: Collection, version: str) -> AsyncIterator[Watched]:
        """What the collection's watch shows. One that is missed is looked for now and then: that it
        is there by now ends the watches, and all is listed anew."""
        while not version:
            await asyncio.sleep(random.uniform(*MISSED_SECONDS))
            reply = await self._api.call("GET", collection.path, params={"limit": "1"})
            if reply.status == 200:
                raise Gone(f"{collection.path} is served by now")
        async for events in self._api.watch(collection.path, version):
            for delta in collection.shown([e for e in events if e.type != "BOOKMARK"]):
                if delta != NOTHING:
                    yield delta

    def _end_watches(self) -> None:
        for task in self._watches:
            task.cancel()
        self._watches = []

    async def _follow(self, session: int, deltas: AsyncIterator[Watched]) -> None:
        """Tell what a watch shows until it is lost; then end the other one with it."""
        try:
            async for delta in deltas:
                if session != self._session:
                    return
                self._put(delta)
        except (NotSent, Unknown, Gone) as error:
            self._log.say("a watch is lost", why=error)
            if session == self._session:
                self._session += 1
                self._put(WatchLost())


def _path(name: Name) -> str:
    return f"/api/v1/namespaces/{name.namespace}/pods/{name.name}"


def _uid(number: int) -> str:
    return str(UUID(int=number))
