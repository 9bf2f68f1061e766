"""Where the API server is and who we are to it, from a kubeconfig or from within a pod.

`kubernetes.aio` reads the formats and their plug-ins. `Api` asks for the headers of each request,
and has everything read again when the server does not know us any more: credentials rotate.
"""

from __future__ import annotations

import inspect
import os
import ssl
from importlib import import_module
from pathlib import Path
from typing import Any

TOKEN = "BearerToken"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
"""Where a pod finds its own token."""


NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
NAMESPACE_OUTSIDE = "default"


class NoAccess(Exception):
    """There are no credentials, or they cannot be used."""


class Access:
    """Credentials for one API server. `load` first, and again whenever they may have changed."""

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._configuration: Any = None
        self.base = ""
        """URL of the server, without a slash at its end."""
        self.tls: ssl.SSLContext | bool = True
        """How the server is verified and we to it; a new one after each `load`."""

    async def load(self) -> None:
        """Read the credentials: the kubeconfig that was named, or $KUBECONFIG, or those of the pod
        we are in, or ~/.kube/config. Raises NoAccess."""
        # Here, because these take half a second to load.
        config: Any = import_module("kubernetes.aio.config")
        made = import_module("kubernetes.aio.client").Configuration()
        try:
            if not self._kubeconfig and _is_in_pod():
                config.load_incluster_config(client_configuration=made)
            else:
                await config.load_kube_config(
                    config_file=self._kubeconfig or None,
                    context=self._context or None,
                    client_configuration=made,
                    persist_config=False,
                )
            self.tls = _tls(made)
        except (config.ConfigException, OSError, ValueError) as error:
            raise NoAccess(f"no credentials for an API server: {error}") from error
        self._configuration = made
        self.base = made.host.rstrip("/")

    async def headers(self) -> dict[str, str]:
        """What every request carries; a token that is old is read again by its hook."""
        hook = self._configuration.refresh_api_key_hook
        if hook is not None:
            renewed = hook(self._configuration)
            if inspect.isawaitable(renewed):
                await renewed
        token = self._configuration.api_key.get(TOKEN)
        return {"Authorization": _bearer(token)} if token else {}


def own_namespace() -> str:
    """The namespace of the pod we are in, if we are."""
    try:
        return Path(NAMESPACE).read_text(encoding="utf-8").strip() or NAMESPACE_OUTSIDE
    except OSError:
        return NAMESPACE_OUTSIDE


def _is_in_pod() -> bool:
    return not os.environ.get("KUBECONFIG") and os.path.exists(ACCOUNT)


def _bearer(token: str) -> str:
    return token if token.lower().startswith("bearer ") else f"Bearer {token}"


def _tls(configuration: Any) -> ssl.SSLContext | bool:
    """The server's authority and our certificate; of no meaning for plain HTTP."""
    if not configuration.host.startswith("https:"):
        return True
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
