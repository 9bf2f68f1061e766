"""Who may talk to a control plane, each with a kubeconfig of its own.

Owned by `cluster`. The fixture alone is cluster-admin; whoever else asks gets exactly the
ClusterRoles named for it, as a user (a client certificate) or as a ServiceAccount (a token).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.controlplane.api import Api, Document
from tests.controlplane.certificates import Authority, write

ADMIN = "godel-test-admin"
ADMIN_GROUP = "system:masters"
RBAC = "rbac.authorization.k8s.io"
RBAC_PATH = f"/apis/{RBAC}/v1"
TOKEN_SECONDS = 24 * 3600


class Identities:
    """Writes kubeconfigs below `folder` for the API server at `address`."""

    def __init__(self, folder: Path, address: str, authority: Authority) -> None:
        self._folder = folder
        self._address = address
        self._authority = authority
        folder.mkdir(mode=0o700)
        self.authority_file = write(folder / "ca.pem", authority.certificate)

    def certificate(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a user of groups; what they may do is bound elsewhere."""
        folder = self._own_folder(user)
        pair = self._authority.client(user, groups)
        files = {
            "client-certificate": str(write(folder / "client.pem", pair.certificate)),
            "client-key": str(write(folder / "client.key", pair.key)),
        }
        return self._write(folder, user, files)

    def user(self, admin: Api, name: str, *cluster_roles: str) -> Path:
        """A kubeconfig for a user bound to these ClusterRoles and nothing else."""
        subject = {"kind": "User", "name": name, "apiGroup": RBAC}
        _bind(admin, name, subject, cluster_roles)
        return self.certificate(name)

    def service_account(self, admin: Api, namespace: str, name: str, *cluster_roles: str) -> Path:
        """A kubeconfig for a new ServiceAccount bound to these ClusterRoles and nothing else."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        admin.create(path, {"metadata": {"name": name}})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        _bind(admin, f"{namespace}.{name}", subject, cluster_roles)
        return self.token(admin, namespace, name)

    def token(self, admin: Api, namespace: str, name: str) -> Path:
        """A kubeconfig for a ServiceAccount that is there."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        user = f"{namespace}.{name}"
        request = {"spec": {"expirationSeconds": TOKEN_SECONDS}}
        token = admin.create(f"{path}/{name}/token", request)["status"]["token"]
        folder = self._own_folder(user)
        return self._write(
            folder, user, {"tokenFile": str(write(folder / "token", token.encode()))}
        )

    def _own_folder(self, user: str) -> Path:
        folder = self._folder / user.replace(":", ".")
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _write(self, folder: Path, user: str, credentials: dict[str, str]) -> Path:
        server = {"server": self._address, "certificate-authority": str(self.authority_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "godel-test", "cluster": server}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": user, "context": {"cluster": "godel-test", "user": user}}],
            "current-context": user,
        }
        return write(folder / "kubeconfig", yaml.safe_dump(config).encode())


def _bind(admin: Api, name: str, subject: Document, cluster_roles: Sequence[str]) -> None:
    for role in cluster_roles:
        admin.create(
            f"{RBAC_PATH}/clusterrolebindings",
            {
                "metadata": {"name": f"{name}:{role}"},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
                "subjects": [subject],
            },
        )
