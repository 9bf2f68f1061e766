"""A process that wins a Lease, says so on stdout, and holds it until it is killed.

Run as `python -m tests.integration.kubernetes.lease_holder KUBECONFIG NAMESPACE IDENTITY`.
"""

from __future__ import annotations

import asyncio
import sys

from runtime.clock import Clock
from runtime.kubernetes.access import Access
from runtime.kubernetes.api import Api
from runtime.kubernetes.lease import LEASE_NAME, Lease
from runtime.log import Log


async def hold(kubeconfig: str, namespace: str, identity: str) -> None:
    """Win once and hold while it lasts."""
    api = Api(Access(kubeconfig))
    await api.open()
    lease = Lease(api, namespace, LEASE_NAME, identity, Clock(), Log(identity))
    print(await lease.acquire(), flush=True)
    await lease.hold()


if __name__ == "__main__":
    asyncio.run(hold(*sys.argv[1:]))
