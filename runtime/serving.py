"""One way to run a core: take the state, restore, warm the kernels, serve, end.

Called by `Service.run`. What must hold: no core is asked before its records are restored; health
says SERVING only while kernels are warm and records can be written; SIGTERM and SIGINT end with
exit code 0 and all that was acknowledged on disk; a second process on the same state is refused
before it touches anything.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from cell.columns import BadTable
from runtime.clock import Clock
from runtime.config import BadConfig, ServiceConfig
from runtime.electing import serve_elected
from runtime.log import Log
from runtime.loop import Core, Shell
from runtime.servers import BadListener, Listener, check_address
from runtime.service import BAD_CONFIG_STATUS, BROKEN_STATE_STATUS, IN_USE_STATUS, Service
from runtime.store import Lock, Store, StoreInUse, private_directory

S = TypeVar("S", bound=ServiceConfig)


class BrokenState(Exception):
    """The state directory or a store cannot be used."""


def run(service: Service[S], settings: S) -> int:
    """Run until a signal ends it; returns the exit code. What an operator can cause is one line."""
    try:
        _run(service, settings)
    except Exception as error:
        status = _status_of(error)
        if not status:
            raise
        print(f"error: {error}", file=sys.stderr)
        return status
    return 0


def _status_of(error: Exception) -> int:
    """The exit code of what an operator can cause; 0 for a bug."""
    match error:
        case BadConfig() | BadListener():
            return BAD_CONFIG_STATUS
        case StoreInUse():
            return IN_USE_STATUS
        case BrokenState():
            return BROKEN_STATE_STATUS
    return 0


def _run(service: Service[S], settings: S) -> None:
    """Take the state, restore the core, warm the kernels, and serve."""
    check_address(settings.client_address, settings.tls.client, "tls.client")
    check_address(settings.link_address, settings.tls.link, "tls.link")
    log, clock = Log(settings.name), Clock()
    owner = _take_state(service, settings)
    try:
        store = None if isinstance(owner, Lock) else owner
        core = service.make_core(settings, store.term if store else 0)
        if store is not None:
            log.say("restored", term=store.term, records=_restore(core, store, service.decoder()))
        started_us = clock.now_us()
        service.warm()
        log.say("kernels are warm", ms=(clock.now_us() - started_us) // 1000)
        gc.collect()
        gc.freeze()
        uvloop.run(_serve(service, settings, core, clock, log, store))
    finally:
        owner.close()
    log.say("ended")


def _take_state(service: Service[S], settings: S) -> Store | Lock:
    """The store, or for a service without one the lock that stands for it."""
    try:
        state = private_directory(Path(settings.state).absolute())
        if service.is_stored(settings):
            return Store(state / f"{settings.name}.db")
        return Lock(state / f"{settings.name}.lock")
    except (OSError, sqlite3.Error) as error:
        raise BrokenState(f"{settings.state}: {error}") from error


def _restore(core: Any, store: Store, decoder: msgspec.msgpack.Decoder[Any]) -> int:
    """Give the core its records; returns how many."""
    count = 0

    def decoded() -> Iterator[Any]:
        nonlocal count
        for blob in store.records():
            count += 1
            yield decoder.decode(blob)

    try:
        core.restore(decoded())
    except (sqlite3.Error, msgspec.MsgspecError, BadTable) as error:
        raise BrokenState(f"record {count}: {error}") from error
    return count


async def _serve(
    service: Service[S], settings: S, core: Core, clock: Clock, log: Log, store: Store | None
) -> None:
    """Serve, or stand by where another process leads, until a signal comes."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, ended, number.name)
    election = service.election(settings, clock, log)
    if election is None:
        await _serve_core(service, settings, Shell(core, clock, log, store), ended)
    else:
        await serve_elected(service, settings, core, clock, log, election, ended, _serve_core)


async def _serve_core(
    service: Service[S], settings: S, shell: Shell, ended: asyncio.Future[str]
) -> None:
    """Listen and dial for a core until the future says why it ends."""
    log = shell.log
    wiring = service.wire(shell, settings)
    for listener in wiring.listeners:
        await listener.start()
        log.say("listening", address=listener.address)
    tasks = [asyncio.ensure_future(task.run()) for task in wiring.tasks]
    for task in tasks:
        task.add_done_callback(lambda task: _fail(ended, task))
    health = Health(wiring.listeners)
    shell.on_health = health.set
    health.set(not shell.store_fault)
    log.say("serving")
    try:
        log.say("ending", why=await ended)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*[listener.stop() for listener in wiring.listeners])


class Health:
    """Tells all listeners' health services, in the order of `set`."""

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self._listeners = listeners
        self._last: asyncio.Task[None] | None = None

    def set(self, is_well: bool) -> None:
        """Say from now on that the service is well, or not."""
        self._last = asyncio.ensure_future(self._tell(is_well, self._last))

    async def _tell(self, is_well: bool, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        for listener in self._listeners:
            await listener.set_health(is_well)


def _end(ended: asyncio.Future[str], why: str) -> None:
    if not ended.done():
        ended.set_result(why)


def _fail(ended: asyncio.Future[str], task: asyncio.Future[None]) -> None:
    """A dialer that was not cancelled has a bug."""
    if not task.cancelled() and not ended.done():
        ended.set_exception(task.exception() or RuntimeError("a dialer returned"))
