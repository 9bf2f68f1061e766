"""The Kubernetes home in a service: its credentials, and what runs beside the shell."""

from __future__ import annotations

import asyncio

from cell.effects import Tick
from cell.home import Call, Note, Tell
from runtime.config import BadConfig, KubernetesSettings
from runtime.kubernetes.access import Access, NoAccess, own_namespace
from runtime.kubernetes.api import Api, Permit
from runtime.kubernetes.events import BOUND_WRITERS, Events, Refusals, Successes
from runtime.kubernetes.gather import Gather
from runtime.kubernetes.home import KubernetesHome
from runtime.kubernetes.submitting import Submitting
from runtime.kubernetes.telling import WRITERS, Telling
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
    """Follows the API server for a shell's core, performs its calls while it may, and tells people;
    `name` is the service's."""

    def __init__(
        self,
        shell: Shell,
        access: Access,
        settings: KubernetesSettings,
        name: str,
        may_write: Permit,
    ) -> None:
        self._shell = shell
        self._api = Api(access)
        self._home = home = KubernetesHome(
            self._api,
            settings.scheduler_name,
            Gather(shell.put).tell,
            shell.log,
            may_write=may_write,
        )
        # Connections of its own: telling never stands before a binding.
        writers = WRITERS + (BOUND_WRITERS if settings.success_events else 0)
        self._telling_api = api = Api(access, writers)
        refusals = Refusals(shell.log)
        events = Events(api, settings.scheduler_name, name, refusals, may_write)
        pace = settings.tells_per_second_max
        self._telling = telling = Telling(api, home.pods, events, refusals, pace, may_write)
        home.on_seen, home.on_listed = telling.see, telling.listed
        self._runs = [home.run, telling.run]
        if settings.success_events:
            successes = Successes(events, shell.log)
            home.on_bound = successes.put
            self._runs.append(successes.run)
        shell.on_call = self._perform

    def _perform(self, effect: Call | Note | Tell) -> None:
        if isinstance(effect, Tell):
            self._telling.tell(effect)
        else:
            self._home.perform(effect)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._api.open()
        await self._telling_api.open()
        try:
            # Whatever the core asks of its home begins with a Tick.
            self._shell.put(Tick())
            await asyncio.gather(*(run() for run in self._runs))
        finally:
            await self._home.close()
            await self._telling_api.close()
            await self._api.close()


class Forward:
    """Makes and deletes PlacementRequests for the dispatcher's core."""

    def __init__(self, shell: Shell, access: Access, settings: KubernetesSettings) -> None:
        self._api = Api(access)
        namespace = settings.namespace or own_namespace()
        self._submitting = Submitting(self._api, namespace, shell.put, shell.log)
        shell.on_call = self._submitting.perform

    async def run(self) -> None:
        """Run until cancelled."""
        await self._api.open()
        try:
            await asyncio.Event().wait()
        finally:
            await self._submitting.close()
            await self._api.close()
