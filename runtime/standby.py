"""What a process answers that could lead but does not: UNAVAILABLE, and who leads.

A `Listener` that is started with a refusal has this in the place of its services.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import grpc

from cell.reasons import Refusal, Status
from runtime.grpc_status import CallRefused

RETRY_AFTER_MS = 500


class Standby(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Refuses every call of the services; `refusal` says who leads, and where."""

    def __init__(self, services: Sequence[str], refusal: Callable[[], str]) -> None:
        self._services = frozenset(services)
        self._refusal = refusal

    def service(self, handler_call_details: Any) -> Any:
        """See gRPC. Whatever a method takes, a call of streams is the same on the wire."""
        if handler_call_details.method.split("/")[1] not in self._services:
            return None
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, _requests: Any, _context: Any) -> NoReturn:
        raise CallRefused(Refusal(Status.UNAVAILABLE, "", self._refusal(), RETRY_AFTER_MS))
