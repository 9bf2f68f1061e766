"""Golden conversations with a dispatcher, told as text beside this file and read as a diff.

`python -m tests.stories.dispatcher.test_stories` rewrites them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cell.effects import Answer, Effect, Persist, Publish, Send, WakeAt
from cell.messages import Acks, Assign, Changes, Command, Join
from cell.reasons import Reason, Wake, text
from cell.unit import WHOLE_UNIT, CommandOp, Phase, Place, Verdict
from tests.unit.dispatcher.builders import Desk, a_group, a_member, a_unit

HERE = Path(__file__).parent


class Teller(Desk):
    """Writes down what is said to a core and what it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, what: str, action: Callable[[], object]) -> None:
        """Do something that is one event or a few; tell the effects of the last."""
        self.effects = []
        action()
        self.lines.append(what)
        told = [line for effect in self.effects for line in self._told(effect)]
        self.lines += [f"    {line}".rstrip() for line in told or ["-"]]

    def _told(self, effect: Effect) -> Iterator[str]:
        match effect:
            case Persist(record=record):
                yield f"write: {type(record).__name__}"
            case Answer(body=Acks() as acks):
                yield f"answer: {acks.count - len(acks.refused)} of {acks.count} accepted"
                for item, refusal in acks.refused:
                    yield f"  {item} {refusal.status.name}: {refusal.field} {refusal.reason}"
            case Publish(body=Changes() as changes):
                yield "watchers:"
                for key, row in zip(changes.keys, changes.rows.rows(), strict=True):
                    yield (
                        f"  {key}@{row['revision']} {_place(row)}{Phase(row['phase']).name}"
                        + (
                            f" on {changes.nodes[row['node']]}"
                            if row["node"] < len(changes.nodes)
                            else ""
                        )
                        + (f", {text(row['reason'], '...')}" if row["reason"] else "")
                    )
            case Send(peer, Assign() as assign):
                yield f"{peer}: assign, {len(assign.classes)} new classes"
                for row in assign.rows.rows():
                    key = self._keys[row["uid_hi"], row["uid_lo"]]
                    last = row["first"] + row["count"] - 1
                    yield (
                        f"  {key}@{row['revision']} group {row['group']} replicas "
                        f"{row['first']}-{last}, at least {row['min']}: attempt {row['attempt']}"
                    )
            case Send(peer, Command() as command):
                marks = f"floor {command.floor}, next {command.next}, ack {command.ack}"
                yield f"{peer}: command, {marks}"
                for row in command.rows.rows():
                    key = self._keys[row["uid_hi"], row["uid_lo"]]
                    yield f"  {CommandOp(row['op']).name} {key}@{row['revision']} {_place(row)}"
            case WakeAt(at_us=at_us):
                yield f"wake me in {(at_us - self.now_us) / 1000:g} ms"


def _place(row: dict[str, int]) -> str:
    return "" if row["ordinal"] == WHOLE_UNIT else f"{row['group']}/{row['ordinal']} "


def day_of_a_dispatcher() -> list[str]:
    """From the first submission through conflict, want of room, cancel and the end."""
    t = Teller()
    t.say(
        "submit a and a gang, before there is anybody",
        lambda: t.submit(
            a_unit("a"), a_unit("gang", a_group(count=2), a_group(cpu=5), priority=7), a_unit("")
        ),
    )
    t.say("binder: up", t.binder)
    t.say("s0: up and able", t.scheduler)
    t.say(
        "binder: the gang is bound",
        lambda: t.settle(
            *(
                t.outcome("gang", Verdict.BOUND, group=g, ordinal=o)
                for g, o in ((0, 0), (0, 1), (1, 0))
            )
        ),
    )
    conflict = {"reason": Reason.CONFLICT}
    t.say("binder: a conflicts", lambda: t.settle(t.outcome("a", Verdict.REJECTED, **conflict)))
    t.say("time passes", lambda: t.after(10))
    t.say("s0: no room for a", lambda: t.refuse("a", short=[(Reason.INSUFFICIENT_RESOURCE, 9)]))
    t.say("binder: room was freed", lambda: t.settle(wakes=Wake.ROOM_FREED))
    t.say("binder: a is bound", lambda: t.bind("a", node="n7"))
    t.say("report: a is ready", lambda: t.report("a", Phase.READY))
    t.say("report: a is done", lambda: t.report("a", Phase.DONE))
    t.say("binder: freed", lambda: t.settle(t.outcome("a", Verdict.RELEASED, ordinal=0)))
    t.say("cancel the gang, twice", lambda: t.cancel("gang", "gang", "nobody"))
    t.say("binder: another session", t.binder)
    t.say("binder: cancelled", lambda: t.settle(t.outcome("gang", Verdict.CANCELLED)))
    t.say("time passes", lambda: t.after(10))
    return t.lines


def life_of_a_service() -> list[str]:
    """A unit with an elastic part is released in place, then anywhere; its scheduler is lost."""
    t = Teller()
    t.binder()
    t.scheduler("s0")
    t.scheduler("s1")
    t.say("submit", lambda: t.submit(a_unit("web", a_group(count=4, min=2))))
    t.say("binder: three are bound", lambda: t.bind("web", 0, 1, 3))
    t.say("s0: lost", lambda: t.down("s0"))
    t.say("s1: no room for the rest", lambda: t.refuse("web", peer="s1"))
    t.say("amend in place", lambda: t.amend("web", 2, a_group(cpu=9, count=4, min=2)))
    t.say(
        "binder: n1 is removed first, the rest amended",
        lambda: t.settle(
            t.outcome("web", Verdict.FAILED, ordinal=1, reason=Reason.NODE_GONE),
            *(t.outcome("web", Verdict.AMENDED, ordinal=o, revision=2) for o in (0, 3)),
        ),
    )
    t.say("amend anywhere", lambda: t.amend("web", 3, a_group(), place=Place.ANYWHERE))
    t.say("binder: released", lambda: t.settle(t.outcome("web", Verdict.RELEASED, revision=3)))
    t.say("dispatcher: restarts", t.restart)
    t.say("binder: up", t.binder)
    t.say("s1: up", lambda: t.scheduler("s1"))
    t.say("members of a gang", lambda: t.ask(Join((a_member("x"), a_member("y", size=3)))))
    t.say("the other member", lambda: t.ask(Join((a_member("w"),))))
    return t.lines


STORIES: dict[str, Callable[[], list[str]]] = {
    "day_of_a_dispatcher": day_of_a_dispatcher,
    "life_of_a_service": life_of_a_service,
}


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str) -> None:
    want = (HERE / f"{name}.txt").read_text().splitlines()
    assert STORIES[name]() == want


if __name__ == "__main__":
    for name, story in STORIES.items():
        (HERE / f"{name}.txt").write_text("\n".join(story()) + "\n")
