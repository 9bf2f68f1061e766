"""The dispatcher as a service: Placement for clients, links of schedulers, dials the binder."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.config import HomeKind, KubernetesSettings, ServiceConfig, link_address, section
from runtime.service import FLAGS, LINK_FLAG, Service, Task, Wiring

if TYPE_CHECKING:
    import msgspec

    from dispatcher.core import DispatcherCore
    from runtime.clock import Clock
    from runtime.granted import GrantElection
    from runtime.kubernetes.access import Access
    from runtime.log import Log
    from runtime.loop import Shell


class Settings(ServiceConfig, frozen=True, kw_only=True):
    """The dispatcher's settings; `limits` are those of `dispatcher.config`, `api` those of
    `runtime.placement_api`."""

    name: str = "dispatcher"
    binder: str = ""
    """Where the binder listens for links."""
    home: HomeKind = HomeKind.EMBEDDED
    """With `kubernetes` nothing is kept here, units come from the binder, and one of several
    dispatchers leads."""
    kubernetes: KubernetesSettings = KubernetesSettings()
    """For `home: kubernetes`: where units of clients are made."""

    @property
    def binder_address(self) -> str:
        """Where the binder is dialled."""
        return self.binder or link_address(self.state, "binder")


class Dispatcher(Service[Settings]):
    """See the module."""

    package = "dispatcher"
    about = "The dispatcher: takes units from clients and decides who tries to place them next."
    settings_type = Settings
    flags: Mapping[str, str] = {
        **FLAGS,
        **LINK_FLAG,
        "binder": "address of the binder's links (default STATE/binder-link.sock)",
    }

    _access: Access | None = None

    def is_stored(self, settings: Settings) -> bool:
        """See Service."""
        return settings.home is HomeKind.EMBEDDED

    def make_core(self, settings: Settings, term: int) -> DispatcherCore:
        """See Service."""
        from dispatcher.config import DispatcherConfig
        from dispatcher.core import DispatcherCore
        from runtime.placement_api import PlacementLimits

        is_stored = self.is_stored(settings)
        if not is_stored and self._access is None:
            from runtime.kubernetes.wiring import access

            self._access = access(settings.kubernetes)
        self._term = term
        self._api = section(PlacementLimits, settings.api, "api")
        limits = section(DispatcherConfig, settings.limits)
        self._core = DispatcherCore(self._term, limits, is_stored=is_stored)
        return self._core

    def decoder(self) -> msgspec.msgpack.Decoder[Any]:
        """See Service."""
        from cell import record
        from dispatcher.records import Record

        return record.decoder(Record)

    def warm(self) -> None:
        """See Service."""
        from dispatcher.warm import warm_up

        warm_up()

    def election(self, settings: Settings, clock: Clock, log: Log) -> GrantElection | None:
        """See Service."""
        if self.is_stored(settings):
            return None
        from runtime.granted import GrantElection

        return GrantElection(settings, settings.binder_address, clock, log)

    def wire(self, shell: Shell, settings: Settings) -> Wiring:
        """See Service."""
        from cell.link import Hello
        from runtime.link_rpc import Dialer, LinkServicer
        from runtime.placement_api import PlacementServicer
        from runtime.servers import client_listener, link_listener
        from runtime.tls import needed_to_dial

        def hello() -> Hello:
            return Hello(name=settings.name, role="dispatcher", term=self._term)

        limits = self._api
        api = PlacementServicer(shell, self._core, limits)
        links = LinkServicer(shell, hello, frozenset({"scheduler"}), settings.links)
        clients = client_listener(
            settings, ["godel.v1.Placement"], [api.add_to], limits.message_bytes_max, shell.log
        )
        peers = link_listener(settings, links.add_to, shell.log)
        if not self.is_stored(settings):
            # Its election dials the binder.
            return Wiring((clients, peers), self._tasks(shell, settings))
        identity = needed_to_dial(settings.binder_address, settings.tls.link, "tls.link")
        dialer = Dialer(shell, settings.binder_address, hello, "binder", settings.links, identity)
        return Wiring((clients, peers), (dialer,))

    def _tasks(self, shell: Shell, settings: Settings) -> tuple[Task, ...]:
        if self._access is None:
            return ()
        from runtime.kubernetes.wiring import Forward

        return (Forward(shell, self._access, settings.kubernetes),)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the dispatcher until a signal ends it; returns the exit code."""
    return Dispatcher().run(arguments)


if __name__ == "__main__":
    sys.exit(main())
