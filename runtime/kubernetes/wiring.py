"""The Kubernetes home in a service: its credentials, and what runs beside the shell."""

from __future__ import annotations

import asyncio

from cell.effects import Tick
from runtime.config import BadConfig, KubernetesSettings
from runtime.kubernetes.access import Access, NoAccess
from runtime.kubernetes.api import Api, Permit
from runtime.kubernetes.home import KubernetesHome
from runtime.loop import Shell


def access(settings: KubernetesSettings) -> Access:
    """Credentials that can be read. Raises BadConfig."""
    found = Access(settings.kubeconfig, settings.context)
    try:
        asyncio.run(found.load())
    except NoAccess as error:
        raise BadConfig(f"kubernetes: {error}") from None
    return found


class Follow:
    """Follows the API server for a shell's core, and performs its calls while it may."""

    def __init__(
        self, shell: Shell, access: Access, settings: KubernetesSettings, may_write: Permit
    ) -> None:
        self._shell = shell
        self._api = Api(access)
        self._home = KubernetesHome(
            self._api, settings.scheduler_name, shell.put, shell.log, may_write=may_write
        )
        shell.on_call = self._home.perform

    async def run(self) -> None:
        """Run until cancelled."""
        await self._api.open()
        try:
            # Whatever the core asks of its home begins with a Tick.
            self._shell.put(Tick())
            await asyncio.Event().wait()
        finally:
            await self._home.close()
            await self._api.close()
