"""The shell: order of effects, durability before what follows, sessions, time, and crashes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from cell.effects import (
    Answer,
    PeerDown,
    PeerUp,
    Persist,
    Publish,
    Received,
    Send,
    Tick,
    WakeAt,
)
from cell.link import Hello
from cell.reasons import Status
from runtime.grpc_status import CallRefused
from runtime.loop import CRASH_STATUS, Shell
from tests.unit.runtime.shells import HandStore, Peer, ScriptedCore, a_shell, turns, until

HELLO = Hello(name="p", role="peer")


class World:
    """One shell with a peer `p`, and all that left it in order."""

    def __init__(self) -> None:
        self.core = ScriptedCore()
        self.store = HandStore()
        self.shell: Shell = a_shell(self.core, self.store)
        self.peer = Peer()
        self.left: list[Any] = []
        self.peer.sent = self.left
        self.shell.on_publish = self.left.append

    async def connect(self) -> None:
        self.shell.put(PeerUp("p", HELLO), self.peer)
        await turns()


async def test_what_follows_a_record_waits_until_it_is_durable() -> None:
    world = World()
    await world.connect()
    world.core.script["go"] = [
        Send("p", "before"),
        Persist("r1"),
        Send("p", "after 1"),
        Publish("news 1"),
        Persist("r2"),
        Send("p", "after 2"),
    ]
    world.shell.put(Received("p", "go"))
    await turns()
    assert world.left == ["before"]
    assert world.store.appended == ["r1", "r2"]
    world.store.on_durable(1)
    await turns()
    assert world.left == ["before", "after 1", "news 1"]
    world.store.on_durable(2)
    await turns()
    assert world.left == ["before", "after 1", "news 1", "after 2"]


async def test_one_durable_ticket_releases_all_records_below_it() -> None:
    world = World()
    await world.connect()
    for name in ("a", "b"):
        world.core.script[name] = [Persist(name), Send("p", name)]
        world.shell.put(Received("p", name))
    await turns()
    world.store.on_durable(2)
    await turns()
    assert world.left == ["a", "b"]


async def test_an_event_without_a_record_does_not_overtake_one_with() -> None:
    world = World()
    await world.connect()
    world.core.script["slow"] = [Persist("r"), Send("p", "slow")]
    world.core.script["quick"] = [Send("p", "quick"), Publish("quick news")]
    world.shell.put(Received("p", "slow"))
    world.shell.put(Received("p", "quick"))
    await turns()
    assert world.left == []
    world.store.on_durable(1)
    await turns()
    assert world.left == ["slow", "quick", "quick news"]


async def test_an_answer_comes_behind_its_record() -> None:
    world = World()
    world.core.script["submit"] = [
        Persist("r"),
        lambda event: Answer(event.token, "ack"),
    ]
    asked = asyncio.ensure_future(world.shell.ask("submit"))
    await turns()
    assert not asked.done()
    world.store.on_durable(1)
    await turns()
    assert asked.done()
    assert await asked == "ack"


async def test_an_answer_to_a_client_that_left_is_dropped() -> None:
    world = World()
    world.core.script["submit"] = [
        Persist("r"),
        lambda event: Answer(event.token, "ack"),
    ]
    asked = asyncio.ensure_future(world.shell.ask("submit"))
    await turns()
    asked.cancel()
    await turns()
    world.store.on_durable(1)
    await turns()
    assert asked.cancelled()


async def test_a_send_is_bound_to_the_session_in_which_it_was_asked_for() -> None:
    world = World()
    await world.connect()
    world.core.script["go"] = [Persist("r"), Send("p", "for the old session")]
    world.shell.put(Received("p", "go"))
    await turns()
    world.shell.put(PeerDown("p"))
    newer = Peer()
    world.shell.put(PeerUp("p", HELLO), newer)
    await turns()
    world.store.on_durable(1)
    await turns()
    assert newer.sent == []
    assert world.left == ["for the old session"]


async def test_a_send_to_a_peer_without_session_goes_nowhere() -> None:
    world = World()
    world.core.script["go"] = [Send("p", "lost"), Publish("news")]
    world.shell.put(Received("p", "go"))
    await turns()
    await world.connect()
    assert world.left == ["news"]


async def test_what_the_core_answers_to_a_peer_up_reaches_the_new_session() -> None:
    world = World()
    world.core.script[PeerUp] = [Send("p", "welcome")]
    await world.connect()
    assert world.left == ["welcome"]


async def test_a_read_shows_only_what_is_durable() -> None:
    world = World()
    world.core.script["go"] = [Persist("r")]
    world.shell.put(Received("p", "go"))
    await turns()
    read = asyncio.ensure_future(world.shell.read(lambda: len(world.core.events)))
    await turns()
    assert not read.done()
    world.store.on_durable(1)
    assert await read == 1


async def test_whoever_asks_is_told_after_a_while_that_nothing_is_written() -> None:
    world = World()
    world.shell.wait_ms_max = 30
    world.core.script["submit"] = [Persist("r"), lambda event: Answer(event.token, "ack")]
    answers: list[Any] = []
    begun = asyncio.get_running_loop().time()
    world.shell.request("submit", answers.append)
    await until(lambda: answers)
    assert asyncio.get_running_loop().time() - begun >= 0.03
    world.store.on_health(False, "database or disk is full")
    await turns()
    slow, full = answers.pop(), await world.shell.ask("submit")
    assert slow.status == full.status == Status.UNAVAILABLE
    assert slow.reason == "records are written slowly; this may still be done when they are"
    assert "cannot be written: database or disk is full; this may still be done" in full.reason
    assert world.shell.store_refusal is not None
    assert world.shell.store_refusal.reason == "records cannot be written: database or disk is full"
    world.store.on_durable(2)
    await turns()
    assert answers == []


async def test_one_who_asks_later_waits_as_long() -> None:
    world = World()
    world.shell.wait_ms_max = 60
    loop = asyncio.get_running_loop()
    waited: list[float] = []
    for _ in range(3):
        begun = loop.time()
        world.shell.request("never", lambda _, begun=begun: waited.append(loop.time() - begun))  # type: ignore[misc]
        await asyncio.sleep(0.02)
    await until(lambda: len(waited) == 3)
    assert min(waited) >= 0.06


async def test_a_reader_is_told_after_a_while_and_its_moment_does_not_come() -> None:
    world = World()
    world.shell.wait_ms_max = 30
    world.core.script["go"] = [Persist("r")]
    world.shell.put(Received("p", "go"))
    world.store.on_health(False, "database or disk is full")
    await turns()
    with pytest.raises(CallRefused, match="cannot be written: database or disk is full"):
        await world.shell.read(lambda: 1, lambda: world.left.append("begun"))
    world.store.on_durable(1)
    await turns()
    assert world.left == []
    assert await world.shell.read(lambda: 2, lambda: world.left.append("begun")) == 2
    assert world.left == ["begun"]


async def test_the_earliest_wake_counts_and_ticks_once() -> None:
    world = World()
    now_us = world.shell.clock.now_us()
    world.core.script["go"] = [
        WakeAt(now_us + 60_000_000),
        WakeAt(now_us + 1_000),
        WakeAt(now_us + 30_000_000),
    ]
    ticked = asyncio.Event()

    def ticks(event: Any) -> Publish:
        assert world.shell.clock.now_us() >= now_us + 1_000
        ticked.set()
        return Publish("tick")

    world.core.script[Tick] = [ticks]
    world.shell.put(Received("p", "go"))
    await asyncio.wait_for(ticked.wait(), 5)
    await turns()
    assert world.left == ["tick"]


async def test_a_due_compaction_takes_a_snapshot_between_two_events() -> None:
    world = World()
    await world.connect()
    world.core.records = ["all so far"]
    world.core.script["go"] = [Persist("r"), Send("p", "sent")]
    world.store.is_compaction_due = True
    world.shell.put(Received("p", "go"))
    await turns()
    assert world.store.compacted == [["all so far"]]
    world.store.on_durable(1)
    await turns()
    assert world.left == ["sent"]


async def test_a_store_that_cannot_write_is_told_until_it_can() -> None:
    world = World()
    told: list[bool] = []
    world.shell.on_health = told.append
    world.store.on_health(False, "database or disk is full")
    await turns()
    assert world.shell.store_fault == "database or disk is full"
    world.store.on_health(True, "")
    await turns()
    assert (world.shell.store_fault, told) == ("", [False, True])


CRASH = """
    import asyncio
    from cell.effects import Received, Persist, Publish, Send
    from tests.unit.runtime.shells import HandStore, ScriptedCore, a_shell
    from runtime.store import TermLost

    class Broken(ScriptedCore):
        def handle(self, now_us, event):
            raise RuntimeError("a bug")

    async def main():
        store = HandStore()
        core = Broken() if {is_core!r} else ScriptedCore()
        shell = a_shell(core, store)
        shell.put(Received("p", "go"))
        if not {is_core!r}:
            store.on_fatal(TermLost("superseded"))
        await asyncio.sleep(30)

    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("is_core", "want_text"),
    [(True, "a bug"), (False, "")],
    ids=["an exception in a core", "a term that was lost"],
)
def test_the_process_ends_at(is_core: bool, want_text: str) -> None:
    code = textwrap.dedent(CRASH).format(is_core=is_core)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == CRASH_STATUS
    assert want_text in ended.stderr
