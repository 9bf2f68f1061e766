"""Memory: a binder's core and a scheduler's, each in a process of its own, filled by one history.

100,000 nodes are registered, then 1,000,000 single replicas of 200 classes assigned, planned,
committed and acked, in batches as on the wire; one class in ten is spread over zones, so that who
is where counts. What is told is the processes' resident memory at the end, and the highest it was.
"""

import json
import multiprocessing
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from cell.between import Between, Spread
from cell.classes import ClassSpec, normalise
from cell.effects import PeerUp, Received, Request, Send, Tick, WakeAt
from cell.link import Hello
from cell.messages import Assign, ClassDef, Command, RegisterNodes, Settle
from cell.node import NodeSpec
from cell.requirements import Operator, Requirement
from cell.unit import NO_PIN, Assignments, Commands

NODES = 100_000
REPLICAS = 1_000_000
CLASSES, SPREAD_IN = 200, 10
BATCH = 800
REGISTERED = 1_000
MARKS = {"binder": 2.0, "scheduler": 1.0}
ROOM = (("cpu", 64_000), ("memory", 1 << 38), ("pods", 250))


@dataclass
class Line:
    """One process."""

    name: str
    gib: float
    peak_gib: float
    mark: float


def serve(role: str, pipe: Connection) -> None:
    """A core in a process: events in, what it sends out; None asks how large it is."""
    core, now_us = _core(role), 0
    while (events := pipe.recv()) is not None:
        effects = [effect for event in events for effect in core.handle(now_us, event)]
        now_us += 10_000
        more = core.handle(now_us, Tick())
        while any(isinstance(each, WakeAt) and each.at_us <= now_us for each in more):
            effects += more
            more = core.handle(now_us, Tick())
        pipe.send([each for each in (*effects, *more) if isinstance(each, Send)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    pipe.send((psutil.Process().memory_info().rss, peak))


def _core(role: str) -> Any:
    if role == "binder":
        from binder.core import BinderCore

        return BinderCore(1)
    from scheduler.core import SchedulerCore

    return SchedulerCore("scheduler-0")


@contextmanager
def _processes() -> Iterator[dict[str, Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes, started = {}, []
    for role in MARKS:
        pipes[role], theirs = context.Pipe()
        started.append(context.Process(target=serve, args=(role, theirs), daemon=True))
        started[-1].start()
    try:
        yield pipes
    finally:
        for process in started:
            process.kill()


class Life:
    """The dispatcher's part, and the wire between the two cores."""

    def __init__(self, pipes: dict[str, Connection]) -> None:
        self._pipes = pipes
        self.bound = 0

    def begin(self, nodes: int) -> None:
        """Register nodes, open all links, pass on the snapshot."""
        for first in range(0, nodes, REGISTERED):
            rows = range(first, min(nodes, first + REGISTERED))
            self._say("binder", Request(0, RegisterNodes(tuple(_node(i) for i in rows))))
        scheduler = Hello(name="scheduler-0", role="scheduler")
        dispatcher = Hello(name="dispatcher", role="dispatcher", term=1)
        self._say("scheduler", PeerUp("binder", Hello(name="binder", role="binder", term=1)))
        self._say("scheduler", PeerUp("dispatcher", dispatcher))
        self._say("binder", PeerUp("dispatcher", dispatcher))
        self._pass_on(self._say("binder", PeerUp("scheduler", scheduler)))

    def place(self, first: int, count: int, classes: tuple[ClassDef, ...]) -> None:
        """Assign units, commit the plans, ack what was settled, follow the deltas."""
        assign = Assign(1, _units(first, count), classes)
        plans = self._say("scheduler", Received("dispatcher", assign))
        told = [Received("scheduler", each.body) for each in plans if each.peer == "binder"]
        sent = self._say("binder", *told)
        settled = [each.body for each in sent if isinstance(each.body, Settle)]
        self.bound += sum(len(settle.rows) for settle in settled)
        ack = max(settle.first + len(settle.rows) for settle in settled)
        marks = Command(1, first + count, first + count, ack, Commands.empty())
        self._pass_on(sent + self._say("binder", Received("dispatcher", marks)))

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Bytes resident now and at most, per process; both end."""
        for pipe in self._pipes.values():
            pipe.send(None)
        return {role: pipe.recv() for role, pipe in self._pipes.items()}

    def _say(self, role: str, *events: Any) -> list[Send]:
        self._pipes[role].send(events)
        sent: list[Send] = self._pipes[role].recv()
        return sent

    def _pass_on(self, sent: list[Send]) -> None:
        told = [Received("binder", each.body) for each in sent if each.peer == "scheduler"]
        if told:
            self._say("scheduler", *told)


def _node(number: int) -> NodeSpec:
    labels = (("host", f"node-{number:06}"), ("zone", f"zone-{number % 10}"))
    return NodeSpec(f"node-{number:06}", ROOM, labels)


def _class(number: int) -> ClassSpec:
    said = None
    if number % SPREAD_IN == 0:
        selector = (Requirement("app", Operator.IN, (f"app-{number}",)),)
        spread = (Spread("zone", 5, selector),)
        said = Between("default", (("app", f"app-{number}"),), spread=spread)
    demand = (("cpu", 100 + number), ("memory", 1 << 28))
    return normalise(ClassSpec(demand=demand, between=said))


def _units(first: int, count: int) -> Assignments:
    numbers = np.arange(first, first + count)
    return Assignments.of(
        handle=numbers,
        uid_hi=numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        uid_lo=numbers,
        revision=1,
        attempt=numbers,
        group=0,
        klass=numbers % CLASSES,
        first=0,
        count=1,
        min=1,
        priority=0,
        pin=NO_PIN,
    )


def measure(nodes: int, replicas: int) -> list[Line]:
    """One history, and what it left in memory."""
    classes = tuple(ClassDef(i, _class(i).encoded()) for i in range(CLASSES))
    with _processes() as pipes:
        life = Life(pipes)
        life.begin(nodes)
        for first in range(0, replicas, BATCH):
            count = min(BATCH, replicas - first)
            life.place(first, count, classes if first == 0 else ())
        if life.bound != replicas:
            raise RuntimeError(f"{life.bound} of {replicas} replicas are bound")
        sizes = life.sizes()
    scale = 1 << 30
    return [Line(r, now / scale, most / scale, MARKS[r]) for r, (now, most) in sizes.items()]


def run(nodes: int = NODES, replicas: int = REPLICAS) -> None:
    """Measure, print, and write build/bench/memory.json."""
    lines = measure(nodes, replicas)
    table = Table(title=f"Memory of a core in its process: {nodes} nodes, {replicas} replicas")
    for column in ("core", "GiB", "GiB at most", "mark", ""):
        table.add_column(column)
    for line in lines:
        note = "" if line.peak_gib <= line.mark else "MISSED"
        table.add_row(line.name, f"{line.gib:.2f}", f"{line.peak_gib:.2f}", f"{line.mark:g}", note)
    Console(width=140).print(table)
    target = Path("build/bench/memory.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n")
    print(f"written: {target}")
