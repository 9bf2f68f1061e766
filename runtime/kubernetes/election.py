"""The binder's election: who holds the Lease leads, and stops the moment it may not write."""

from __future__ import annotations

import asyncio
import secrets

from cell.home import LeaseLost
from runtime.clock import Clock
from runtime.config import KubernetesSettings, ServiceConfig
from runtime.kubernetes.access import Access, own_namespace
from runtime.kubernetes.api import Api
from runtime.kubernetes.lease import Lease
from runtime.log import Log
from runtime.loop import Shell

IDENTITY_BYTES = 4
"""Random ones behind the name: a new life of a process is another holder."""


class LeaseElection:
    """See `runtime.service.Election`."""

    def __init__(
        self,
        access: Access,
        settings: ServiceConfig,
        kubernetes: KubernetesSettings,
        clock: Clock,
        log: Log,
    ) -> None:
        self._name = settings.name
        self._api = Api(access)
        self._is_open = False
        self._lease = Lease(
            self._api,
            kubernetes.namespace or own_namespace(),
            kubernetes.lease,
            f"{settings.name}-{secrets.token_hex(IDENTITY_BYTES)}",
            clock,
            log,
            link_address=settings.link_address,
            client_address=settings.client_address,
        )
        self._holding: asyncio.Task[None] | None = None
        self._shell: Shell | None = None

    def is_held(self) -> bool:
        """Whether a write that is sent now is the leader's."""
        return self._lease.is_held()

    @property
    def granted(self) -> int:
        """The dispatcher's term that was granted last, under whichever leader."""
        return self._lease.granted

    def note_grant(self, term: int) -> None:
        """Have the next leader know it."""
        self._lease.note_grant(term)

    async def won(self) -> int:
        """See Election."""
        if not self._is_open:
            await self._api.open()
            self._is_open = True
        term = await self._lease.acquire()
        self._holding = asyncio.ensure_future(self._lease.hold())
        return term

    def attach(self, shell: Shell) -> None:
        """See Election."""
        self._shell = shell

    async def lost(self) -> None:
        """See Election; the core is told."""
        if self._holding is not None:
            await asyncio.shield(self._holding)
        if self._shell is not None:
            self._shell.put(LeaseLost())

    def refusal(self) -> str:
        """See Election."""
        leader = self._lease.leader
        if not leader.identity:
            return f"{self._name} stands by: nobody leads"
        where = f"links at {leader.link_address}, clients at {leader.client_address}"
        return f"{self._name} stands by: {leader.identity} leads, {where}"

    async def close(self) -> None:
        """See Election: hand over to a standby at once."""
        await self._lease.release()
        if self._holding is not None:
            self._holding.cancel()
        if self._is_open:
            await self._api.close()
