"""A scheduler as a service: dials dispatcher and binder; its listener has health only."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from runtime.config import ApiLimits, BadConfig, ServiceConfig, link_address, section
from runtime.service import FLAGS, Service, Wiring

if TYPE_CHECKING:
    from runtime.loop import Shell
    from scheduler.core import SchedulerCore
    from scheduler.framework.plugin import Plugin

PLUGIN_GROUP = "godel.plugins"
"""Entry points of plugins outside the tree; one is loaded only when a profile names it."""


class Settings(ServiceConfig, frozen=True, kw_only=True):
    """A scheduler's settings; `limits` are those of `scheduler.config`, profiles among them."""

    name: str = "scheduler-0"
    partition: int = 0
    partitions: int = 1
    dispatcher: str = ""
    """Where the dispatcher listens for links."""
    binder: str = ""
    """Where the binder listens for links."""


class Scheduler(Service[Settings]):
    """See the module."""

    package = "scheduler"
    about = "A scheduler: places units on nodes, beside others that do the same."
    settings_type = Settings
    flags: Mapping[str, str] = {
        **FLAGS,
        "partition": "which part of the nodes it looks at first, from 0",
        "partitions": "how many such parts there are",
        "dispatcher": "address of the dispatcher's links (default STATE/dispatcher-link.sock)",
        "binder": "address of the binder's links (default STATE/binder-link.sock)",
    }

    def is_stored(self, settings: Settings) -> bool:
        """See Service: it owns nothing."""
        return False

    def make_core(self, settings: Settings, term: int) -> SchedulerCore:
        """See Service."""
        from scheduler.config import SchedulerConfig
        from scheduler.core import SchedulerCore
        from scheduler.framework.profiles import BadProfile, plugins_wanted

        if not 0 <= settings.partition < settings.partitions:
            reason = f"{settings.partition} is not within 0 to partitions - 1"
            raise BadConfig(f"partition: {reason} ({settings.partitions - 1})")
        limits = section(SchedulerConfig, settings.limits)
        self._api = section(ApiLimits, settings.api, "api")
        registry = load_plugins(plugins_wanted(limits.profiles))
        try:
            self._core = SchedulerCore(
                settings.name, settings.partition, settings.partitions, limits, registry
            )
        except BadProfile as error:
            raise BadConfig(f"limits.profiles: {error}") from None
        return self._core

    def warm(self) -> None:
        """See Service."""
        from scheduler.warm import warm_up

        warm_up()

    def wire(self, shell: Shell, settings: Settings) -> Wiring:
        """See Service."""
        from cell.link import Hello
        from runtime.link_rpc import Dialer
        from runtime.servers import client_listener
        from runtime.tls import needed_to_dial

        def hello() -> Hello:
            return Hello(
                name=settings.name,
                role="scheduler",
                partition=settings.partition,
                partitions=settings.partitions,
                profiles=self._core.profiles,
            )

        health = client_listener(settings, [], [], self._api.message_bytes_max, shell.log)
        dispatcher = settings.dispatcher or link_address(settings.state, "dispatcher")
        binder = settings.binder or link_address(settings.state, "binder")

        def dialer(role: str, target: str) -> Dialer:
            identity = needed_to_dial(target, settings.tls.link, "tls.link")
            return Dialer(shell, target, hello, role, settings.links, identity)

        dialers = (dialer("binder", binder), dialer("dispatcher", dispatcher))
        return Wiring((health,), dialers)


def load_plugins(names: Sequence[str]) -> dict[str, type[Plugin]]:
    """The plugins of these names by entry point. Raises BadConfig."""
    registry = {}
    for name in names:
        found = sorted(entry_points(group=PLUGIN_GROUP, name=name), key=lambda point: point.value)
        if len(found) != 1:
            reason = "no installed package has it" if not found else "several packages have it"
            raise BadConfig(f"limits.profiles: plugin {name}: {reason} (group {PLUGIN_GROUP})")
        try:
            registry[name] = found[0].load()
        except (ImportError, AttributeError) as error:
            raise BadConfig(f"limits.profiles: plugin {name}: {error}") from error
    return registry


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scheduler until a signal ends it; returns the exit code."""
    return Scheduler().run(arguments)


if __name__ == "__main__":
    sys.exit(main())
