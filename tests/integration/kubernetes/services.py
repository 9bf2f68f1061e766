"""Our services as processes on a real API server, under a role that may do no more than they need.

The binder is given the kubeconfig of a user of its own, the dispatcher its own or the same; the
others talk to these alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.controlplane.cluster import ControlPlane
from tests.controlplane.install import NAMESPACE, account, install
from tests.integration.embedded import SERVING, START_SECONDS, Embedded
from tests.integration.kubernetes.pods import OURS
from tests.waiting import until

SERVED = {"binder": "godel.v1.Cluster", "dispatcher": "godel.v1.Placement"}
SERVICES = ("binder", "dispatcher", "scheduler-0", "scheduler-1")


class Services(Embedded):
    """Binder, dispatcher and two schedulers of one API server."""

    def __init__(
        self, kubeconfig: Path, namespace: str = "", dispatcher: Path | None = None
    ) -> None:
        super().__init__()
        kubernetes = {
            "kubeconfig": str(kubeconfig),
            "scheduler_name": OURS,
            "namespace": namespace,
        }
        self.of_binder: dict[str, Any] = {"home": "kubernetes", "kubernetes": kubernetes}
        account = {**kubernetes, "kubeconfig": str(dispatcher or kubeconfig)}
        self.of_dispatcher = {"home": "kubernetes", "kubernetes": account}
        self.configure("binder", self.of_binder)
        self.configure("dispatcher", self.of_dispatcher)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Start and serve; what the services said is printed at the end."""
        try:
            self.start()
            await self.serving()
            yield self
        finally:
            for service in SERVICES:
                print(service, self.log(service)[-3000:])
            self.remove()

    def command(self, service: str) -> list[str]:
        """How the service is started."""
        path = self.state / f"{service}.yaml"
        config = ["--config", str(path)] if path.exists() else []
        return [*super().command(service), *config]

    def start(self, *services: str) -> None:
        """Start services that do not run."""
        super().start(*(services or SERVICES))

    async def serving(self, *services: str) -> None:
        """Wait until their health says SERVING, and those that are elected lead."""
        waited = [s for s in services or SERVICES if not s.startswith("scheduler")]
        await super().serving(*waited)
        for service in waited:

            async def leads(service: str = service) -> bool:
                return await self.leads(service)

            await until(f"{service} leads", leads, START_SECONDS)

    async def leads(self, service: str) -> bool:
        """Whether a service leads: a standby serves no clients."""
        request = health_pb2.HealthCheckRequest(service=SERVED[service.partition("-")[0]])
        async with grpc.aio.insecure_channel(self.address(service)) as channel:
            try:
                reply = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=2.0)
            except grpc.RpcError:
                return False
            return int(reply.status) == SERVING

    def configure(self, service: str, settings: Mapping[str, object]) -> None:
        """Write the settings that it is started with."""
        (self.state / f"{service}.yaml").write_text(yaml.safe_dump({"name": service, **settings}))


def as_shipped(plane: ControlPlane) -> Services:
    """Services that do not run yet, under the accounts that deploy/ ships; installs these."""
    install(plane)
    binder, dispatcher = (account(plane, f"godel-{name}") for name in ("binder", "dispatcher"))
    return Services(binder, NAMESPACE, dispatcher)
