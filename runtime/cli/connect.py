"""Calls to the services of a cell, with what went wrong turned into an exit code and one line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from godel.v1 import cluster_pb2_grpc, placement_pb2_grpc, release_pb2_grpc
from runtime.addresses import is_loopback, is_unix
from runtime.cli.exits import BAD_INPUT, NOT_FOUND, REFUSED, TIME_OUT, UNREACHABLE, Stop
from runtime.cli.options import Reach
from runtime.config import TlsFiles, tls_files
from runtime.targets import targets
from runtime.tls import BadTls, Identity, needed_to_dial, proving

OPTIONS = (
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.max_send_message_length", 256 << 20),
    ("grpc.use_local_subchannel_pool", 1),
)
STUBS: dict[str, Any] = {
    "dispatcher": placement_pb2_grpc.PlacementStub,
    "binder": cluster_pb2_grpc.ClusterStub,
    "sharding": release_pb2_grpc.ReleaseStub,
}
SERVED = {
    "dispatcher": "godel.v1.Placement",
    "binder": "godel.v1.Cluster",
    "sharding": "godel.v1.Release",
}
"""What a service's health is asked by; a standby does not serve it."""
LEADING_SECONDS_MAX = 2.0
_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: BAD_INPUT,
    grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    grpc.StatusCode.DEADLINE_EXCEEDED: TIME_OUT,
    grpc.StatusCode.UNAVAILABLE: UNREACHABLE,
    grpc.StatusCode.UNKNOWN: UNREACHABLE,
    grpc.StatusCode.INTERNAL: UNREACHABLE,
}


@contextmanager
def service(reach: Reach, name: str) -> Iterator[Any]:
    """The stub of a service; a failed call inside ends the command."""
    identity = identity_of(reach, name)
    address = _leading(reach.address(name), name, identity)
    try:
        with _channel(address, identity, name) as channel:
            yield STUBS[name](channel)
    except grpc.RpcError as error:
        raise stop_of(error, f"{name} at {address}") from None


def identity_of(reach: Reach, name: str) -> Identity | None:
    """What the service is shown; None: nothing. Ends the command when something is missing."""
    address = reach.address(name)
    parts = [part.strip() for part in address.split(",")]
    is_near = all(is_unix(part) or is_loopback(part) for part in parts)
    files = tls_files(reach.tls) if reach.tls else TlsFiles()
    if not reach.tls and not is_near:
        raise Stop(BAD_INPUT, f"{name} at {address}: not on loopback, so name certificates (--tls)")
    try:
        return needed_to_dial(address, files, "--tls")
    except BadTls as error:
        raise Stop(BAD_INPUT, str(error)) from None


def _leading(addresses: str, name: str, identity: Identity | None) -> str:
    """Of several addresses, or of several that a name has, the one of which it is said that it
    leads; the first where nobody says so, who then says why not."""
    found = asyncio.run(targets(addresses))
    if len(found) < 2:
        return addresses
    asked = health_pb2.HealthCheckRequest(service=SERVED[name])
    for address in found:
        with _channel(address, identity, name) as channel, suppress(grpc.RpcError):
            reply = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=LEADING_SECONDS_MAX)
            if reply.status == health_pb2.HealthCheckResponse.SERVING:
                return address
    return found[0]


def _channel(address: str, identity: Identity | None, role: str) -> grpc.Channel:
    if identity is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, identity.channel(), options=proving(OPTIONS, role))


UNREACHABLE_CODES = frozenset(
    code for code, exit_ in _CODES.items() if exit_ in (UNREACHABLE, TIME_OUT)
)


def stop_of(error: Any, who: str) -> Stop:
    """The end of a command whose call failed."""
    code = error.code()
    said = " ".join((error.details() or "").split())
    if code == grpc.StatusCode.UNAVAILABLE and "connect" in said:
        said = "cannot be reached; `godel up` starts a cell, --state or GODEL_STATE names it"
    elif code == grpc.StatusCode.DEADLINE_EXCEEDED:
        said = "has not answered in time (--timeout)"
    else:
        said = f"{code.name}: {said}"
    return Stop(_CODES.get(code, REFUSED), f"{who}: {said}")
