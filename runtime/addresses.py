"""Addresses: `unix:PATH` or `HOST:PORT`, and which of them only this machine can reach."""

from __future__ import annotations

import ipaddress

UNIX = "unix:"


def is_unix(address: str) -> bool:
    """Whether it is a Unix socket: who may use it is said by the file's mode."""
    return address.startswith(UNIX)


def is_loopback(address: str) -> bool:
    """Whether HOST is this machine by its text; any other name may be resolved to anybody."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
