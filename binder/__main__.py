"""The binder as a service: Cluster for clients, links of schedulers and of the dispatcher."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.config import ServiceConfig, section
from runtime.service import FLAGS, LINK_FLAG, Service, Wiring

if TYPE_CHECKING:
    import msgspec

    from binder.core import BinderCore
    from runtime.loop import Shell


class Settings(ServiceConfig, frozen=True, kw_only=True):
    """The binder's settings; `limits` are those of `binder.config`, `api` those of
    `runtime.cluster_api`."""

    name: str = "binder"


class Binder(Service[Settings]):
    """See the module."""

    package = "binder"
    about = "The binder: keeps the ledger of who has what room and commits plans to it."
    settings_type = Settings
    flags: Mapping[str, str] = {**FLAGS, **LINK_FLAG}

    def make_core(self, settings: Settings, term: int) -> BinderCore:
        """See Service."""
        from binder.config import BinderConfig
        from binder.core import BinderCore
        from runtime.cluster_api import ClusterLimits

        self._term = term
        self._api = section(ClusterLimits, settings.api, "api")
        self._core = BinderCore(term, section(BinderConfig, settings.limits))
        return self._core

    def decoder(self) -> msgspec.msgpack.Decoder[Any]:
        """See Service."""
        from binder.records import Record
        from cell import record

        return record.decoder(Record)

    def warm(self) -> None:
        """See Service."""
        from binder.warm import warm_up

        warm_up()

    def wire(self, shell: Shell, settings: Settings) -> Wiring:
        """See Service."""
        from cell.link import Hello
        from runtime.cluster_api import ClusterServicer
        from runtime.link_rpc import LinkServicer
        from runtime.servers import client_listener, link_listener

        def hello() -> Hello:
            return Hello(name=settings.name, role="binder", term=self._term)

        limits = self._api
        api = ClusterServicer(shell, self._core, limits)
        links = LinkServicer(shell, hello, frozenset({"scheduler", "dispatcher"}), settings.links)
        clients = client_listener(
            settings, ["godel.v1.Cluster"], [api.add_to], limits.message_bytes_max, shell.log
        )
        peers = link_listener(settings, links.add_to, shell.log)
        return Wiring((clients, peers))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the binder until a signal ends it; returns the exit code."""
    return Binder().run(arguments)


if __name__ == "__main__":
    sys.exit(main())
