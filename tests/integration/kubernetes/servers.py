"""Two API servers behind one set of questions: the real one, and the simulated one that lags.

A question is a call of the binder's core (`cell.home`) or what the watch shows of an object. The
real one is asked by the production client, `runtime.kubernetes`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

from cell.classes import ClassSpec
from cell.home import (
    Answered,
    Code,
    Evict,
    GangRecord,
    HomeUnit,
    ObjectView,
    Post,
    Read,
    ReadRecord,
    Relist,
    Relisted,
    Replica,
    Watched,
    WatchLost,
    Write,
)
from cell.messages import RegisterNodes, RemoveNodes
from cell.node import NodeSpec
from cell.unit import GroupSpec, UnitSpec, uid_of
from runtime.kubernetes.access import Access
from runtime.kubernetes.api import Api
from runtime.kubernetes.home import KubernetesHome
from runtime.kubernetes.objects import Name
from runtime.kubernetes.records import Place
from runtime.log import Log
from tests.controlplane.api import Api as AdminApi
from tests.integration.kubernetes.pods import OURS, a_pod, a_request
from tests.simulation.api_server import ApiServer, unit_of
from tests.simulation.world import MS, World
from tests.waiting import until

WAIT_SECONDS = 20.0
DEMAND = (("cpu", 100),)


class Server(Protocol):
    """What the contract asks of an API server. Names stand for pods and nodes."""

    async def create(self, name: str) -> ObjectView:
        """A controller makes an object of ours, as the watch shows it."""

    async def bind(self, view: ObjectView, node: str) -> None:
        """Somebody else binds it."""

    async def delete(self, view: ObjectView) -> None:
        """Somebody else deletes it."""

    async def add_gang(self, name: str) -> str:
        """A gang that may have a record; its unit's key."""

    async def add_unit(self, name: str) -> HomeUnit:
        """A unit without objects, of two replicas, as the watch shows it."""

    async def touch_unit(self, unit: HomeUnit) -> None:
        """Somebody labels it."""

    async def drop_unit(self, unit: HomeUnit) -> None:
        """Somebody deletes it."""

    async def unit_shown(self, unit: HomeUnit, is_it: Callable[[HomeUnit], bool]) -> HomeUnit:
        """Wait until the watch shows it so."""

    async def ask(self, make: Callable[[int], Any]) -> Any:
        """Make a call under a fresh number; the answer."""

    async def shown(self, replica: Replica, is_it: Callable[[ObjectView], bool]) -> ObjectView:
        """Wait until the watch shows such a view."""

    async def add_node(self, name: str) -> None:
        """A node, awaited in the watch."""

    async def drop_node(self, name: str) -> None:
        """Its end, awaited in the watch."""


async def post(server: Server, view: ObjectView, node: str, object_uid: int = 0) -> Code:
    """The code of a Post."""
    uid = object_uid or view.object
    answer = await server.ask(lambda call: Post(call, view.replica, uid, node))
    return Code(answer.code)


async def evict(server: Server, view: ObjectView, object_uid: int = 0) -> Code:
    """The code of an Evict."""
    uid = object_uid or view.object
    answer = await server.ask(lambda call: Evict(call, view.replica, uid))
    return Code(answer.code)


async def read(server: Server, replica: Replica) -> Answered:
    """The answer to a Read."""
    answer: Answered = await server.ask(lambda call: Read(call, replica))
    return answer


async def write(server: Server, key: str, version: int, record: GangRecord | None) -> Answered:
    """The answer to a Write."""
    answer: Answered = await server.ask(lambda call: Write(call, *uid_of(key), version, record))
    return answer


async def read_record(server: Server, key: str) -> Answered:
    """The answer to a ReadRecord."""
    answer: Answered = await server.ask(lambda call: ReadRecord(call, *uid_of(key)))
    return answer


class Watcher:
    """What the home tells, kept by call and by object."""

    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.views: dict[Replica, list[ObjectView]] = {}
        self.nodes: dict[str, NodeSpec] = {}
        self.units: list[HomeUnit] = []
        self.losses = 0
        self._calls = 0

    def next_call(self) -> int:
        self._calls += 1
        return self._calls

    def give(self, event: Any) -> None:
        match event:
            case WatchLost():
                self.losses += 1
            case Answered():
                self.answers[event.call] = event
            case Relisted():
                self.answers[event.call] = event
                self._take(event.objects)
                self.units += event.units
                self.nodes = {node.name: node for node in event.nodes}
            case Watched():
                self._take(event.objects)
                self.units += event.units
                self.nodes.update({node.name: node for node in event.nodes})
                for name in event.removed:
                    self.nodes.pop(name, None)

    def _take(self, views: tuple[ObjectView, ...]) -> None:
        for view in views:
            self.views.setdefault(view.replica, []).append(view)

    def find_unit(self, key: str, is_it: Callable[[HomeUnit], bool]) -> HomeUnit | None:
        """Keys of units that clients did not name begin with their names."""
        return next((u for u in self.units if u.key.startswith(key) and is_it(u)), None)

    def find(self, replica: Replica, is_it: Callable[[ObjectView], bool]) -> ObjectView | None:
        return next((view for view in self.views.get(replica, []) if is_it(view)), None)


