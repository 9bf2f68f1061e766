"""Two binders and two dispatchers, of which one each leads, as processes on a real API server."""

from __future__ import annotations

from pathlib import Path

from tests.integration.kubernetes.services import Services
from tests.waiting import until

BINDERS = ("binder-0", "binder-1")
DISPATCHERS = ("dispatcher-0", "dispatcher-1")
SCHEDULERS = ("scheduler-0", "scheduler-1")


class Replicas(Services):
    """See the module. The Lease is in a namespace of the test's own."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        super().__init__(kubeconfig, namespace)
        binders, dispatchers = self._links(BINDERS), self._links(DISPATCHERS)
        for name in BINDERS:
            self.configure(name, self.of_binder)
        for name in DISPATCHERS:
            self.configure(name, {**self.of_dispatcher, "binder": binders})
        for name in SCHEDULERS:
            self.configure(name, {"binder": binders, "dispatcher": dispatchers})

    def command(self, service: str) -> list[str]:
        """How the service is started."""
        base = super().command(service)
        return [
            word.rpartition("-")[0] if word in (*BINDERS, *DISPATCHERS) else word for word in base
        ]

    def start(self, *services: str) -> None:
        """Start services that do not run."""
        super().start(*(services or (*BINDERS, *DISPATCHERS, *SCHEDULERS)))

    async def leader(self, among: tuple[str, ...], *, seconds: float) -> str:
        """Wait until one of these leads; its name."""

        async def found() -> str:
            return next(iter([name for name in among if await self.leads(name)]), "")

        name: str = await until(f"one of {among} leads", found, seconds)
        return name

    def _links(self, names: tuple[str, ...]) -> str:
        return ",".join(f"unix:{self.state}/{name}-link.sock" for name in names)
