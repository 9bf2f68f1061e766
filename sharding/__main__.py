"""The rolling controller as a service: Release for clients; a client of the dispatcher itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.config import ServiceConfig, client_address, section
from runtime.service import FLAGS, Service, Wiring

if TYPE_CHECKING:
    import msgspec

    from runtime.loop import Shell
    from sharding.core import RollingCore


class Settings(ServiceConfig, frozen=True, kw_only=True):
    """The rolling controller's settings; `limits` are those of `sharding.spec`, `api` those of
    `runtime.feed`."""

    name: str = "sharding"
    dispatcher: str = ""
    """Where the dispatcher listens for clients."""


class Sharding(Service[Settings]):
    """See the module."""

    package = "sharding"
    about = "The rolling controller: releases services from one version to the next, row by row."
    settings_type = Settings
    flags: Mapping[str, str] = {
        **FLAGS,
        "dispatcher": "address of the dispatcher for clients (default STATE/dispatcher.sock)",
    }

    def make_core(self, settings: Settings, term: int) -> RollingCore:
        """See Service."""
        from runtime.feed import FeedLimits
        from sharding.core import RollingCore
        from sharding.spec import Limits

        self._api = section(FeedLimits, settings.api, "api")
        return RollingCore(section(Limits, settings.limits))

    def decoder(self) -> msgspec.msgpack.Decoder[Any]:
        """See Service."""
        from cell import record
        from sharding.table import Record

        return record.decoder(Record)

    def warm(self) -> None:
        """It has no kernels."""

    def wire(self, shell: Shell, settings: Settings) -> Wiring:
        """See Service."""
        from runtime.placement_peer import PlacementPeer
        from runtime.release_api import ReleaseServicer
        from runtime.servers import client_listener
        from runtime.tls import needed_to_dial

        limits = self._api
        api = ReleaseServicer(shell, limits)
        clients = client_listener(
            settings, ["godel.v1.Release"], [api.add_to], limits.message_bytes_max, shell.log
        )
        target = settings.dispatcher or client_address(settings.state, "dispatcher")
        identity = needed_to_dial(target, settings.tls.client, "tls.client")
        return Wiring((clients,), (PlacementPeer(shell, target, identity),))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rolling controller until a signal ends it; returns the exit code."""
    return Sharding().run(arguments)


if __name__ == "__main__":
    sys.exit(main())
