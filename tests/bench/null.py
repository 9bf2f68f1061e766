"""The null pipeline: dispatcher, scheduler and binder that pass messages on and decide nothing.

Same processes, same protobuf messages, Unix sockets, uvloop; no decisions, no disk. One process per
role: `python -m tests.bench.null ROLE DIR`. Submit → Assign → Plan → Settle → WatchReply.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import uvloop

from cell.columns import Table, schema
from cell.messages import ChangeRows
from cell.unit import Assignments, PlanRows, Settlements
from godel.v1 import link_pb2, link_pb2_grpc, placement_pb2, placement_pb2_grpc


@cache
def zeros(table: type[Table], count: int) -> dict[str, bytes]:
    """The columns of `count` empty rows, built once."""
    return {name: np.zeros(count, kind).tobytes() for name, kind in schema(table).items()}


class Outbox:
    """Messages of one stream, in order."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[object] = asyncio.Queue()

    def put(self, message: object) -> None:
        """Append."""
        self._queue.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[object]:
        while True:
            yield await self._queue.get()


class Dispatcher(placement_pb2_grpc.PlacementServicer, link_pb2_grpc.LinkServicer):
    """Client batches become Assign, Settle becomes the client's WatchReply."""

    def __init__(self) -> None:
        self.to_scheduler, self.to_client = Outbox(), Outbox()
        self.keys: deque[list[str]] = deque()

    async def Submit(self, requests, context):  # type: ignore[no-untyped-def]
        """Pass every batch on; no acks."""
        async for request in requests:
            keys = request.packed.keys
            self.keys.append(keys)
            rows = link_pb2.Assignments(**zeros(Assignments, len(keys)))
            self.to_scheduler.put(link_pb2.Frame(assign=link_pb2.Assign(rows=rows)))
            if not keys:
                yield placement_pb2.SubmitReply()

    async def Watch(self, request, context):  # type: ignore[no-untyped-def]
        """Every settled batch."""
        async for message in self.to_client:
            yield message

    async def Connect(self, requests, context):  # type: ignore[no-untyped-def]
        """The first frame tells who dials: a Hello the scheduler, a Settle the binder."""
        first = await anext(aiter(requests))
        if first.hello.role == "scheduler":
            async for message in self.to_scheduler:
                yield message
        async for frame in requests:
            count = len(frame.settle.rows.handle) // 4
            rows = placement_pb2.PackedChanges(keys=self.keys.popleft(), nodes=["node"])
            for name, column in zeros(ChangeRows, count).items():
                setattr(rows, name, column)
            self.to_client.put(placement_pb2.WatchReply(packed=rows))


class Binder(link_pb2_grpc.LinkServicer):
    """Plan becomes Settle."""

    def __init__(self) -> None:
        self.to_dispatcher = Outbox()

    async def Connect(self, requests, context):  # type: ignore[no-untyped-def]
        """The scheduler's stream."""
        async for frame in requests:
            count = len(frame.plan.rows.handle) // 4
            rows = link_pb2.Settlements(**zeros(Settlements, count))
            self.to_dispatcher.put(link_pb2.Frame(settle=link_pb2.Settle(rows=rows)))
        yield link_pb2.Frame()


def hello(role: str) -> link_pb2.Frame:
    """The frame by which the null dispatcher tells its dialers apart."""
    return link_pb2.Frame(hello=link_pb2.Hello(role=role))


def stub(directory: Path, role: str) -> Any:
    """A link to `role`."""
    return link_pb2_grpc.LinkStub(grpc.aio.insecure_channel(f"unix:{directory}/{role}.sock"))


async def serve_dispatcher(directory: Path) -> None:
    """The dispatcher accepts only."""
    server, service = grpc.aio.server(), Dispatcher()  # type: ignore[abstract]
    placement_pb2_grpc.add_PlacementServicer_to_server(service, server)
    link_pb2_grpc.add_LinkServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{directory}/dispatcher.sock")
    await server.start()
    await server.wait_for_termination()


async def serve_binder(directory: Path) -> None:
    """The binder accepts the scheduler and dials the dispatcher."""
    server, service = grpc.aio.server(), Binder()
    link_pb2_grpc.add_LinkServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{directory}/binder.sock")
    await server.start()
    call = stub(directory, "dispatcher").Connect(wait_for_ready=True)
    await call.write(hello("binder"))
    async for frame in service.to_dispatcher:
        await call.write(frame)


async def serve_scheduler(directory: Path) -> None:
    """The scheduler dials both."""
    assigns = stub(directory, "dispatcher").Connect(wait_for_ready=True)
    plans = stub(directory, "binder").Connect(wait_for_ready=True)
    await assigns.write(hello("scheduler"))
    async for frame in assigns:
        count = len(frame.assign.rows.handle) // 4
        rows = link_pb2.PlanRows(**zeros(PlanRows, count))
        await plans.write(link_pb2.Frame(plan=link_pb2.Plan(rows=rows)))


ROLES = {"dispatcher": serve_dispatcher, "binder": serve_binder, "scheduler": serve_scheduler}

if __name__ == "__main__":
    uvloop.run(ROLES[sys.argv[1]](Path(sys.argv[2])))
