"""Our services as processes on a real API server, under a role that may do no more than they need.

The binder is given the kubeconfig of a user of its own, the dispatcher its own or the same; the
others talk to these alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.integration.embedded import Embedded
from tests.integration.kubernetes.pods import OURS

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

    def command(self, service: str) -> list[str]:
        """How the service is started."""
        path = self.state / f"{service}.yaml"
        config = ["--config", str(path)] if path.exists() else []
        return [*super().command(service), *config]

    def start(self, *services: str) -> None:
        """Start services that do not run."""
        super().start(*(services or SERVICES))

    async def serving(self, *services: str) -> None:
        """Wait until their health says SERVING."""
        await super().serving(*[s for s in services or SERVICES if not s.startswith("scheduler")])

    def configure(self, service: str, settings: Mapping[str, object]) -> None:
        """Write the settings that it is started with."""
        (self.state / f"{service}.yaml").write_text(yaml.safe_dump({"name": service, **settings}))
