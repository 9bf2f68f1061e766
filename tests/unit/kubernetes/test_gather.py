"""What is told at once, and what is gathered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from cell.home import (
    Answered,
    Answers,
    Code,
    HomeEvent,
    HomeGang,
    ObjectState,
    ObjectView,
    Replica,
    Watched,
    WatchLost,
)
from runtime.kubernetes.gather import Gather


def answered(call: int) -> Answered:
    return Answered(call, Code.OK)


def shown(version: int) -> Watched:
    view = ObjectView(Replica(1, 1), 1, version, ObjectState.PENDING)
    return Watched((view,))


@dataclass
class Told:
    """What the shell was told, and a way to wait for so many events."""

    events: list[HomeEvent] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, event: HomeEvent) -> None:
        self.events.append(event)
        self.moved.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.events) < count:
                self.moved.clear()
                await self.moved.wait()


async def test_a_lone_event_waits_for_nobody() -> None:
    told = Told()
    Gather(told.put).tell(answered(1))
    await asyncio.sleep(0)
    assert told.events == [Answers((answered(1),))]


async def test_what_comes_soon_after_a_telling_is_told_together_and_in_order() -> None:
    told = Told()
    gather = Gather(told.put)
    gather.tell(answered(1))
    await asyncio.sleep(0)
    for event in (shown(1), answered(2), shown(2), answered(3)):
        gather.tell(event)
    await asyncio.sleep(0)
    assert len(told.events) == 1
    await told.until(3)
    both = Watched(shown(1).objects + shown(2).objects)
    assert told.events[1:] == [Answers((answered(2), answered(3))), both]


async def test_the_loss_of_a_watch_is_told_at_once_and_behind_what_it_showed() -> None:
    told = Told()
    gather = Gather(told.put)
    gather.tell(shown(1))
    gather.tell(WatchLost())
    assert told.events == [shown(1), WatchLost()]
    await asyncio.sleep(0)
    assert len(told.events) == 2


@pytest.mark.parametrize(
    "delta",
    [Watched(removed=("node",)), Watched(gangs=(HomeGang("ns/g"),))],
    ids=["nodes", "gangs"],
)
async def test_other_things_are_told_in_their_turn(delta: Watched) -> None:
    told = Told()
    gather = Gather(told.put)
    gather.tell(shown(1))
    gather.tell(delta)
    gather.tell(shown(2))
    await told.until(3)
    assert told.events == [shown(1), delta, shown(2)]
