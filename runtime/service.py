"""What a service is: settings, flags, exit codes, and what it adds to the one way to run a core.

Each `__main__` describes its service by a subclass of `Service` and calls `run`; `serving` does the
rest. This module imports nothing heavy, so that -h and a bad flag are answered at once.
"""

from __future__ import annotations

import argparse
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from runtime.config import BadConfig, ServiceConfig, load
from runtime.kernel_cache import export_kernel_cache

if TYPE_CHECKING:
    from runtime.clock import Clock
    from runtime.log import Log
    from runtime.loop import Core, Shell
    from runtime.servers import Listener

BAD_CONFIG_STATUS = 2
"""Exit code: the settings cannot be used; as of a bad flag."""
IN_USE_STATUS = 3
"""Exit code: another process has the state."""
BROKEN_STATE_STATUS = 4
"""Exit code: the state cannot be read or written."""
FLAGS: Mapping[str, str] = {
    "state": "directory of sockets and stores (default godel-state)",
    "name": "name of this service, in logs and to its peers",
    "client": "address for clients: unix:PATH or HOST:PORT (default STATE/NAME.sock)",
}
LINK_FLAG: Mapping[str, str] = {"link": "address for links (default STATE/NAME-link.sock)"}

S = TypeVar("S", bound=ServiceConfig)


class Task(Protocol):
    """What runs beside the shell for ever: a dialer."""

    async def run(self) -> None:
        """Run until cancelled."""


class Wiring(msgspec.Struct, frozen=True):
    """What stands between a service's shell and the world."""

    listeners: tuple[Listener, ...] = ()
    tasks: tuple[Task, ...] = ()


class Election(Protocol):
    """Who of several processes leads. One of them runs a core under the term that it was given."""

    async def won(self) -> int:
        """Wait as a standby; returns the term."""

    def attach(self, shell: Shell) -> None:
        """The shell of the term's core stands, its listeners not yet."""

    async def lost(self) -> None:
        """Returns when the term is over."""

    def refusal(self) -> str:
        """Who leads, and where: what a standby answers."""

    async def close(self) -> None:
        """Give up what was won, for good; its core is gone by now."""


class Service(ABC, Generic[S]):
    """What one service adds: its settings, its core, and what it listens on and dials.

    The methods are called once each, in this order; heavy imports belong into them. With an
    election `make_core` and `wire` are called once for the standby (term 0; that core is never
    asked anything), and again with each term.
    """

    package: ClassVar[str]
    """What `python -m` is given."""
    about: ClassVar[str]
    """One line for -h."""
    settings_type: type[S]
    flags: Mapping[str, str]
    """Fields of the settings that are flags too, with their help."""

    def is_stored(self, settings: S) -> bool:
        """Whether the core has records."""
        return True

    @abstractmethod
    def make_core(self, settings: S, term: int) -> Core:
        """The core before `restore`. Raises BadConfig."""

    def decoder(self) -> msgspec.msgpack.Decoder[Any]:
        """The decoder of its records."""
        raise NotImplementedError

    @abstractmethod
    def warm(self) -> None:
        """Call each kernel once, so that nothing compiles or loads later."""

    def election(self, settings: S, clock: Clock, log: Log) -> Election | None:
        """How it is decided who leads, where several processes may; called in the event loop."""
        return None

    @abstractmethod
    def wire(self, shell: Shell, settings: S) -> Wiring:
        """Listeners and dialers. Raises BadListener."""

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Run until a signal ends it; returns the exit code."""
        try:
            settings = self._settings(arguments)
        except BadConfig as error:
            print(f"error: {error}", file=sys.stderr)
            return BAD_CONFIG_STATUS
        export_kernel_cache()
        from runtime.serving import run

        return run(self, settings)

    def _settings(self, arguments: Sequence[str] | None) -> S:
        parser = argparse.ArgumentParser(prog=f"python -m {self.package}", description=self.about)
        parser.add_argument("--config", metavar="FILE", help="settings as YAML; flags win")
        for field in msgspec.structs.fields(self.settings_type):
            if field.name in self.flags:
                flag = f"--{field.name.replace('_', '-')}"
                parser.add_argument(
                    flag, type=field.type, metavar=field.name.upper(), help=self.flags[field.name]
                )
        chosen = vars(parser.parse_args(arguments))
        return load(self.settings_type, chosen.pop("config"), chosen)
