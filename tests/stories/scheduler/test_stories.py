"""Golden conversations with a scheduler, told as text beside this file and read as a diff.

`python -m tests.stories.scheduler.test_stories` rewrites them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cell.effects import Effect, PeerDown, Send, Tick, WakeAt
from cell.messages import Ability, Plan, Unplaced
from cell.node import NodeSpec, Taint
from cell.reasons import Reason, text
from scheduler.config import SchedulerConfig
from tests.unit.scheduler.builders import (
    BINDER,
    DISPATCHER,
    UP_BINDER,
    UP_DISPATCHER,
    Bench,
    G,
    Sender,
    Stream,
    U,
    a_class,
    a_node,
    queued_rows,
    why,
)

HERE = Path(__file__).parent
BIG = a_class(cpu=4)


class Teller:
    """Writes down what is said to a core and what it answers."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.lines: list[str] = []

    def say(self, what: str, effects: list[Effect]) -> None:
        self.lines.append(what)
        self.lines += [f"    {line}" for effect in effects for line in told(effect)]
        self.lines += [] if effects else ["    -"]

    def watermark(self, rows: int, *claims: tuple[int, int]) -> None:
        """Claims are (node, cpu) that the binder committed."""
        stream = self.bench.stream
        for node, cpu in claims:
            stream.use(node, {"cpu": cpu, "pods": 1})
        stream.watermark = rows
        used = ", ".join(f"{cpu} cpu on n{node}" for node, cpu in claims) or "nothing"
        effects = self.bench.follow(stream.state({node for node, _ in claims}))
        self.say(f"binder: state, rows below {rows} are covered, used {used}", effects)


def told(effect: Effect) -> Iterator[str]:
    match effect:
        case WakeAt():
            yield "wake me at once"
        case Send(peer, Ability(is_ready)):
            yield f"{peer}: {'able' if is_ready else 'not able'}"
        case Send(peer, Plan() as plan):
            classes = f", {len(plan.classes)} new classes" if plan.classes else ""
            yield f"{peer}: plan of term {plan.term}, rows from {plan.first}{classes}"
            for row in plan.rows.rows():
                replica = f"unit {row['handle']} group {row['group']} replica {row['ordinal']}"
                yield f"  {replica} -> n{row['node']}"
        case Send(peer, Unplaced()):
            for unit, answer in why([effect]).items():
                wakes = answer.wakes.name or "nothing"
                reason = text(answer.reason, answer.argument)
                yield f"{peer}: unit {unit} got nothing: {reason} (woken by {wakes})"
                for (code, resource), nodes in answer.nodes.items():
                    yield f"  {nodes} nodes: {text(Reason(code), resource)}"


def day_of_a_scheduler() -> list[str]:
    """From the first session to the loss of the binder."""
    bench = Bench()
    tell = Teller(bench)
    bench.handle(PeerDown(BINDER))
    bench.stream = Stream()
    nodes: list[NodeSpec] = [
        a_node(8),
        a_node(8),
        a_node(4, taints=(Taint("a", "", "NoSchedule"),)),
    ]
    for index, node in enumerate(nodes):
        bench.stream.put(index, node)
    tell.say("dispatcher: unit 1 while there is no binder", bench.assign(U(1)))
    tell.say("binder: up", bench.handle(UP_BINDER))
    tell.say("binder: first half", bench.follow(bench.stream.state([0], is_last=False)))
    tell.say("binder: second half", bench.follow(bench.stream.state([1, 2])))
    tell.say("dispatcher: unit 1 and a gang of three", bench.assign(U(1), U(2, (G(BIG, 3),))))
    tell.say("dispatcher: a gang of two", bench.assign(U(3, (G(BIG, 2),))))
    tell.watermark(4, (0, 4), (1, 4), (0, 4))
    tell.say("dispatcher: the gang again", bench.assign(U(3, (G(BIG, 2),))))
    elastic = U(4, (G(count=9, min=2), G(a_class(profile="magic"), min=0, group=1)))
    tell.say("dispatcher: two to nine", bench.assign(elastic))
    tell.say("dispatcher: pinned to the tainted node", bench.assign(U(5, (G(pin="n2"),))))
    tell.say("dispatcher: down", bench.handle(PeerDown(DISPATCHER)))
    bench.sender = Sender()
    tell.say("dispatcher: up", bench.handle(UP_DISPATCHER))
    tell.watermark(8)
    tell.say("dispatcher: unit 6", bench.assign(U(6), term=2))
    tell.say("binder: down", bench.handle(PeerDown(BINDER)))
    return tell.lines


def long_batch() -> list[str]:
    """A batch that does not fit into one plan, nor into one call."""
    bench = Bench([a_node(500, pods=500)], SchedulerConfig(plan_rows_max=2, core_ms_max=1))
    tell = Teller(bench)
    units = [U(i, (G(a_class(cpu=1 + i % 60)),)) for i in range(64, 69)]
    many = [U(i, (G(a_class(cpu=10 * i)),)) for i in range(100, 160)]
    tell.say("dispatcher: five units, and sixty of other classes", bench.assign(*units, *many))
    while queued_rows(bench.core):
        tell.say("tick", bench.handle(Tick()))
    return tell.lines


STORIES: dict[str, Callable[[], list[str]]] = {
    "day_of_a_scheduler": day_of_a_scheduler,
    "long_batch": long_batch,
}


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str) -> None:
    want = (HERE / f"{name}.txt").read_text().splitlines()
    assert STORIES[name]() == want


if __name__ == "__main__":
    for name, story in STORIES.items():
        (HERE / f"{name}.txt").write_text("\n".join(story()) + "\n")
