"""Refusals as gRPC statuses, for all services alike.

Whatever serves a call raises `CallRefused` to end it; `Statuses`, which every `Listener` has, makes
it the call's status. So does it with a request that cannot be decoded, for which gRPC itself would
say UNKNOWN.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from cell.reasons import Refusal, Status

CODES = {code.value[0]: code for code in grpc.StatusCode}
RETRY_KEY = "retry-after-ms"
"""Trailing metadata: when to try again."""
MALFORMED = Refusal(Status.INVALID_ARGUMENT, "", "the message is not what this method takes")
Admit = Callable[[Any], Awaitable[None]]
_METHODS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether requests and replies are streams."""


class CallRefused(Exception):
    """Ends a call; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Exhausted(CallRefused):
    """Ends a call that goes over a limit."""

    def __init__(self, reason: str) -> None:
        super().__init__(Refusal(Status.RESOURCE_EXHAUSTED, "", reason))


async def abort(context: Any, refusal: Refusal) -> NoReturn:
    """End a call with what was refused."""
    named = f"{refusal.field}: {refusal.reason}" if refusal.field else refusal.reason
    trailing = ((RETRY_KEY, str(refusal.retry_after_ms)),) if refusal.retry_after_ms else ()
    await context.abort(CODES[int(refusal.status)], named, trailing)
    raise AssertionError("abort raises")


async def _anybody(context: Any) -> None:
    """Admit whoever calls."""


class Statuses(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """See the module. `admit` sees each call first and may abort it."""

    def __init__(self, admit: Admit = _anybody) -> None:
        self._admit = admit

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The method, which ends its calls with statuses."""
        method = await continuation(handler_call_details)
        return None if method is None else _with_statuses(method, self._admit)


def _with_statuses(method: Any, admit: Admit) -> Any:
    serve = method.unary_unary or method.unary_stream or method.stream_unary or method.stream_stream
    # The requests of a stream are decoded where they are read, a single one here.
    reads, decode = method.request_streaming, method.request_deserializer

    async def replies(request: Any, context: Any) -> AsyncIterator[Any]:
        await admit(context)
        try:
            async with aclosing(serve(request if reads else decode(request), context)) as made:
                async for reply in made:
                    yield reply
        except (CallRefused, DecodeError) as error:
            await abort(context, error.refusal if isinstance(error, CallRefused) else MALFORMED)

    async def answer(request: Any, context: Any) -> Any:
        await admit(context)
        try:
            return await serve(request if reads else decode(request), context)
        except (CallRefused, DecodeError) as error:
            await abort(context, error.refusal if isinstance(error, CallRefused) else MALFORMED)

    return _METHODS[method.request_streaming, method.response_streaming](
        replies if inspect.isasyncgenfunction(serve) else answer,
        request_deserializer=decode if reads else None,
        response_serializer=method.response_serializer,
    )
