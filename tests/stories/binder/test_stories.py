"""Golden conversations with a binder, told as text beside this file and read as a diff.

`python -m tests.stories.binder.test_stories` rewrites them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from binder.records import Commit
from cell.effects import Effect, Persist, Publish, Send, Tick, WakeAt
from cell.home import (
    Code,
    Evict,
    ObjectState,
    Post,
    Read,
    ReadRecord,
    RecordView,
    Relist,
    Write,
)
from cell.messages import (
    ClaimState,
    LedgerChanges,
    NodeFlag,
    RegisterNodes,
    RemoveNodes,
    Settle,
    State,
)
from cell.reasons import Reason, Wake
from cell.unit import WHOLE_UNIT, CommandOp, Verdict
from tests.unit.binder.api_builders import STATES, ApiBinder, a_pod
from tests.unit.binder.builders import Binder, a_command, a_gang, a_node, a_row

HERE = Path(__file__).parent
NAMES = {**STATES, ClaimState.FREE: "free"}


class Teller:
    """Writes down what is said to a core and what it answers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: list[str] = []

    def say(self, what: str, effects: Sequence[Effect]) -> None:
        """One event and its effects."""
        self.lines.append(what)
        told = [line for effect in effects for line in self.told(effect)]
        self.lines += [f"    {line}" for line in told] or ["    -"]

    def told(self, effect: Effect) -> Iterator[str]:
        """One effect in words."""
        match effect:
            case Persist(record=Commit() as commit):
                nodes = f", {len(commit.nodes)} nodes" if commit.nodes else ""
                yield f"write: generation {commit.generation}, {len(commit.journal)} rows{nodes}"
            case Send(peer=peer, body=State() as state):
                yield f"{peer}: state {state.generation}, rows below {state.watermark} are covered"
                yield from self.told_state(state)
            case Send(peer=peer, body=Settle() as settle):
                self.names += settle.nodes
                wakes = f", wakes {Wake(settle.wakes).name}" if settle.wakes else ""
                yield f"{peer}: outcomes from {settle.first}{wakes}"
                yield from self.told_outcomes(settle)
            case Publish(body=LedgerChanges() as changes):
                for row in changes.claims.rows():
                    replica = f"unit {row['uid_lo']} replica {row['ordinal']}"
                    yield f"all: {replica} {NAMES[row['state']]} on {changes.nodes[row['node']]}"
            case WakeAt():
                yield "wake me"
            case call:
                yield from told_call(call)

    def told_state(self, state: State) -> Iterator[str]:
        """Node rows of a State."""
        for row in state.specs.rows():
            flags = "removed" if row["flags"] & NodeFlag.REMOVED else "there"
            yield f"  node {row['node']} incarnation {row['incarnation']} is {flags}"
        width = len(state.use.used) // max(1, len(state.use))
        for i, row in enumerate(state.use.rows()):
            used = state.use.used[i * width : (i + 1) * width].tolist()
            yield f"  node {row['node']} at {row['generation']} uses {used}"

    def told_outcomes(self, settle: Settle) -> Iterator[str]:
        """Rows of a Settle."""
        for row in settle.rows.rows():
            replica = "" if row["ordinal"] == WHOLE_UNIT else f" replica {row['ordinal']}"
            node = f" on {self.names[row['node']]}" if row["node"] < len(self.names) else ""
            reason = f", {Reason(row['reason']).name}" if row["reason"] else ""
            yield f"  unit {row['uid_lo']}{replica} {Verdict(row['verdict']).name}{node}{reason}"


def told_call(call: Any) -> Iterator[str]:
    """A call of the API-server home in words."""
    match call:
        case Post(replica=replica, object=uid, node=node):
            yield f"api: bind object {uid} of replica {replica.ordinal} to {node}"
        case Read(replica=replica):
            yield f"api: read the object of unit {replica.uid_lo} replica {replica.ordinal}"
        case Evict(object=uid):
            yield f"api: delete object {uid}"
        case Write(version=version, record=record):
            what = (
                "remove the record" if record is None else f"record {len(record.members)} members"
            )
            yield f"api: {what} at version {version}"
        case ReadRecord():
            yield "api: read the record"
        case Relist():
            yield "api: list everything"


class ToldBinder(Binder):
    """A binder whose every event is told."""

    def __init__(self, *arguments: Any) -> None:
        self.teller = Teller()
        self.saying = "operator: two nodes"
        super().__init__(*arguments)

    def handle(self, event: Any) -> list[Effect]:
        effects = super().handle(event)
        self.teller.say(self.saying, effects)
        return effects

    def start(self) -> None:
        super().start()
        self.teller.names = []
        self.teller.lines.append(f"-- starts, term {self.term}, {len(self.log)} records")


