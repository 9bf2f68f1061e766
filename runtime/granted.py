"""The dispatcher's election: it leads under the term that the binder grants it.

It dials the binder itself, for the core is made when the term is known; what the binder says until
then waits here. A binder that is away, or stands by itself, changes nothing: who was granted a term
has it until a binder that leads grants another one, or refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cell.effects import PeerUp
from cell.link import Hello
from runtime.clock import Clock
from runtime.config import ServiceConfig
from runtime.link_rpc import DISPATCHER, Dialer
from runtime.log import Log
from runtime.loop import Port, Shell
from runtime.tls import needed_to_dial


class GrantElection:
    """See `runtime.service.Election`; `binder` are addresses for a dialer."""

    def __init__(self, settings: ServiceConfig, binder: str, clock: Clock, log: Log) -> None:
        self.clock = clock
        self.log = log
        self._settings = settings
        identity = needed_to_dial(binder, settings.tls.link, "tls.link")
        self._dialer = Dialer(self, binder, self._hello, "binder", settings.links, identity)
        self._dialer.on_refused = self._refused
        self._dialing: asyncio.Task[None] | None = None
        self._shell: Shell | None = None
        self._early: list[tuple[Any, Port | None]] = []
        """What came under the granted term before its core."""
        self._granted = 0
        self._led = 0
        """The term that was won last."""
        self._is_changed = asyncio.Event()
        self._leader = ""
        """Who leads, by the last word of a binder that does."""
        self._fault = "no binder answers"

    # For the dialer

    def put(self, event: Any, port: Port | None = None) -> None:
        """Pass on what the binder says under the term that it granted."""
        if isinstance(event, PeerUp) and event.hello.grant != self._granted:
            self._begin(event.hello.grant)
        if self._shell is None:
            self._early.append((event, port))
        else:
            self._shell.put(event, port)

    def _hello(self) -> Hello:
        address = self._settings.client_address
        name = self._settings.name
        return Hello(name=name, role=DISPATCHER, term=self._granted, address=address)

    def _refused(self, why: str, is_another_granted: bool) -> None:
        if is_another_granted:
            self._leader = why
            if self._granted:
                self._begin(0)
        else:
            self._fault = why

    def _begin(self, term: int) -> None:
        """Another term, or none."""
        self._granted, self._shell = term, None
        self._early.clear()
        self._is_changed.set()

    # For the service

    async def won(self) -> int:
        """See Election."""
        if self._dialing is None:
            self._dialing = asyncio.ensure_future(self._dialer.run())
        await self._until(lambda: self._granted != 0)
        self._led = self._granted
        return self._led

    def attach(self, shell: Shell) -> None:
        """See Election; a term that is over by now is found so by `lost`."""
        if self._granted == self._led:
            self._shell = shell
            for event, port in self._early:
                shell.put(event, port)
            self._early.clear()

    async def lost(self) -> None:
        """See Election."""
        await self._until(lambda: self._granted != self._led)

    def refusal(self) -> str:
        """See Election."""
        return f"{self._settings.name} stands by: {self._leader or self._fault}"

    async def close(self) -> None:
        """See Election."""
        if self._dialing is not None:
            self._dialing.cancel()
            await asyncio.gather(self._dialing, return_exceptions=True)

    async def _until(self, is_it: Callable[[], bool]) -> None:
        while not is_it():
            self._is_changed.clear()
            await self._is_changed.wait()
