"""Who places pods in a leg: our services as processes, or kube-scheduler; killed at its end."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import yaml

from tests.bench import services
from tests.bench.k8s.client import a_pod
from tests.bench.k8s.ground import Ground, Processes
from tests.controlplane import commands
from tests.controlplane.cluster import SCHEDULER
from tests.waiting import until

OURS = "godel-scheduler"
THEIRS = "default-scheduler"
SCHEDULERS = 2
START_SECONDS = 300.0
"""Until all serve: kernels are compiled where the cache is cold."""
PROBE_SECONDS = 120.0


@contextmanager
def kube_scheduler(ground: Ground) -> Iterator[Processes]:
    """kube-scheduler with its default profile."""
    running, name = ground.cluster.processes, SCHEDULER
    running.start(name, commands.scheduler(ground.cluster.layout, ground.scheduler_kubeconfig))
    try:
        yield {name: [psutil.Process(running.pid(name))]}
    finally:
        running.kill(name)


@asynccontextmanager
async def ours(ground: Ground, **kubernetes: object) -> AsyncIterator[Processes]:
    """Binder, dispatcher and two schedulers, all serving; `kubernetes` are settings beside the
    credentials."""
    with tempfile.TemporaryDirectory(prefix="godel-bench-") as directory:
        state = Path(directory)
        log = ground.cluster.folder / "services.log"
        settings = {"kubeconfig": str(ground.kubeconfig), **kubernetes}
        with services.processes(_commands(state, settings), log) as running:
            for name in running:
                await services.until(state / f"{name}.sock", START_SECONDS)
                await services.serving(state / f"{name}.sock")
            roles: dict[str, list[psutil.Process]] = {}
            for name, process in running.items():
                roles.setdefault(name.partition("-")[0], []).append(process)
            yield roles


def _commands(state: Path, kubernetes: dict[str, object]) -> dict[str, list[str]]:
    home = {"home": "kubernetes", "kubernetes": kubernetes}
    settings: dict[str, dict[str, Any]] = {"binder": home, "dispatcher": home}
    found = {}
    for name, content in settings.items():
        path = state / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        found[name] = [name, "--state", str(state), "--config", str(path)]
    for number in range(SCHEDULERS):
        name = f"scheduler-{number}"
        partition = ["--partition", str(number), "--partitions", str(SCHEDULERS)]
        found[name] = ["scheduler", "--state", str(state), "--name", name, *partition]
    return found


async def probe(ground: Ground) -> None:
    """Have a pod placed, so that what is measured next meets services that follow the cluster."""
    async with ground.leg(1) as leg:
        path = f"/api/v1/namespaces/{leg.namespace}/pods"
        ground.admin.text("POST", path, msgspec.json.decode(a_pod("probe", OURS)))

        def is_placed() -> bool:
            return bool(ground.admin.get(f"{path}/probe")["spec"].get("nodeName"))

        await until("the probe is placed", is_placed, PROBE_SECONDS)
