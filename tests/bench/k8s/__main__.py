"""`make bench-k8s`: the Kubernetes home next to raw binding, a null client and kube-scheduler.

Prints tables and writes build/bench/k8s.json. Options: --nodes 1000,5000 --rounds 5 --pods 4000
--paced 500 --legs raw,kube-scheduler,drain,drain-events,null-client,created-bound; drain-events is
drain with success events on. Nothing of the control plane waits for the disk, and no kubelet runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from tests.bench.k8s import legs, report
from tests.bench.k8s.ground import API_FLAGS, Ground, Measured
from tests.bench.report import Line
from tests.controlplane.build import programs
from tests.controlplane.cluster import ControlPlane

TARGET = Path("build/bench/k8s.json")
RAW_CONNECTIONS = (8, 32, 128)
LEGS = ("raw", "kube-scheduler", "drain", "drain-events", "null-client", "created-bound")
PACED = ("null-client", "created-bound")
PACED_SHARE = 0.2
"""Of the null client's rate."""
Found = dict[str, list[Measured]]
LegOf = Callable[[], Awaitable[Measured]]


async def measure_size(ground: Ground, options: argparse.Namespace) -> Found:
    """Interleaved rounds on the nodes that are there; every second round runs backwards."""
    found: Found = {}
    for number in range(options.rounds):
        planned = list(_round(ground, options).items())
        for name, leg in planned if number % 2 == 0 else planned[::-1]:
            await _keep(found, name, leg)
        await _pace(ground, options, found, number)
    return found


def _round(ground: Ground, options: argparse.Namespace) -> dict[str, LegOf]:
    raws: dict[str, LegOf] = {
        f"{report.RAW}{n}": partial(legs.raw, ground, options.pods, n) for n in RAW_CONNECTIONS
    }
    others: dict[str, LegOf] = {
        "kube-scheduler": partial(legs.kube, ground, options.pods),
        "drain": partial(legs.drain, ground, options.pods),
        "drain-events": partial(legs.drain, ground, options.pods, success_events=True),
        "null-client": partial(legs.null_client, ground, options.pods),
        "created-bound": partial(legs.created_bound, ground, options.pods),
    }
    chosen = {name: leg for name, leg in others.items() if name in options.legs}
    return raws | chosen if "raw" in options.legs else chosen


async def _pace(ground: Ground, options: argparse.Namespace, found: Found, number: int) -> None:
    """Latency at a share of the null client's rate, as it is known by now."""
    if "null-client" not in found:
        return
    rate = PACED_SHARE * statistics.median(leg.created_rate for leg in found["null-client"])
    for name, leg in (("null-client", legs.null_client), ("created-bound", legs.created_bound)):
        if name in options.legs:
            paced = partial(leg, ground, options.paced, rate, number)
            await _keep(found, name + report.PACED, paced)


async def _keep(found: Found, name: str, leg: LegOf) -> None:
    measured = await leg()
    found.setdefault(name, []).append(measured)
    rate = measured.created_rate if name.startswith(PACED) else measured.drain_rate
    print(f"{name:<22} {rate:8.1f} pods/s", flush=True)


async def measure(ground: Ground, options: argparse.Namespace) -> list[Line]:
    """All cluster sizes, on one control plane."""
    results: list[Line] = []
    for nodes in sorted(options.nodes):
        ground.grow(nodes)
        before = os.getloadavg()[2]
        found = await measure_size(ground, options)
        about = f"{options.pods} pods; load before {before:.1f} on {os.cpu_count()} cores"
        lines = report.lines(nodes, found)
        report.show(nodes, lines, about)
        results += lines
    return results


def chosen() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.k8s")
    parser.add_argument(
        "--nodes", type=lambda t: [int(n) for n in t.split(",")], default=[1_000, 5_000]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pods", type=int, default=4_000)
    parser.add_argument("--paced", type=int, default=500)
    parser.add_argument("--legs", type=lambda t: t.split(","), default=LEGS)
    options = parser.parse_args()
    if unknown := set(options.legs) - set(LEGS):
        parser.error(f"no such legs: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    """Parse, measure, write; the logs stay where a leg has failed."""
    options = chosen()
    folder = Path(tempfile.mkdtemp(prefix="godel-bench-k8s-"))
    print(f"logs in {folder}", flush=True)
    with ControlPlane(folder, programs(), api_flags=API_FLAGS) as cluster:
        cluster.start()
        results = asyncio.run(measure(Ground(cluster), options))
    shutil.rmtree(folder)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps([line.as_json() for line in results], indent=1) + "\n")
    print(f"written: {TARGET}")


if __name__ == "__main__":
    main()
