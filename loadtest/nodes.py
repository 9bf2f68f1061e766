"""The node simulator: `python -m loadtest.nodes --state DIR --nodes N|FILE`.

Registers its nodes through the Cluster API, then follows Watch and Reports through the public API
what becomes of the replicas bound to them; `lives` says what and when. It keeps nothing: after a
cut it begins anew with a snapshot, and reports are repeated until they are answered. Its health
(nodes.sock) is serving while its nodes are registered and it follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import click
import grpc

from godel.v1 import placement_pb2, types_pb2
from loadtest.cluster import ClusterClient, NodeRefused
from loadtest.lives import Delays, Due, Lives, packed_reports
from loadtest.node_files import BadNodes, nodes_of
from runtime.config import client_address
from runtime.log import Log
from runtime.placement_client import PlacementClient
from runtime.servers import Listener

REPORT_ITEMS_MAX = 4000
REPORT_SECONDS = 0.05
"""Between messages, so that reports share them; a report is never urgent."""
RETRY_SECONDS_MIN = 0.05
RETRY_SECONDS_MAX = 1.0
RUN_SPREAD = 0.5
"""Run times are uniform within this share of the mean, to either side."""


class Simulator:
    """Follows and reports until cancelled."""

    def __init__(
        self, client: PlacementClient, lives: Lives, log: Log, listener: Listener | None
    ) -> None:
        self._client = client
        self._lives = lives
        self._log = log
        self._listener = listener
        self._is_owing = asyncio.Event()
        self._refused = 0

    async def run(self) -> None:
        """Never returns."""
        await asyncio.gather(self._follow(), self._report())

    async def _follow(self) -> None:
        wait = RETRY_SECONDS_MIN
        while True:
            self._lives.forget_all()
            try:
                async for reply in self._client.watch(is_packed=True):
                    self._lives.apply(reply, time.monotonic())
                    self._is_owing.set()
                    if reply.is_snapshot_end:
                        wait = RETRY_SECONDS_MIN
                        await self._set_health(True)
                        self._log.say("following", replicas=len(self._lives))
                why = "ended by the dispatcher"
            except grpc.aio.AioRpcError as error:
                why = f"{error.code().name}: {error.details()}"
            await self._set_health(False)
            self._log.say("watch cut off, begins anew", why=why, wait_s=wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, RETRY_SECONDS_MAX)

    async def _set_health(self, is_well: bool) -> None:
        if self._listener is not None:
            await self._listener.set_health(is_well)

    async def _report(self) -> None:
        while True:
            next_s = self._lives.next_s
            wait = None if next_s is None else max(0.0, next_s - time.monotonic())
            if wait != 0.0:
                self._is_owing.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._is_owing.wait(), wait)
                continue
            due = self._lives.take_due(time.monotonic(), REPORT_ITEMS_MAX)
            if due:
                await self._send(due)
                await asyncio.sleep(REPORT_SECONDS)

    async def _send(self, due: list[Due]) -> None:
        """One batch until it is answered; refusals that pass are owed again."""
        reply = await self._answer(placement_pb2.ReportRequest(packed=packed_reports(due)))
        for refused in reply.refused:
            if refused.retry_after_ms:
                at_s = time.monotonic() + refused.retry_after_ms / 1e3
                self._lives.again(due[refused.index], at_s)
        superseded = sum(not refused.retry_after_ms for refused in reply.refused)
        if superseded:
            self._refused += superseded
            self._log.say(
                "reports superseded",
                items=superseded,
                total=self._refused,
                first=reply.refused[0].reason,
            )

    async def _answer(self, request: placement_pb2.ReportRequest) -> types_pb2.BatchReply:
        wait = RETRY_SECONDS_MIN
        while True:
            try:
                return await self._client.report(request)
            except grpc.aio.AioRpcError as error:
                self._log.say("report not answered", why=error.details(), wait_s=wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, RETRY_SECONDS_MAX)


async def simulate(
    *, state: str, nodes: str, name: str, seed: int, delays: Delays, log: Log
) -> None:
    """Register, follow and report until cancelled. Raises BadNodes, NodeRefused."""
    specs = nodes_of(nodes)
    listener = Listener(client_address(state, name), (), ())
    await listener.start()
    try:
        async with ClusterClient(client_address(state, "binder")) as cluster:
            await cluster.register(specs)
        log.say("registered", nodes=len(specs))
        async with PlacementClient(client_address(state, "dispatcher")) as client:
            lives = Lives([spec.name for spec in specs], delays, seed)
            await Simulator(client, lives, log, listener).run()
    finally:
        await listener.stop()


async def _until_signalled(work: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    await asyncio.gather(work, return_exceptions=True)
    if not work.cancelled():
        work.result()


@click.command()
@click.option("--state", default="godel-state", show_default=True, help="State directory.")
@click.option("--nodes", required=True, help="Number of like nodes, or a YAML or CSV file.")
@click.option("--name", default="nodes", show_default=True, help="Name of the health socket.")
@click.option("--seed", default=0, show_default=True, help="Seed of the delays.")
@click.option("--start-ms", nargs=2, type=float, default=(50, 200), show_default=True)
@click.option("--run-s", type=float, help="Mean seconds until a ready replica is done.")
@click.option("--run-prefix", default="", help="Only units with this prefix get done.")
def main(
    state: str,
    nodes: str,
    name: str,
    seed: int,
    start_ms: tuple[float, float],
    run_s: float | None,
    run_prefix: str,
) -> None:
    """Simulate nodes: register them and report what becomes of replicas there."""
    log = Log(name)
    delays = Delays(
        start_s=(min(start_ms) / 1e3, max(start_ms) / 1e3),
        run_s=None if run_s is None else (run_s * (1 - RUN_SPREAD), run_s * (1 + RUN_SPREAD)),
        run_prefix=run_prefix,
    )

    async def run() -> None:
        work = simulate(state=state, nodes=nodes, name=name, seed=seed, delays=delays, log=log)
        await _until_signalled(asyncio.ensure_future(work))

    try:
        asyncio.run(run())
    except (BadNodes, NodeRefused) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
