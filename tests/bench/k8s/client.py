"""The references: our own binding client without a scheduler, as a process.

`python -m tests.bench.k8s.client ORDER` (an Order as JSON) says `ready`, waits for a line, works,
says `done`, and stays until its input ends. What must hold: it posts by the path of the binder
(`KubernetesHome`), with the same watches open; a node is chosen by turns.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import count, cycle
from typing import Literal

import msgspec
import numpy as np
import uvloop

from cell.home import Answered, Code, HomeEvent, ObjectState, ObjectView, Post, Relist, Relisted
from runtime.kubernetes.access import Access
from runtime.kubernetes.api import Api
from runtime.kubernetes.home import KubernetesHome
from runtime.log import Log

CREATED = 201
MESSAGE_BYTES = 500
AGAIN = (Code.UNKNOWN, Code.THROTTLED)
Task = Literal["raw", "null", "create"]


class Order(msgspec.Struct, frozen=True):
    """What a client is to do in a namespace.

    `raw` binds all pods that are there, `null` creates and binds each at once, `create` only
    creates. With a rate, pods are created at random times, so many per second.
    """

    task: Task
    kubeconfig: str
    namespace: str
    scheduler: str
    count: int
    connections: int
    rate: float = 0.0
    seed: int = 0


class Failed(RuntimeError):
    """The API server did not do what a benchmark asks for."""


def a_pod(name: str, scheduler: str) -> bytes:
    """A pod of one container, as JSON."""
    requests = {"cpu": "100m", "memory": "64Mi"}
    container = {"name": "main", "image": "main", "resources": {"requests": requests}}
    spec = {"schedulerName": scheduler, "containers": [container]}
    return msgspec.json.encode({"metadata": {"name": name}, "spec": spec})


class Client:
    """One process's connections to the API server."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._api = Api(Access(order.kubeconfig), order.connections)
        log = Log("bench-client", sys.stderr)
        self._home = KubernetesHome(self._api, order.scheduler, self._put, log)
        self._listed: asyncio.Future[Relisted] = asyncio.get_running_loop().create_future()
        self._nodes: Iterator[str] = iter(())
        self._calls = count(1)
        self._posted: dict[int, asyncio.Future[Answered]] = {}

    async def run(self, stdin: asyncio.StreamReader) -> None:
        """See the module."""
        order = self._order
        await self._api.open()
        work: deque[ObjectView | int] = deque(range(order.count))
        if order.task != "create":
            self._home.perform(Relist(0))
            listed = await self._listed
            self._nodes = cycle([node.name for node in listed.nodes])
            if order.task == "raw":
                work = deque(v for v in listed.objects if v.state is ObjectState.PENDING)
        print("ready", flush=True)
        await stdin.readline()
        if order.rate:
            await self._pace()
        else:
            await asyncio.gather(*[self._take(work) for _ in range(order.connections)])
        print("done", flush=True)
        await stdin.read()
        await self._home.close()
        await self._api.close()

    def _put(self, event: HomeEvent) -> None:
        match event:
            case Relisted():
                self._listed.set_result(event)
            case Answered():
                self._posted.pop(event.call).set_result(event)

    async def _take(self, work: deque[ObjectView | int]) -> None:
        """One of so many that are under way at a time."""
        while work:
            item = work.popleft()
            if isinstance(item, int):
                await self._create(item)
            else:
                await self._bind(item)

    async def _pace(self) -> None:
        """Open loop: Poisson arrivals, however long each takes."""
        order = self._order
        gaps = np.random.default_rng(order.seed).exponential(1 / order.rate, order.count)
        begin, started = time.perf_counter(), []
        for number, due in enumerate(np.cumsum(gaps).tolist()):
            await asyncio.sleep(max(0.0, begin + due - time.perf_counter()))
            started.append(asyncio.ensure_future(self._create(number)))
        await asyncio.gather(*started)

    async def _create(self, number: int) -> None:
        path = f"/api/v1/namespaces/{self._order.namespace}/pods"
        body = a_pod(f"pod-{number:05}", self._order.scheduler)
        reply = await self._api.call("POST", path, body)
        if reply.status != CREATED:
            raise Failed(f"pod not created: {reply.status} {reply.body[:MESSAGE_BYTES]!r}")
        if self._order.task == "null":
            await self._bind(self._home.pods.take(reply.body).view)

    async def _bind(self, view: ObjectView) -> None:
        """Post until it is done: the server gives a binding up after its time-out, and may have
        bound the pod nevertheless."""
        node, code = next(self._nodes), Code.UNKNOWN
        is_doubtful = False
        while code in AGAIN:
            call = next(self._calls)
            answered = self._posted[call] = asyncio.get_running_loop().create_future()
            self._home.perform(Post(call, view.replica, view.object, node))
            code = (await answered).code
            is_doubtful |= code is Code.UNKNOWN
        if code is not Code.OK and not (is_doubtful and code is Code.CONFLICT):
            raise Failed(f"not bound: {code}")


async def main(order: Order) -> None:
    """Read commands from standard input."""
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin
    )
    await Client(order).run(stdin)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Order)))
