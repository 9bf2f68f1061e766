"""Ports for a control plane: free ones that the kernel gives to nobody else.

Ephemeral ports will not do: while an API server is down, a client that dials its port again and
again may be given that very port as its own, connect to itself, and keep the server from starting.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from tests.controlplane.certificates import LOOPBACK

PORT_MIN = 20_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL_MIN = 32_768
"""Where that file is missing."""
ATTEMPTS_MAX = 1000


def free_ports(count: int) -> list[int]:
    """So many different ports below the ephemeral range that can be bound now."""
    first = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else EPHEMERAL_MIN
    drawn = random.SystemRandom()
    found: set[int] = set()
    for _ in range(ATTEMPTS_MAX):
        port = drawn.randrange(min(PORT_MIN, first // 2), first)
        if port not in found and _is_free(port):
            found.add(port)
        if len(found) == count:
            return sorted(found)
    raise OSError(f"no {count} free ports below {first} on {LOOPBACK}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
