"""The client where several dispatchers run and one leads: its calls follow the leader."""

from __future__ import annotations

from typing import Any

import grpc

from godel.v1 import placement_pb2
from runtime.placement_client import SERVED, PlacementClient
from runtime.servers import Listener
from tests.controlplane.ports import free_ports
from tests.waiting import until


async def a_listener(name: str, port: int, *, is_leading: bool) -> Listener:
    async def get(request: placement_pb2.GetRequest, context: Any) -> placement_pb2.UnitView:
        return placement_pb2.UnitView(key=name)

    def add(server: Any) -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            get,
            request_deserializer=placement_pb2.GetRequest.FromString,
            response_serializer=placement_pb2.UnitView.SerializeToString,
        )
        served = grpc.method_handlers_generic_handler(SERVED, {"Get": handler})
        server.add_generic_rpc_handlers((served,))

    listener = Listener(f"127.0.0.1:{port}", [SERVED], [add])
    await listener.start(None if is_leading else lambda: f"{name} stands by")
    await listener.set_health(True, is_standby=not is_leading)
    return listener


async def test_calls_go_to_the_one_that_leads() -> None:
    ports = free_ports(2)
    first = await a_listener("first", ports[0], is_leading=True)
    second = await a_listener("second", ports[1], is_leading=False)
    target = f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
    async with PlacementClient(target, is_elected=True) as client:

        async def answers() -> str:
            try:
                return str((await client.get("a")).key)
            except grpc.RpcError:
                return ""

        assert await until("the first answers", answers) == "first"
        assert [await answers() for _ in range(4)] == ["first"] * 4
        await first.stop()
        await second.stop()
        first = await a_listener("first", ports[0], is_leading=False)
        second = await a_listener("second", ports[1], is_leading=True)
        assert await until("the second answers", answers) == "second"
        assert [await answers() for _ in range(4)] == ["second"] * 4
    await first.stop()
    await second.stop()
