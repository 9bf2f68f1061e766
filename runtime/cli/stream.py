"""A server's stream read by a thread, so that the reader can wait with a time-out."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import click
import grpc

from runtime.cli.exits import UNREACHABLE, Stop

REPLIES_MAX = 1000
"""Replies read ahead; then the server notices that we are slow."""
POLL_SECONDS = 0.5
"""How soon Ctrl-C is noticed."""


class Stream:
    """Replies of a stream. One that fell behind (RESOURCE_EXHAUSTED) begins anew with what is
    there; any other error is raised."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin
        self._open()

    def _open(self) -> None:
        self._call = self._begin()
        self._replies: queue.Queue[Any] = queue.Queue(REPLIES_MAX)
        threading.Thread(target=_read, args=(self._call, self._replies), daemon=True).start()

    def next(self, deadline: float | None) -> Any:
        """The next reply; None when the deadline (monotonic) has passed. Raises grpc.RpcError."""
        while True:
            left = POLL_SECONDS if deadline is None else deadline - time.monotonic()
            try:
                reply = self._replies.get(timeout=min(max(left, 0.0), POLL_SECONDS))
            except queue.Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    return None
                continue
            if reply is None:
                raise Stop(UNREACHABLE, "the stream has ended")
            if not isinstance(reply, grpc.RpcError):
                return reply
            self._restart_or_raise(reply)

    def _restart_or_raise(self, error: Any) -> None:
        if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise error
        click.echo("godel: fell behind, beginning anew with what is there", err=True)
        self._open()


def _read(call: Any, replies: queue.Queue[Any]) -> None:
    try:
        for reply in call:
            replies.put(reply)
    except grpc.RpcError as error:
        replies.put(error)
    else:
        replies.put(None)
