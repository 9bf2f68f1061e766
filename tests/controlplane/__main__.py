"""`make cluster`: a control plane with KWOK nodes in the foreground, until Ctrl-C.

The API server is real and so are kube-scheduler and the controllers; nodes and what runs on them
are simulated by KWOK. Nothing is kept from one run to the next.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.controlplane.build import BuildFailed, programs
from tests.controlplane.cluster import EXTRAS, KWOK, ControlPlane
from tests.controlplane.install import install
from tests.controlplane.nodes import add_nodes, ready_nodes
from tests.controlplane.processes import Ended

FOLDER = Path(__file__).resolve().parent.parent.parent / "build" / "cluster"
NODES_DEFAULT = 10
READY_SECONDS = 120.0
CHECK_SECONDS = 1.0

USAGE = """
{nodes} nodes, ready in {seconds:.0f} s; logs in {folder}

  export KUBECONFIG={kubeconfig}
  {kubectl} get nodes
  {kubectl} create deployment web --image=web --replicas=20
  {kubectl} get pods -o wide

Ctrl-C ends it.
"""


def serve(folder: Path, nodes: int) -> None:
    """Bring everything up and stay until a signal, or until a program ends (processes.Ended)."""
    found = programs()
    start = time.monotonic()
    with ControlPlane(folder, found) as cluster:
        cluster.start(*EXTRAS)
        install(cluster)
        add_nodes(cluster.admin, nodes)
        cluster.processes.until(
            KWOK, lambda: len(ready_nodes(cluster.admin)) == nodes, READY_SECONDS
        )
        kubeconfig = shutil.copy(cluster.kubeconfig, folder / "kubeconfig")
        said = {"nodes": nodes, "folder": folder, "kubectl": found["kubectl"]}
        seconds = time.monotonic() - start
        print(USAGE.format(**said, kubeconfig=kubeconfig, seconds=seconds), flush=True)
        while True:
            cluster.processes.check()
            time.sleep(CHECK_SECONDS)


def main() -> int:
    """Run one cluster per clone; 1 when it cannot be started or a program of it ends."""
    options = argparse.ArgumentParser(prog="tests.controlplane", description=__doc__)
    options.add_argument("--nodes", type=int, default=NODES_DEFAULT)
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"a cluster runs already in {FOLDER}", file=sys.stderr)
            return 1
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(mode=0o700)
        try:
            serve(FOLDER, chosen.nodes)
        except (BuildFailed, Ended) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
