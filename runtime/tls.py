"""Mutual TLS: who we are to peers, whom we believe, and how a peer is called.

An `Identity` stands for three files in PEM. Listeners ask it at each connection and channels are
made of what the files hold then, so that certificates rotate without a restart; what is open stays.
A peer is called by the DNS names of its certificate, and a server proves its role by them (`binder`
is one, whatever its address), so that certificates need to know nothing of hosts. An authority may
be several certificates in one file, the old and the new one while it is replaced.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import msgspec

from runtime.addresses import is_loopback, is_unix
from runtime.config import BadConfig, ListenerTls, TlsFiles

FILES = ("certificate", "key", "authority")
Options = Sequence[tuple[str, Any]]


class BadTls(BadConfig):
    """Files that cannot be used, or fields that are missing; the text names them."""


class Pem(msgspec.Struct, frozen=True):
    """What the files hold."""

    certificate: bytes
    key: bytes
    authority: bytes


class Identity:
    """See the module. `section` is where the settings name the files, for messages."""

    def __init__(self, files: TlsFiles, section: str) -> None:
        self._files = files
        self._section = section

    def check(self) -> None:
        """Whether the files are there and belong together. Raises BadTls, which names the field."""
        self.read()
        files = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(files.certificate, files.key)
        except (OSError, ValueError) as error:
            name = f"{self._section}.certificate and {self._section}.key"
            raise BadTls(f"{name}: no certificate with its key: {error}") from None
        try:
            context.load_verify_locations(files.authority)
        except (OSError, ValueError) as error:
            raise BadTls(f"{self._section}.authority: {files.authority}: {error}") from None

    def read(self) -> Pem:
        """What the files hold now. Raises BadTls."""
        return Pem(*[self._bytes_of(name) for name in FILES])

    def _bytes_of(self, field: str) -> bytes:
        path = Path(getattr(self._files, field))
        try:
            return path.read_bytes()
        except OSError as error:
            raise BadTls(f"{self._section}.{field}: {path}: {error.strerror}") from None

    def server(self, on_fault: Callable[[BadTls], None]) -> grpc.ServerCredentials:
        """For a listener: only peers with a certificate of the authority get through.

        Files that cannot be read, or that do not belong together, change nothing: the credentials
        that were last good stay. `on_fault` is called from a thread of gRPC. Raises BadTls.
        """

        def configuration() -> Any:
            pem = self.read()
            return grpc.ssl_server_certificate_configuration(
                [(pem.key, pem.certificate)], root_certificates=pem.authority
            )

        def renewed() -> Any:
            try:
                return configuration()
            except BadTls as error:
                on_fault(error)
                return None

        return grpc.dynamic_ssl_server_credentials(configuration(), renewed, True)

    def channel(self) -> grpc.ChannelCredentials:
        """For one connection, of the files as they are now. Raises BadTls."""
        pem = self.read()
        return grpc.ssl_channel_credentials(pem.authority, pem.key, pem.certificate)


def needed_to_listen(address: str, tls: ListenerTls, section: str) -> Identity | None:
    """What a listener at `address` shows and asks for; None: nothing. Raises BadTls."""
    for name in tls.peers:
        if not name or "*" in name:
            raise BadTls(f"{section}.peers: {name!r} is no exact name")
    return _needed(address, tls, section, (*FILES, "peers"))


def needed_to_dial(target: str, tls: TlsFiles, section: str) -> Identity | None:
    """What connections to `target` (an address, or several with commas) are made with; None: they
    need nothing. Raises BadTls."""
    needed = [_needed(address.strip(), tls, section, FILES) for address in target.split(",")]
    return next((identity for identity in needed if identity is not None), None)


def _needed(address: str, tls: TlsFiles, section: str, fields: Sequence[str]) -> Identity | None:
    if is_unix(address):
        return None
    missing = [f"{section}.{field}" for field in fields if not getattr(tls, field)]
    if len(missing) == len(fields) and is_loopback(address):
        return None
    if missing:
        why = "mutual TLS" if is_loopback(address) else "not on loopback, which needs mutual TLS"
        raise BadTls(f"{address}: {why}: {' and '.join(missing)} missing")
    identity = Identity(tls, section)
    identity.check()
    return identity


def channel(
    target: str, options: Options, identity: Identity | None, role: str
) -> grpc.aio.Channel:
    """A channel to `target`, which with an identity must prove that it is `role`. Raises BadTls."""
    if identity is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, identity.channel(), options=proving(options, role))


def proving(options: Options, role: str) -> list[tuple[str, Any]]:
    """The options of a secure channel with the name that the server's certificate must have."""
    return [*options, ("grpc.ssl_target_name_override", role)]


def peer_names(context: Any) -> frozenset[str] | None:
    """The names that a call's peer has proved; None when it came without TLS."""
    found = context.auth_context()
    if found.get("transport_security_type") != [b"ssl"]:
        return None
    return frozenset([name.decode(errors="replace") for name in found.get("peer_dns", ())])
