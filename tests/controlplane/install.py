"""Installs what deploy/ has before its workloads: namespace, CRDs, accounts and their roles.

Used by tests and by `make cluster`; idempotent. `account` gives the kubeconfig of a ServiceAccount
that deploy/ ships, so that a service under test may do what it may do in production and no more.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

from tests.controlplane.api import Api, Refused
from tests.controlplane.build import programs
from tests.controlplane.cluster import ControlPlane
from tests.waiting import until_blocking

BASE = Path(__file__).resolve().parent.parent.parent / "deploy" / "base"
NAMESPACE = "godel-system"
KINDS = (
    "/apis/godel.dev/v1/placementrequests",
    "/apis/scheduling.godel.kubewharf.io/v1alpha1/podgroups",
)
SERVED_SECONDS_MAX = 30.0
COMMAND_SECONDS_MAX = 120.0


def install(cluster: ControlPlane) -> None:
    """Apply it, and wait until our kinds are served."""
    apply(cluster, "-f", str(BASE / "namespace.yaml"))
    apply(cluster, "-k", str(BASE / "crds"))
    for name in ("accounts", "roles"):
        apply(cluster, "-n", NAMESPACE, "-f", str(BASE / f"{name}.yaml"))
    for path in KINDS:
        is_there = partial(is_served, cluster.admin, path)
        until_blocking(f"{path} is served", is_there, SERVED_SECONDS_MAX)


def account(cluster: ControlPlane, name: str) -> Path:
    """The kubeconfig of a ServiceAccount that `install` made, as `godel-binder`."""
    return cluster.identities.token(cluster.admin, NAMESPACE, name)


def is_served(api: Api, path: str) -> bool:
    """Whether the API server knows a collection."""
    try:
        api.get(path)
    except Refused:
        return False
    return True


def apply(cluster: ControlPlane, *arguments: str, sent: str = "") -> list[str]:
    """Apply with every field checked; a line per object."""
    flags = ("apply", "--server-side", "--validate=strict")
    return kubectl(cluster.kubeconfig, *flags, *arguments, sent=sent).splitlines()


def kubectl(kubeconfig: Path, *arguments: str, sent: str = "") -> str:
    """What kubectl says. Raises AssertionError with its complaint."""
    ran = subprocess.run(
        [str(programs()["kubectl"]), f"--kubeconfig={kubeconfig}", *arguments],
        input=sent,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
