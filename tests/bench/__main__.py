"""`make bench`: the kernels by themselves, memory, and the embedded home end to end.

The last stands next to the null pipeline, in interleaved rounds. Prints tables and writes
build/bench/{kernels,memory,spine}.json.
Options: --nodes 1000,10000 --rounds 5 --units 30000 --samples 1000, and to measure one part alone
--kernels or --memory.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import uvloop

from tests.bench import echo, kernels, memory, report, services
from tests.bench.client import GANG, Client, Round, Shape

NULL = Shape(is_null=True)
SATURATED = {
    "singles-saturated": Shape(is_packed=False),
    "packed-saturated": Shape(),
    "gangs-saturated": Shape(replicas=GANG),
}
PACED = {"null-20pct": NULL, "singles-20pct": Shape(is_packed=False)}
PACED_SECONDS = 2.0
PACED_SHARE = 0.2
LONE_BLOCK = 100


@dataclass
class Bench:
    """One cluster size: sockets, processes, and what was measured."""

    nodes: int
    options: argparse.Namespace
    real: Path
    null: Path
    real_processes: dict[str, psutil.Process]
    null_processes: dict[str, psutil.Process]
    rates: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)

    async def run(self) -> list[report.Line]:
        """Warm both pipelines, then rounds of null and real in turn, paced load, lone units."""
        for name, shape in {"null": NULL, **SATURATED}.items():
            await self._saturate(name, shape, min(5_000, self.options.units), is_kept=False)
        for _ in range(self.options.rounds):
            for name, shape in SATURATED.items():
                await self._saturate("null", NULL, self.options.units)
                units = self.options.units // (4 if shape.replicas > 1 else 1)
                await self._saturate(name, shape, units)
        await self._pace()
        await self._lone()
        blocks = max(1, self.options.samples // LONE_BLOCK)
        return report.lines(
            self.nodes, self.options.rounds, self.rates, self.cpu, self.latencies, blocks
        )

    async def _saturate(self, name: str, shape: Shape, units: int, is_kept: bool = True) -> None:
        of = self.null_processes if shape.is_null else self.real_processes
        client = await self._client(shape)
        before = services.cpu_seconds(of)
        round_ = await client.saturate(units)
        if is_kept:
            self.latencies.setdefault(name, []).extend(round_.latencies_ms)
        after = services.cpu_seconds(of)
        await client.stop()
        await asyncio.sleep(0.5)
        if is_kept:
            self._keep(name, round_, before, after)

    def _keep(
        self, name: str, round_: Round, before: dict[str, float], after: dict[str, float]
    ) -> None:
        self.rates.setdefault(name, []).append(round_.rate)
        costs = {role: (after[role] - before[role]) / round_.units * 1e6 for role in after}
        self.cpu.setdefault(name, []).append(costs)

    async def _pace(self) -> None:
        rate = PACED_SHARE * statistics.median(self.rates["singles-saturated"])
        for number in range(self.options.rounds):
            for name, shape in PACED.items():
                client = await self._client(shape)
                of = self.null_processes if shape.is_null else self.real_processes
                before = services.cpu_seconds(of)
                round_ = await client.pace(rate, PACED_SECONDS, np.random.default_rng(number))
                self._keep(name, round_, before, services.cpu_seconds(of))
                self.latencies.setdefault(name, []).extend(round_.latencies_ms)
                await client.stop()

    async def _lone(self) -> None:
        clients = {"null": await self._client(NULL), "lone-unit": await self._client(Shape())}
        with (self.real / "fdatasync").open("wb") as file:
            for _ in range(max(1, self.options.samples // LONE_BLOCK)):
                for client in clients.values():
                    await client.one_by_one(LONE_BLOCK)
                self.latencies.setdefault("fdatasync", []).extend(
                    _two_fdatasyncs(file.fileno()) for _ in range(LONE_BLOCK)
                )
        for name, client in clients.items():
            self.latencies[name] = client.latencies_ms
            await client.stop()

    async def _client(self, shape: Shape) -> Client:
        directory = self.null if shape.is_null else self.real
        client = Client(directory / "dispatcher.sock", shape)
        await client.start()
        return client


def _two_fdatasyncs(file: int) -> float:
    begin = time.perf_counter()
    for _ in range(2):
        os.write(file, b"x" * 512)
        os.fdatasync(file)
    return (time.perf_counter() - begin) * 1e3


async def measure_echo(directory: Path) -> float:
    """CPU microseconds per echo, in a process of its own."""
    socket = directory / "echo.sock"
    with services.processes(
        {"echo": ["tests.bench.echo", str(socket)]}, directory / "log"
    ) as running:
        await services.until(socket)
        return await echo.measure(socket, running["echo"].pid)


async def measure(options: argparse.Namespace) -> list[report.Line]:
    """All cluster sizes."""
    results: list[report.Line] = []
    for nodes in options.nodes:
        with tempfile.TemporaryDirectory(prefix="godel-bench-") as name:
            real, null = Path(name) / "real", Path(name) / "null"
            real.mkdir()
            null.mkdir()
            echo_us = await measure_echo(Path(name))
            with (
                services.processes(services.null_commands(null), null / "log") as null_running,
                services.processes(services.real_commands(real), real / "log") as real_running,
            ):
                await services.until(null / "dispatcher.sock")
                await services.ready(real, nodes)
                bench = Bench(nodes, options, real, null, real_running, null_running)
                lines = await bench.run()
                report.show(nodes, lines, echo_us)
                report.check_null(bench.cpu["null"], echo_us)
                results += lines
    return results


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument(
        "--nodes", type=lambda t: [int(n) for n in t.split(",")], default=[1_000, 10_000]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--units", type=int, default=30_000)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    is_whole = not (options.kernels or options.memory)
    if options.kernels or is_whole:
        kernels.run(options.rounds)
    if options.memory or is_whole:
        memory.run()
    if is_whole:
        end_to_end(options)


def end_to_end(options: argparse.Namespace) -> None:
    """Measure through gRPC, print, write."""
    results = uvloop.run(measure(options))
    target = Path("build/bench/spine.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([line.as_json() for line in results], indent=1) + "\n")
    print(f"written: {target}")


if __name__ == "__main__":
    main()
