"""Where a dialer finds one peer of several: a list of addresses, and DNS names that are lists."""

from __future__ import annotations

import asyncio
import socket

UNIX = "unix:"


async def targets(addresses: str) -> list[str]:
    """The addresses to try, in turn: those of a comma-separated list, a name as all that it
    resolves to now; none for a name that cannot be resolved."""
    found: list[str] = []
    for address in filter(None, (part.strip() for part in addresses.split(","))):
        found += [address] if address.startswith(UNIX) else await _resolved(address)
    return list(dict.fromkeys(found))


async def _resolved(address: str) -> list[str]:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [
        f"[{where[0]}]:{port}" if ":" in str(where[0]) else f"{where[0]}:{port}"
        for *_, where in found
    ]
