"""Calls to the services of a cell, with what went wrong turned into an exit code and one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from godel.v1 import cluster_pb2_grpc, placement_pb2_grpc, release_pb2_grpc
from runtime.addresses import is_loopback, is_unix
from runtime.cli.exits import BAD_INPUT, NOT_FOUND, REFUSED, TIME_OUT, UNREACHABLE, Stop
from runtime.cli.options import Reach
from runtime.config import TlsFiles, tls_files
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
    address = reach.address(name)
    try:
        with _channel(address, identity_of(reach, name), name) as channel:
            yield STUBS[name](channel)
    except grpc.RpcError as error:
        raise stop_of(error, f"{name} at {address}") from None


def identity_of(reach: Reach, name: str) -> Identity | None:
    """What the service is shown; None: nothing. Ends the command when something is missing."""
    address = reach.address(name)
    files = tls_files(reach.tls) if reach.tls else TlsFiles()
    if not reach.tls and not is_unix(address) and not is_loopback(address):
        raise Stop(BAD_INPUT, f"{name} at {address}: not on loopback, so name certificates (--tls)")
    try:
        return needed_to_dial(address, files, "--tls")
    except BadTls as error:
        raise Stop(BAD_INPUT, str(error)) from None


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