def day_of_a_binder() -> list[str]:
    """Nodes, plans, a conflict, commands, a node that goes, a crash before the ack."""
    binder = ToldBinder([a_node("a", cpu=3000), a_node("b", cpu=2000)])
    says: list[tuple[str, Callable[[], Any]]] = [
        ("s0: up", lambda: binder.scheduler_up("s0")),
        ("s1: up", lambda: binder.scheduler_up("s1")),
        ("dispatcher: up", binder.dispatcher_up),
        ("time passes", binder.deltas),
        (
            "s0: a gang of three, and a single that conflicts with nobody",
            lambda: binder.plan([*a_gang(1, [0, 0, 1]), a_row(2, node=1)]),
        ),
        (
            "s1: two singles on what s0 took",
            lambda: binder.plan([a_row(3, node=0), a_row(4, node=1)], scheduler="s1"),
        ),
        ("time passes", binder.deltas),
        (
            "dispatcher: cancel unit 3, acks two",
            lambda: binder.command(a_command(CommandOp.CANCEL, 3), ack=2),
        ),
        ("s1: unit 3 all the same", lambda: binder.plan([a_row(3, attempt=2)], scheduler="s1")),
        ("time passes", binder.deltas),
        ("operator: b is removed", lambda: binder.ask(RemoveNodes(("b",)))),
        ("time passes", binder.deltas),
        ("operator: b is back", lambda: binder.ask(RegisterNodes((a_node("b"),)))),
        ("time passes", binder.deltas),
    ]
    for what, does in says:
        binder.saying = what
        does()
    binder.start()
    binder.saying = "dispatcher: up"
    binder.dispatcher_up()
    return binder.teller.lines


class ToldApi(ApiBinder):
    """A binder on the API-server home whose every event is told."""

    def __init__(self, *arguments: Any, **config: Any) -> None:
        self.teller = Teller()
        self.saying = "starts"
        super().__init__(*arguments, **config)

    def perform(self, event: Any, effects: list[Effect]) -> None:
        super().perform(event, effects)
        told = [effect for effect in effects if not _is_state(effect)]
        if told or not isinstance(event, Tick):
            self.teller.say(self.saying, told)


def _is_state(effect: Effect) -> bool:
    return isinstance(effect, WakeAt) or (
        isinstance(effect, Send) and isinstance(effect.body, State)
    )


def gang_through_the_api_server() -> list[str]:
    """Written, posted with a time-out, one member gone, evicted after its time."""
    pods = [a_pod(ordinal=i) for i in range(3)]
    binder = ToldApi(pods, post_retry_ms=100, gang_repair_ms_max=1000)
    binder.saying = "s0: a gang of three"
    binder.plan(a_gang(1, [0, 0, 1]))
    binder.saying = "api: no answer to the record"
    record = binder.answer(Write, Code.UNKNOWN).record
    binder.saying = "api: the record is there"
    binder.answer(ReadRecord, kept=RecordView(7, record))
    binder.saying = "api: the first is bound"
    binder.answer(Post)
    binder.saying = "api: no answer for the second"
    binder.answer(Post, Code.UNKNOWN)
    binder.saying = "api: the second is bound"
    binder.answer(Read, found=a_pod(ordinal=1, node="n0", version=8))
    binder.saying = "api: the third is gone"
    binder.answer(Post, Code.GONE)
    binder.saying = "a second passes"
    binder.wait(1000)
    for ordinal in (0, 1):
        binder.saying = f"api: deletes replica {ordinal}"
        binder.answer(Evict)
    for ordinal in (0, 1):
        binder.saying = f"watch: replica {ordinal} is gone"
        gone = ObjectState.DELETED
        binder.show(a_pod(ordinal=ordinal, node="n0", version=20 + ordinal, state=gone))
    binder.saying = "api: the record is removed"
    binder.answer(Write, version=30)
    return binder.teller.lines


STORIES = {story.__name__: story for story in (day_of_a_binder, gang_through_the_api_server)}


@pytest.mark.parametrize("name", sorted(STORIES))
def test_story(name: str) -> None:
    assert "\n".join(STORIES[name]()) + "\n" == (HERE / f"{name}.txt").read_text()


def rewrite() -> None:
    """Write the stories as they are told now."""
    for name, story in STORIES.items():
        (HERE / f"{name}.txt").write_text("\n".join(story()) + "\n")


if __name__ == "__main__":
    rewrite()
