"""`make cluster`: a control plane with KWOK nodes, and Gödel in it, until Ctrl-C.

The API server is real and so are kube-scheduler, the controllers and our services, which run as
processes under the account that deploy/ ships; nodes and what runs on them are simulated by KWOK.
Nothing is kept from one run to the next.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.controlplane.build import BuildFailed, programs
from tests.controlplane.cluster import EXTRAS, KWOK, ControlPlane
from tests.controlplane.nodes import add_nodes, ready_nodes
from tests.controlplane.processes import Ended
from tests.integration.kubernetes.services import SERVICES, as_shipped

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "build" / "cluster"
NODES_DEFAULT = 10
READY_SECONDS = 120.0
CHECK_SECONDS = 1.0

USAGE = """
{nodes} nodes, ready in {seconds:.0f} s; logs in {folder} and {state}

  export KUBECONFIG={kubeconfig} GODEL_STATE={state}
  alias kubectl={kubectl}
  kubectl apply -f examples/kubernetes.yaml     # a Deployment and a gang for our scheduler
  kubectl get pods -o wide
  kubectl get podgroups
  .venv/bin/godel get

Ctrl-C ends it.
"""


def serve(folder: Path, nodes: int) -> None:
    """Bring everything up and stay until a signal, or until a program ends (processes.Ended)."""
    found = programs()
    start = time.monotonic()
    with ControlPlane(folder, found) as cluster, ExitStack() as stack:
        cluster.start(*EXTRAS)
        add_nodes(cluster.admin, nodes)
        cluster.processes.until(
            KWOK, lambda: len(ready_nodes(cluster.admin)) == nodes, READY_SECONDS
        )
        services = as_shipped(cluster)
        stack.callback(services.remove)
        services.start()
        asyncio.run(services.serving())
        kubeconfig = shutil.copy(cluster.kubeconfig, folder / "kubeconfig")
        said = {"nodes": nodes, "folder": folder, "kubectl": found["kubectl"]}
        said["state"] = services.state
        seconds = time.monotonic() - start
        print(USAGE.format(**said, kubeconfig=kubeconfig, seconds=seconds), flush=True)
        while True:
            cluster.processes.check()
            for service in SERVICES:
                if services.has_ended(service):
                    raise Ended(f"{service} has ended:\n{services.log(service)[-2000:]}")
            time.sleep(CHECK_SECONDS)


def main() -> int:
    """Run one cluster per clone; 1 when it cannot be started or a program of it ends."""
    options = argparse.ArgumentParser(prog="tests.controlplane", description=__doc__)
    options.add_argument("--nodes", type=int, default=NODES_DEFAULT)
    options.add_argument("--folder", type=Path, default=FOLDER)
    chosen = options.parse_args()
    folder: Path = chosen.folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # In the background of a script it is born ignoring SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"a cluster runs already in {folder}", file=sys.stderr)
            return 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            serve(folder, chosen.nodes)
        except (BuildFailed, Ended) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
