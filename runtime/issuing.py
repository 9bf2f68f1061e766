"""Which certificates a cell needs, with which names, as files and as Kubernetes Secrets."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import yaml

from runtime.authority import Authority, Signed, write

PLAIN = ("dispatcher", "binder", "sharding", "client")
"""Services that have one name: their role."""


def names_of(schedulers: int) -> dict[str, tuple[str, ...]]:
    """The names in each service's certificate: its role, then what its instances say they are."""
    names = {service: (service,) for service in PLAIN}
    return {**names, "scheduler": ("scheduler", *[f"scheduler-{i}" for i in range(schedulers)])}


def issue(authority: Authority, directory: Path, days: int, schedulers: int) -> dict[str, Signed]:
    """Sign a certificate per service and write it below the directory. Raises BadAuthority."""
    names = names_of(schedulers)
    issued = {service: authority.sign(names[service], days) for service in sorted(names)}
    for service, signed in issued.items():
        for name, content in files_of(signed).items():
            write(directory / service / name, content)
    return issued


def files_of(signed: Signed) -> dict[str, bytes]:
    """The files of a certificate by the names that Secrets have."""
    return {"ca.crt": signed.authority, "tls.key": signed.key, "tls.crt": signed.certificate}


def secrets_of(issued: Mapping[str, Signed], namespace: str) -> str:
    """The manifests of the Secrets `godel-SERVICE-tls`."""
    return yaml.safe_dump_all([_secret(*each, namespace) for each in issued.items()])


def _secret(service: str, signed: Signed, namespace: str) -> dict[str, object]:
    files = files_of(signed)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"godel-{service}-tls", "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": {name: b64encode(files[name]).decode() for name in files},
    }
