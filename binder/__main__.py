"""The binder as a service: Cluster for clients, links of schedulers and of the dispatcher."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.config import HomeKind, KubernetesSettings, ServiceConfig, section
from runtime.service import FLAGS, LINK_FLAG, Service, Task, Wiring

if TYPE_CHECKING:
    import msgspec

    from binder.config import BinderConfig
    from binder.core import BinderCore
    from binder.grants import Grants
    from runtime.clock import Clock
    from runtime.kubernetes.access import Access
    from runtime.kubernetes.election import LeaseElection
    from runtime.log import Log
    from runtime.loop import Shell


class Settings(ServiceConfig, frozen=True, kw_only=True):
    """The binder's settings; `limits` are those of `binder.config`, `api` those of
    `runtime.cluster_api`. With `home: kubernetes` nothing is kept here."""

    name: str = "binder"
    home: HomeKind = HomeKind.EMBEDDED
    kubernetes: KubernetesSettings = KubernetesSettings()
    """For `home: kubernetes`."""


class Binder(Service[Settings]):
    """See the module."""

    package = "binder"
    about = "The binder: keeps the ledger of who has what room and commits plans to it."
    settings_type = Settings
    flags: Mapping[str, str] = {**FLAGS, **LINK_FLAG}
    _access: Access | None = None
    _election: LeaseElection | None = None

    def is_stored(self, settings: Settings) -> bool:
        """See Service."""
        return settings.home is HomeKind.EMBEDDED

    def make_core(self, settings: Settings, term: int) -> BinderCore:
        """See Service."""
        from binder.config import BinderConfig
        from binder.core import BinderCore
        from runtime.cluster_api import ClusterLimits

        self._term = term
        self._api = section(ClusterLimits, settings.api, "api")
        limits = section(BinderConfig, settings.limits)
        if settings.home is HomeKind.KUBERNETES:
            self._core = self._make_kubernetes(settings, limits)
        else:
            self._core = BinderCore(term, limits)
        return self._core

    def _make_kubernetes(self, settings: Settings, limits: BinderConfig) -> BinderCore:
        from binder.home.apiserver import ApiServerBinder
        from runtime.kubernetes.wiring import access

        if self._access is None:
            self._access = access(settings.kubernetes)
        return ApiServerBinder(self._term, limits)

    def decoder(self) -> msgspec.msgpack.Decoder[Any]:
        """See Service."""
        from binder.records import Record
        from cell import record

        return record.decoder(Record)

    def warm(self) -> None:
        """See Service."""
        from binder.warm import warm_up

        warm_up()

    def election(self, settings: Settings, clock: Clock, log: Log) -> LeaseElection | None:
        """See Service."""
        if self._access is not None:
            from runtime.kubernetes.election import LeaseElection

            self._election = LeaseElection(self._access, settings, settings.kubernetes, clock, log)
        return self._election

    def wire(self, shell: Shell, settings: Settings) -> Wiring:
        """See Service."""
        from cell.link import DERIVED, Hello
        from runtime.cluster_api import ClusterServicer
        from runtime.link_rpc import LinkServicer
        from runtime.servers import client_listener, link_listener

        is_derived = self._access is not None
        features = (DERIVED,) if is_derived else ()

        def hello() -> Hello:
            return Hello(name=settings.name, role="binder", term=self._term, features=features)

        limits = self._api
        api = ClusterServicer(shell, self._core, limits)
        roles = frozenset({"scheduler", "dispatcher"})
        links = LinkServicer(shell, hello, roles, settings.links, self._grants(shell))
        clients = client_listener(
            settings, ["godel.v1.Cluster"], [api.add_to], limits.message_bytes_max, shell.log
        )
        peers = link_listener(settings, links.add_to, shell.log)
        return Wiring((clients, peers), self._tasks(shell, settings))

    def _grants(self, shell: Shell) -> Grants | None:
        if self._election is None:
            return None
        from binder.grants import Grants

        election, now_us = self._election, shell.clock.now_us()
        return Grants(now_us, self._term, election.granted, election.note_grant)

    def _tasks(self, shell: Shell, settings: Settings) -> tuple[Task, ...]:
        if self._access is None or self._election is None:
            return ()
        from runtime.kubernetes.wiring import Follow

        may_write = self._election.is_held
        return (Follow(shell, self._access, settings.kubernetes, settings.name, may_write),)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the binder until a signal ends it; returns the exit code."""
    return Binder().run(arguments)


if __name__ == "__main__":
    sys.exit(main())
