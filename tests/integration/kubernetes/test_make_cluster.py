"""`make cluster` as a newcomer sees it: what it prints is typed, and everything runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.controlplane.build import programs
from tests.controlplane.install import kubectl
from tests.waiting import until_blocking

ROOT = Path(__file__).resolve().parent.parent.parent.parent
NODES = 4
PODS = 23
EXIT_SECONDS = 60.0


def test_example_ends_in_running_pods(tmp_path: Path) -> None:
    programs()
    folder = tmp_path / "cluster"
    log = (tmp_path / "log").open("w+")
    command = [sys.executable, "-m", "tests.controlplane", "--nodes", str(NODES)]
    running = subprocess.Popen([*command, "--folder", str(folder)], stdout=log, stderr=log)
    try:
        kubeconfig = folder / "kubeconfig"

        def is_ready() -> bool:
            assert running.poll() is None, (tmp_path / "log").read_text()
            return "Ctrl-C ends it" in (tmp_path / "log").read_text()

        until_blocking("the cluster is ready", is_ready)
        said = (tmp_path / "log").read_text()
        assert f"{NODES} nodes, ready in" in said
        state = said.split("GODEL_STATE=", 1)[1].split("\n", 1)[0]
        kubectl(kubeconfig, "apply", "-f", str(ROOT / "examples" / "kubernetes.yaml"))
        phase = "--field-selector=status.phase!=Pending"
        until_blocking(
            "all pods run, or have run",
            lambda: len(kubectl(kubeconfig, "get", "pods", phase, "-o", "name").split()) == PODS,
        )
        until_blocking(
            "the gang is scheduled",
            lambda: "Scheduled" in kubectl(kubeconfig, "get", "podgroups", "training"),
        )
        godel = str(Path(sys.executable).with_name("godel"))
        shown = subprocess.run(
            [godel, "--state", state, "get"], capture_output=True, text=True, check=True
        )
        assert shown.stdout.count("default/web-") == PODS - 3
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(EXIT_SECONDS) == 0, (tmp_path / "log").read_text()
        log.close()
