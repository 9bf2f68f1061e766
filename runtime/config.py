"""Configuration: one YAML file per service, strict, with a small overlay from the environment.

A service's `__main__` names its settings as one frozen Struct; `load` reads FILE, then
GODEL_<FIELD> for top-level text fields, then the command line. A field that is unknown, at any
depth, is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from cell.names import is_name
from cell.settings import Positive

ENVIRONMENT_PREFIX = "GODEL_"
MESSAGE_BYTES_MAX = 16 << 20
"""Of one message of a client, unless configured."""
WAIT_MS_MAX = 10_000
"""Of a client for a record, unless configured."""
T = TypeVar("T", bound="ServiceConfig")
L = TypeVar("L", bound=msgspec.Struct)


class BadConfig(ValueError):
    """A configuration that cannot be used; the text names the field."""


class ApiLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may ask of any service; each API adds its own."""

    message_bytes_max: Positive = MESSAGE_BYTES_MAX
    """Bytes of one message; a larger one ends its call with RESOURCE_EXHAUSTED."""
    wait_ms_max: Positive = WAIT_MS_MAX
    """Who waits so long for a record, to be shown or answered something, is told UNAVAILABLE."""


class LinkLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a link may queue and send."""

    outbox_frames_max: Positive = 100_000
    """Frames queued for a peer that reads too slowly; above it the session ends."""
    message_bytes_max: Positive = 256 << 20
    """Bytes of one message."""


class HomeKind(StrEnum):
    """Where the state lives that outlasts our processes."""

    EMBEDDED = "embedded"
    """SQLite files in the state directory."""
    KUBERNETES = "kubernetes"
    """An API server."""


class KubernetesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which API server, and which of its pods are ours."""

    kubeconfig: str = ""
    """File with credentials; "" for $KUBECONFIG, those of the pod we are in, or ~/.kube/config."""
    context: str = ""
    """Of the kubeconfig; "" for its present one."""
    namespace: str = ""
    """Of the Lease, and of PlacementRequests made for clients; "" for that of the pod we are in, or
    `default`."""
    lease: str = "godel-binder"
    """Name of the Lease by which binders elect the one that leads."""
    scheduler_name: str = "godel-scheduler"
    """Pods that name this scheduler are ours."""
    tells_per_second_max: Positive = 20
    """Pods that are told why they wait, in their condition and by an event; more wait longer."""
    success_events: bool = False
    """Whether every pod that we bind gets an event `Scheduled`: one more write each."""


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of files in PEM; they are read again whenever a connection begins."""

    certificate: str = ""
    """Ours, followed by those between it and the authority."""
    key: str = ""
    authority: str = ""
    """Who signs our peers' certificates: one or several."""


def tls_files(directory: str | Path) -> TlsFiles:
    """The files of one directory under the names that Kubernetes gives them in a Secret."""
    path = Path(directory)
    return TlsFiles(
        certificate=str(path / "tls.crt"), key=str(path / "tls.key"), authority=str(path / "ca.crt")
    )


class ListenerTls(TlsFiles, frozen=True, kw_only=True):
    """Mutual TLS of one kind of listener, and of us when we dial one of this kind."""

    peers: tuple[str, ...] = ()
    """DNS names of certificates; who has none of them is refused. Exact, no patterns."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Mutual TLS per kind of listener; none on Unix sockets, whose mode says who may use them."""

    client: ListenerTls = ListenerTls()
    link: ListenerTls = ListenerTls()


class ServiceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What every service is told. Addresses are `unix:PATH` or `HOST:PORT`; empty ones stand for
    the sockets in the state directory. What is not on loopback needs its section of `tls`."""

    name: str
    state: str = "godel-state"
    """Directory of the sockets and the store; made with mode 0700."""
    client: str = ""
    """Address for clients."""
    link: str = ""
    """Address for links."""
    tls: Tls = Tls()
    """Certificates, and who may connect."""
    links: LinkLimits = LinkLimits()
    """Limits of links."""
    limits: dict[str, Any] = {}
    """Named limits of the core; `section` makes them its own type."""
    api: dict[str, Any] = {}
    """Named limits of what clients may ask; likewise."""

    @property
    def client_address(self) -> str:
        """Where it listens for clients."""
        return self.client or client_address(self.state, self.name)

    @property
    def link_address(self) -> str:
        """Where it listens for links."""
        return self.link or link_address(self.state, self.name)


def client_address(state: str | Path, service: str) -> str:
    """Where `service` (dispatcher, binder, sharding) listens for clients by default."""
    return f"unix:{Path(state).absolute() / service}.sock"


def link_address(state: str | Path, service: str) -> str:
    """Where `service` (dispatcher, binder) listens for links by default."""
    return f"unix:{Path(state).absolute() / service}-link.sock"


def load(
    kind: type[T],
    path: str | None,
    overrides: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
) -> T:
    """The settings: file, environment, `overrides` that are not None. Raises BadConfig."""
    fields: dict[str, Any] = {}
    if path is not None:
        fields = _read(path)
    for name, hint in get_type_hints(kind).items():
        value = environ.get(ENVIRONMENT_PREFIX + name.upper())
        if hint is str and value:
            fields[name] = value
    fields.update({name: value for name, value in overrides.items() if value is not None})
    refuse_unknown(kind, fields, "")
    try:
        settings = msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise BadConfig(str(error)) from None
    if not is_name(settings.name):
        raise BadConfig(f"name: {settings.name!r} cannot name a service to its peers")
    return settings


def section(kind: type[L], fields: Mapping[str, Any], name: str = "limits") -> L:
    """A nested part of the settings as the type its owner names. Raises BadConfig."""
    refuse_unknown(kind, dict(fields), f"{name}.")
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise BadConfig(str(error).replace("`$", f"`{name}")) from None


def refuse_unknown(kind: type, fields: Any, prefix: str) -> None:
    """Refuse keys that no field has, at any depth. Raises BadConfig."""
    if not isinstance(fields, dict):
        return
    hints = get_type_hints(kind)
    for name, value in fields.items():
        if name not in hints:
            raise BadConfig(f"unknown field {prefix}{name}; known are {', '.join(sorted(hints))}")
        hint = hints[name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            refuse_unknown(hint, value, f"{prefix}{name}.")


def _read(path: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadConfig(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise BadConfig(f"{path}: needs fields, found {type(content).__name__}")
    return content