class SimulatedServer:
    """The simulated API server, when it means well."""

    def __init__(self) -> None:
        self._world = World(1)
        self._server = ApiServer(self._world)
        self._watcher = Watcher()
        self._node: Any = SimpleNamespace(life=1, give=self._watcher.give)
        self._names = 0

    async def start(self) -> None:
        await self.ask(Relist)

    async def create(self, name: str) -> ObjectView:
        self._names += 1
        replica = Replica(self._names, 0)
        self._server.create(replica, ClassSpec(demand=DEMAND).encoded())
        return await self.shown(replica, lambda view: True)

    async def bind(self, view: ObjectView, node: str) -> None:
        self._server.bind(view, node)

    async def delete(self, view: ObjectView) -> None:
        self._server.terminate(self._server.objects[view.replica])

    async def add_gang(self, name: str) -> str:
        return name

    async def add_unit(self, name: str) -> HomeUnit:
        group = GroupSpec(ClassSpec(demand=DEMAND), count=2, min=2)
        unit = unit_of(UnitSpec(name, (group,)))
        self._server.put_unit(unit, is_alone=True)
        return await self.unit_shown(unit, lambda unit: True)

    async def touch_unit(self, unit: HomeUnit) -> None:
        self._server.touch_unit((unit.uid_hi, unit.uid_lo))

    async def drop_unit(self, unit: HomeUnit) -> None:
        self._server.end_unit((unit.uid_hi, unit.uid_lo))

    async def unit_shown(self, unit: HomeUnit, is_it: Callable[[HomeUnit], bool]) -> HomeUnit:
        found: HomeUnit = self._until(lambda: self._watcher.find_unit(unit.key, is_it))
        return found

    async def ask(self, make: Callable[[int], Any]) -> Any:
        call = make(self._watcher.next_call())
        self._server.call(self._node, call)
        return self._until(lambda: self._watcher.answers.get(call.call))

    async def shown(self, replica: Replica, is_it: Callable[[ObjectView], bool]) -> ObjectView:
        view: ObjectView = self._until(lambda: self._watcher.find(replica, is_it))
        return view

    async def add_node(self, name: str) -> None:
        self._server.ask(RegisterNodes((NodeSpec(name),)), lambda acks: None)
        self._until(lambda: name in self._watcher.nodes)

    async def drop_node(self, name: str) -> None:
        self._server.ask(RemoveNodes((name,)), lambda acks: None)
        self._until(lambda: name not in self._watcher.nodes)

    def _until(self, found: Callable[[], Any]) -> Any:
        for _ in range(round(WAIT_SECONDS * 1000)):
            if result := found():
                return result
            self._world.run_until(self._world.now_us + MS)
        raise TimeoutError


class RealServer:
    """A namespace of a real API server, followed by the production client."""

    def __init__(self, admin: AdminApi, namespace: str, kubeconfig: str) -> None:
        self._admin = admin
        self._namespace = namespace
        self._requests = f"/apis/godel.dev/v1/namespaces/{namespace}/placementrequests"
        self._watcher = Watcher()
        self._api = Api(Access(kubeconfig))
        self.log = io.StringIO()
        self.home = KubernetesHome(self._api, OURS, self._watcher.give, Log("contract", self.log))

    async def start(self) -> None:
        await self._api.open()
        await self.ask(Relist)

    async def stop(self) -> None:
        await self.home.close()
        await self._api.close()

    async def create(self, name: str) -> ObjectView:
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        made = self._admin.create(path, a_pod(name))["metadata"]
        replica = self.home.pods.replica(Name(self._namespace, name, made["uid"]))
        return await self.shown(replica, lambda view: True)

    async def bind(self, view: ObjectView, node: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"metadata": {"name": self._path(view).rpartition("/")[2]}, "target": target}
        self._admin.create(f"{self._path(view)}/binding", body)

    async def delete(self, view: ObjectView) -> None:
        self._admin.delete(self._path(view))

    async def add_gang(self, name: str) -> str:
        place = Place(self._namespace, name, f"{self._namespace}/{name}")
        self.home.records.put(place)
        return place.key

    async def add_unit(self, name: str) -> HomeUnit:
        self._admin.create(self._requests, a_request(name, count=2))
        key = f"{self._namespace}/{name}/"
        found: HomeUnit = await self._until(lambda: self._watcher.find_unit(key, lambda u: True))
        return found

    async def touch_unit(self, unit: HomeUnit) -> None:
        labels = {"metadata": {"labels": {"touched": "yes"}}}
        self._admin.merge(f"{self._requests}/{unit.key.split('/')[1]}", labels)

    async def drop_unit(self, unit: HomeUnit) -> None:
        self._admin.delete(f"{self._requests}/{unit.key.split('/')[1]}")

    async def unit_shown(self, unit: HomeUnit, is_it: Callable[[HomeUnit], bool]) -> HomeUnit:
        found: HomeUnit = await self._until(lambda: self._watcher.find_unit(unit.key, is_it))
        return found

    async def ask(self, make: Callable[[int], Any]) -> Any:
        call = make(self._watcher.next_call())
        self.home.perform(call)
        return await self._until(lambda: self._watcher.answers.get(call.call))

    async def shown(self, replica: Replica, is_it: Callable[[ObjectView], bool]) -> ObjectView:
        view: ObjectView = await self._until(lambda: self._watcher.find(replica, is_it))
        return view

    async def lost(self, count: int) -> None:
        """Wait until the watch was lost so many times."""
        await self._until(lambda: self._watcher.losses >= count)

    async def add_node(self, name: str) -> None:
        self._admin.create("/api/v1/nodes", {"metadata": {"name": name}})
        await self._until(lambda: name in self._watcher.nodes)

    async def drop_node(self, name: str) -> None:
        self._admin.delete(f"/api/v1/nodes/{name}")
        await self._until(lambda: name not in self._watcher.nodes)

    def _path(self, view: ObjectView) -> str:
        name = self.home.pods.by_replica[view.replica]
        return f"/api/v1/namespaces/{name.namespace}/pods/{name.name}"

    async def _until(self, found: Callable[[], Any]) -> Any:
        return await until("the home tells it", found, WAIT_SECONDS)
