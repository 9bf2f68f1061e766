"""What one message of 100 rows costs: a gRPC echo of it, CPU of both sides (DESIGN §8).

A null pipeline whose CPU per 100 rows is above 1.5 times six echoes is handicapped, its run void.
`python -m tests.bench.echo SOCKET` is the echoing side.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
import uvloop

from cell.unit import Assignments
from godel.v1 import link_pb2, link_pb2_grpc
from tests.bench.client import BATCH
from tests.bench.null import zeros

ECHOES = 5_000


class Echo(link_pb2_grpc.LinkServicer):
    """Sends every frame back."""

    async def Connect(self, requests, context):  # type: ignore[no-untyped-def]
        """Frame by frame."""
        async for frame in requests:
            yield frame


async def serve(socket: Path) -> None:
    """Echo until killed."""
    server = grpc.aio.server()
    link_pb2_grpc.add_LinkServicer_to_server(Echo(), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await server.wait_for_termination()


async def measure(socket: Path, pid: int) -> float:
    """CPU microseconds of both sides per echo, four in flight."""
    frame = link_pb2.Frame(
        assign=link_pb2.Assign(rows=link_pb2.Assignments(**zeros(Assignments, BATCH)))
    )
    stub: Any = link_pb2_grpc.LinkStub(grpc.aio.insecure_channel(f"unix:{socket}"))
    call = stub.Connect(wait_for_ready=True)
    for _ in range(4):
        await call.write(frame)
    other = psutil.Process(pid)
    begin = time.process_time() + sum(other.cpu_times()[:2])
    for _ in range(ECHOES):
        await call.read()
        await call.write(frame)
    cost = time.process_time() + sum(other.cpu_times()[:2]) - begin
    call.cancel()
    await asyncio.sleep(0)
    return cost / ECHOES * 1e6


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
