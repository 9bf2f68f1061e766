"""Rule: a port of the host is taken once per protocol and address; 0.0.0.0 is every address."""

from __future__ import annotations

from cell.between import ANY_ADDRESS, Between, HostPort
from cell.fit.counters import NODE, Check, Counter
from cell.reasons import Reason


class PortUse(Counter, frozen=True):
    """Residents of a node that take the port, or one that is in its way."""

    port: HostPort

    def weight(self, between: Between) -> int:
        """See Counter."""
        return int(any(is_in_the_way(self.port, each) for each in between.ports))


def is_in_the_way(port: HostPort, other: HostPort) -> bool:
    """Whether one node cannot give both ports."""
    if port.number != other.number or port.protocol != other.protocol:
        return False
    return port.address == other.address or ANY_ADDRESS in (port.address, other.address)


def port_checks(between: Between) -> list[Check]:
    """Each port must be free."""
    return [Check(Reason.HOST_PORT, PortUse(NODE, port)) for port in between.ports]
