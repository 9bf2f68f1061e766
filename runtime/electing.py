"""Serving where one of several processes leads: stand by, lead for a term, stand by again.

Used by `serving`. What must hold: a core is built for one term and is let go with it; whoever calls
meanwhile is told who leads; what was won is given up only when all that wrote under it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runtime.clock import Clock
from runtime.config import ServiceConfig
from runtime.log import Log
from runtime.loop import Core, Shell
from runtime.service import Election, Service

S = TypeVar("S", bound=ServiceConfig)
Ended = asyncio.Future[str]
ServeCore = Callable[[Service[S], S, Shell, Ended], Awaitable[None]]


async def serve_elected(
    service: Service[S],
    settings: S,
    core: Core,
    clock: Clock,
    log: Log,
    election: Election,
    ended: Ended,
    serve_core: ServeCore[S],
) -> None:
    """Stand by and lead by turns until `ended`; `core` is the standby's, never asked anything."""
    try:
        while not ended.done():
            term = await _stand_by(service, settings, Shell(core, clock, log), election, ended)
            if term is None:
                break
            shell = Shell(service.make_core(settings, term), clock, log)
            election.attach(shell)
            log.say("leading", term=term)
            try:
                over = _over(election, ended)
                await serve_core(service, settings, shell, over)
            finally:
                shell.close()
    finally:
        await election.close()


async def _stand_by(
    service: Service[S], settings: S, shell: Shell, election: Election, ended: Ended
) -> int | None:
    """Refuse all until the election is won; None when the end came before."""
    listeners = service.wire(shell, settings).listeners
    winning = asyncio.ensure_future(election.won())
    try:
        for listener in listeners:
            await listener.start(election.refusal)
            await listener.set_health(True, is_standby=True)
        shell.log.say("standing by")
        await asyncio.wait((winning, ended), return_when=asyncio.FIRST_COMPLETED)
        return winning.result() if winning.done() and not ended.done() else None
    finally:
        winning.cancel()
        await asyncio.gather(*[listener.stop() for listener in listeners])


def _over(election: Election, ended: Ended) -> Ended:
    """Why a term is over, once it is."""
    over: Ended = asyncio.get_running_loop().create_future()
    losing = asyncio.ensure_future(election.lost())

    def lose(losing: asyncio.Future[None]) -> None:
        if losing.cancelled() or over.done():
            return
        error = losing.exception()
        if error is None:
            over.set_result("the term is over")
        else:
            over.set_exception(error)

    def end(ended: Ended) -> None:
        losing.cancel()
        if not over.done():
            over.set_result(ended.result())

    losing.add_done_callback(lose)
    ended.add_done_callback(end)
    over.add_done_callback(lambda _: ended.remove_done_callback(end))
    return over
