"""How each program of a control plane is started: its flags, on loopback, with folders of its own.

Pure, apart from the files that a flag names and that are written here. Called by `cluster`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.controlplane.certificates import LOOPBACK, write

STAGES = Path(__file__).with_name("kwok") / "stages.yaml"
ETCD_QUOTA_BYTES = 8 << 30
SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.244.0.0/16"
CLIENT_QPS = 1000
CLIENT_BURST = 2000
"""Of the control plane's own clients, whose defaults would be what a test measures."""
LEASE_SECONDS = 200
NODE_GRACE_SECONDS = 600
"""A node is not declared lost because the machine of the test is busy."""


@dataclass(frozen=True)
class Layout:
    """Where a control plane lives: its folder, its ports, and its programs by name."""

    folder: Path
    programs: Mapping[str, Path]
    api_port: int
    etcd_port: int
    peer_port: int

    @property
    def api_address(self) -> str:
        """Where the API server listens."""
        return f"https://{LOOPBACK}:{self.api_port}"

    @property
    def etcd_address(self) -> str:
        """Where etcd listens for the API server."""
        return f"http://{LOOPBACK}:{self.etcd_port}"


@dataclass(frozen=True)
class Certificates:
    """The files that the API server serves and verifies with."""

    authority: Path
    certificate: Path
    key: Path
    token_key: Path
    token_public: Path


def etcd(layout: Layout) -> list[str]:
    """A store that survives `kill -9`, but not the machine: it never waits for the disk."""
    peer = f"http://{LOOPBACK}:{layout.peer_port}"
    return [
        str(layout.programs["etcd"]),
        f"--data-dir={layout.folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--quota-backend-bytes={ETCD_QUOTA_BYTES}",
        f"--listen-client-urls={layout.etcd_address}",
        f"--advertise-client-urls={layout.etcd_address}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def api_server(
    layout: Layout, files: Certificates, *, is_controlled: bool, flags: Sequence[str]
) -> list[str]:
    """TLS and RBAC are on; without a controller manager what waits for one is off."""
    needs_controllers = "ServiceAccount,TaintNodesByCondition"
    return [
        str(layout.programs["kube-apiserver"]),
        f"--etcd-servers={layout.etcd_address}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.api_port}",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={files.certificate}",
        f"--tls-private-key-file={files.key}",
        f"--client-ca-file={files.authority}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files.token_public}",
        f"--service-account-signing-key-file={files.token_key}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=RBAC",
        *([] if is_controlled else [f"--disable-admission-plugins={needs_controllers}"]),
        *flags,
    ]


def controllers(layout: Layout, kubeconfig: Path, files: Certificates) -> list[str]:
    """All default controllers, each as its own ServiceAccount."""
    return [
        str(layout.programs["kube-controller-manager"]),
        f"--kubeconfig={kubeconfig}",
        "--secure-port=0",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--root-ca-file={files.authority}",
        f"--service-account-private-key-file={files.token_key}",
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
        f"--kube-api-qps={CLIENT_QPS}",
        f"--kube-api-burst={CLIENT_BURST}",
    ]


def scheduler(layout: Layout, kubeconfig: Path) -> list[str]:
    """kube-scheduler with its default profile."""
    client = {"kubeconfig": str(kubeconfig), "qps": CLIENT_QPS, "burst": CLIENT_BURST}
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": client,
        "leaderElection": {"leaderElect": False},
    }
    path = write(layout.folder / "kube-scheduler.yaml", yaml.safe_dump(config).encode())
    return [str(layout.programs["kube-scheduler"]), f"--config={path}", "--secure-port=0"]


def kwok(layout: Layout, kubeconfig: Path) -> list[str]:
    """The kubelet of every node, with our stages."""
    return [
        str(layout.programs["kwok"]),
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        "--manage-all-nodes",
        f"--cidr={POD_RANGE}",
        f"--node-lease-duration-seconds={LEASE_SECONDS}",
    ]
