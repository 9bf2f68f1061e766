"""Listeners: gRPC servers with health and reflection, and who may use them.

Services add their servicers and start one server per listener, so that each listener can have its
own access: Unix sockets have mode 0600, loopback may be open, anything else needs mutual TLS and a
list of peers or does not start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from runtime.addresses import UNIX, is_unix
from runtime.config import MESSAGE_BYTES_MAX, ListenerTls, ServiceConfig, client_address
from runtime.grpc_status import Statuses
from runtime.link_rpc import CHANNEL_OPTIONS, received
from runtime.log import Log
from runtime.standby import Standby
from runtime.tls import BadTls, Identity, needed_to_listen, peer_names

SOCKET_PATH_BYTES_MAX = 107
"""What the kernel takes."""
STOP_SECONDS = 1.0
NO_TLS = ListenerTls()
SERVER_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.so_reuseport", 0))


class BadListener(ValueError):
    """An address that this service will not listen on; the text says why."""


def check_address(address: str, tls: ListenerTls = NO_TLS, section: str = "tls") -> Identity | None:
    """What a listener at `address` needs: nothing, or mutual TLS. Raises BadListener, BadTls."""
    if is_unix(address):
        path = address.removeprefix(UNIX)
        if not path or len(path.encode()) > SOCKET_PATH_BYTES_MAX:
            raise BadListener(f"{address}: a socket's path has 1 to {SOCKET_PATH_BYTES_MAX} bytes")
        return None
    _, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        raise BadListener(f"{address}: neither unix:PATH nor HOST:PORT")
    return needed_to_listen(address, tls, section)


class Listener:
    """One server on one address. `add` receives the grpc server and registers servicers.

    A message of more than `message_bytes_max` ends its call before anything reads it. With `tls`
    a peer on the network needs one of the names that `tls.peers` lists; `local` is a Unix socket
    that serves the same to this machine.
    """

    def __init__(
        self,
        address: str,
        services: Sequence[str],
        add: Sequence[Callable[[Any], None]],
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        *,
        tls: ListenerTls = NO_TLS,
        section: str = "tls",
        log: Log | None = None,
        local: str = "",
    ) -> None:
        self.address = address
        self._identity = check_address(address, tls, section)
        self._peers = frozenset(tls.peers)
        self._log = log or Log("listener")
        self._local = local
        if local:
            check_address(local)
        self._services = services
        self._add = add
        self._options = received(SERVER_OPTIONS, message_bytes_max)
        self._server: Any = None
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]

    async def start(self, refusal: Callable[[], str] | None = None) -> None:
        """Listen; health still says NOT_SERVING. Raises BadListener when the port is taken.

        With a refusal it is a standby's: every call is refused with what that says.
        """
        self._server = grpc.aio.server(interceptors=(Statuses(self._admit),), options=self._options)
        if refusal is None:
            for add in self._add:
                add(self._server)
        else:
            self._server.add_generic_rpc_handlers((Standby(self._services, refusal),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        await self.set_health(False)
        self._bind(self.address)
        if self._local:
            self._bind(self._local)
        await self._server.start()

    def _bind(self, address: str) -> None:
        """Take the address. The owner's lock says that a socket found here is a dead one's."""
        if is_unix(address):
            Path(address.removeprefix(UNIX)).unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            if self._identity is None or is_unix(address):
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, self._identity.server(self._tell_fault))
        except (RuntimeError, BadTls) as error:
            raise BadListener(f"{address}: {error}") from None
        finally:
            os.umask(mask)

    def _tell_fault(self, error: BadTls) -> None:
        self._log.error("the certificates cannot be renewed", listener=self.address, why=error)

    async def _admit(self, context: Any) -> None:
        """End the call of a peer that is not listed."""
        names = peer_names(context)
        if names is None or names & self._peers:
            return
        shown = ",".join(sorted(names)) or "without a name"
        self._log.error("a peer is not listed", listener=self.address, peer=shown)
        why = f"peer {shown} is not on the list of this listener"
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, why)

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


def client_listener(
    settings: ServiceConfig,
    services: Sequence[str],
    add: Sequence[Callable[[Any], None]],
    message_bytes_max: int,
    log: Log,
) -> Listener:
    """The listener for clients; on the network it is on the socket in the state directory too."""
    local = client_address(settings.state, settings.name)
    return Listener(
        settings.client_address,
        services,
        add,
        message_bytes_max,
        tls=settings.tls.client,
        section="tls.client",
        log=log,
        local="" if is_unix(settings.client_address) else local,
    )


def link_listener(settings: ServiceConfig, add: Callable[[Any], None], log: Log) -> Listener:
    """The listener for links."""
    return Listener(
        settings.link_address,
        ["godel.v1.Link"],
        [add],
        settings.links.message_bytes_max,
        tls=settings.tls.link,
        section="tls.link",
        log=log,
    )
