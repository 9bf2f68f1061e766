"""Listeners: gRPC servers on Unix sockets (mode 0600) or loopback, with health and reflection.

Services add their servicers and start one server per listener, so that each listener can have its
own access. Anything but a Unix socket or loopback is refused: mutual TLS is not implemented.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from runtime.config import MESSAGE_BYTES_MAX
from runtime.grpc_status import Statuses
from runtime.link_rpc import CHANNEL_OPTIONS, received
from runtime.standby import Standby

SOCKET_PATH_BYTES_MAX = 107
"""What the kernel takes."""
STOP_SECONDS = 1.0
SERVER_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.so_reuseport", 0))


class BadListener(ValueError):
    """An address that this service will not listen on; the text says why."""


def check_address(address: str) -> str:
    """The address if it is private: `unix:PATH`, or `HOST:PORT` on loopback. Raises BadListener."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path or len(path.encode()) > SOCKET_PATH_BYTES_MAX:
            raise BadListener(f"{address}: a socket's path has 1 to {SOCKET_PATH_BYTES_MAX} bytes")
        return address
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        raise BadListener(f"{address}: neither unix:PATH nor HOST:PORT")
    if not _is_loopback(host.strip("[]")):
        raise BadListener(
            f"{address}: not on loopback, which needs mutual TLS and a peer allow-list; "
            "that is not implemented, use a Unix socket or 127.0.0.1"
        )
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Listener:
    """One server on one address. `add` receives the grpc server and registers servicers.

    A message of more than `message_bytes_max` ends its call before anything reads it.
    """

    def __init__(
        self,
        address: str,
        services: Sequence[str],
        add: Sequence[Callable[[Any], None]],
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self.address = check_address(address)
        self._services = services
        self._add = add
        self._options = received(SERVER_OPTIONS, message_bytes_max)
        self._server: Any = None
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]

    async def start(self, refusal: Callable[[], str] | None = None) -> None:
        """Listen; health still says NOT_SERVING. Raises BadListener when the port is taken.

        With a refusal it is a standby's: every call is refused with what that says.
        """
        self._server = grpc.aio.server(interceptors=(Statuses(),), options=self._options)
        if refusal is None:
            for add in self._add:
                add(self._server)
        else:
            self._server.add_generic_rpc_handlers((Standby(self._services, refusal),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        await self.set_health(False)
        self._bind()
        await self._server.start()

    def _bind(self) -> None:
        """Take the address. The owner's lock says that a socket found here is a dead one's."""
        if self.address.startswith("unix:"):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise BadListener(f"{self.address}: {error}") from None
        finally:
            os.umask(mask)

    async def set_health(self, is_well: bool, *, is_standby: bool = False) -> None:
        """What the health service says; of a standby: this process is well, no service is here."""
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set("", serving if is_well else not_serving)
        for name in self._services:
            await self._health.set(name, serving if is_well and not is_standby else not_serving)

    async def stop(self) -> None:
        """Take nothing new, give what runs a moment, and end."""
        if self._server is not None:
            await self._server.stop(STOP_SECONDS)
