"""Refusals as gRPC statuses, and refused items as messages."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from cell.reasons import Refusal

CODES = {code.value[0]: code for code in grpc.StatusCode}
RETRY_KEY = "retry-after-ms"
"""Trailing metadata: when to try again."""


async def abort(context: Any, refusal: Refusal) -> NoReturn:
    """End a call with what was refused."""
    named = f"{refusal.field}: {refusal.reason}" if refusal.field else refusal.reason
    trailing = ((RETRY_KEY, str(refusal.retry_after_ms)),) if refusal.retry_after_ms else ()
    await context.abort(CODES[int(refusal.status)], named, trailing)
    raise AssertionError("abort raises")
