"""One control plane on loopback: etcd and the API server, and on request whoever uses them.

Owned by a fixture or by `make cluster`. It has ports and a folder of its own, TLS and RBAC are on,
and only the fixture is cluster-admin. The API server may be killed and started again on the same
ports and data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from tests.controlplane import commands
from tests.controlplane.api import Api
from tests.controlplane.certificates import Authority, service_account_keys, write
from tests.controlplane.commands import Certificates, Layout
from tests.controlplane.identities import ADMIN, ADMIN_GROUP, RBAC_PATH, Identities
from tests.controlplane.ports import free_ports
from tests.controlplane.processes import Processes

API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
KWOK = "kwok"
EXTRAS = (CONTROLLER_MANAGER, SCHEDULER, KWOK)
"""What may be started beside etcd and the API server."""

KWOK_ROLE = commands.STAGES.with_name("role.yaml")
READY_SECONDS = 90.0
"""The API server takes about 5 s alone, several times that on a machine whose cores are taken."""


class ControlPlane:
    """Programs in a folder that exists and is empty; nothing runs before `start`."""

    def __init__(
        self, folder: Path, programs: Mapping[str, Path], *, api_flags: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.layout = Layout(folder, programs, *free_ports(3))
        self.processes = Processes(folder)
        authority = Authority()
        self.identities = Identities(folder / "users", self.layout.api_address, authority)
        self._files = _certificates(folder, authority, self.identities.authority_file)
        self._api_flags = tuple(api_flags)
        self._extras: frozenset[str] = frozenset()
        self.kubeconfig = self.identities.certificate(ADMIN, (ADMIN_GROUP,))
        self.admin = Api(self.kubeconfig)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *extras: str) -> None:
        """Start etcd, the API server and these of EXTRAS. Raises processes.Ended."""
        assert set(extras) <= set(EXTRAS), extras
        self._extras = frozenset(extras)
        self.processes.start("etcd", commands.etcd(self.layout))
        self.start_api_server()
        if CONTROLLER_MANAGER in extras:
            kubeconfig = self.identities.certificate(f"system:{CONTROLLER_MANAGER}")
            command = commands.controllers(self.layout, kubeconfig, self._files)
            self.processes.start(CONTROLLER_MANAGER, command)
        if SCHEDULER in extras:
            kubeconfig = self.identities.certificate(f"system:{SCHEDULER}")
            self.processes.start(SCHEDULER, commands.scheduler(self.layout, kubeconfig))
        if KWOK in extras:
            role = yaml.safe_load(KWOK_ROLE.read_text(encoding="utf-8"))
            self.admin.create(f"{RBAC_PATH}/clusterroles", role)
            kubeconfig = self.user(KWOK, role["metadata"]["name"])
            self.processes.start(KWOK, commands.kwok(self.layout, kubeconfig))
        self.processes.check()

    def start_api_server(self) -> None:
        """Start the API server, also after `kill_api_server`, and wait until it is ready."""
        command = commands.api_server(
            self.layout,
            self._files,
            is_controlled=CONTROLLER_MANAGER in self._extras,
            flags=self._api_flags,
        )
        self.processes.start(API_SERVER, command)
        self.processes.until(API_SERVER, self.admin.is_ready, READY_SECONDS)

    def kill_api_server(self) -> None:
        """`kill -9`: its data stays in etcd."""
        self.processes.kill(API_SERVER)

    def user(self, name: str, *cluster_roles: str) -> Path:
        """A kubeconfig for a user bound to these ClusterRoles and nothing else."""
        return self.identities.user(self.admin, name, *cluster_roles)

    def service_account(self, namespace: str, name: str, *cluster_roles: str) -> Path:
        """A kubeconfig for a new ServiceAccount bound to these ClusterRoles and nothing else."""
        return self.identities.service_account(self.admin, namespace, name, *cluster_roles)

    def stop(self) -> None:
        """Kill what runs; the folder stays."""
        self.admin.close()
        self.processes.kill_all()


def _certificates(folder: Path, authority: Authority, authority_file: Path) -> Certificates:
    served = authority.server(API_SERVER, ("localhost", "kubernetes.default.svc"))
    token_key, token_public = service_account_keys(folder)
    return Certificates(
        authority=authority_file,
        certificate=write(folder / "apiserver.pem", served.certificate),
        key=write(folder / "apiserver.key", served.key),
        token_key=token_key,
        token_public=token_public,
    )
