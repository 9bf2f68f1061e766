"""The watch hub: each watcher gets what it asked for once, in order, or is cut off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.watch import TooManyWatchers, Watcher, WatchHub
from tests.unit.runtime.placement_world import some_changes


def told(watcher: Watcher, takes: int = 1000) -> list[tuple[str, int]]:
    """(key, revision of time) of all that is taken."""
    got: list[tuple[str, int]] = []
    while takes and (reply := watcher.take()) is not None:
        takes -= 1
        keys = reply.packed.keys if reply.HasField("packed") else [c.key for c in reply.changes]
        got += [(key, reply.at_us) for key in keys]
    return got


keys_of = st.lists(st.text("ab", min_size=1, max_size=2), max_size=5)
steps_of = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), keys_of),
        st.tuples(st.just("add"), st.tuples(st.sampled_from(["", "a", "ab"]), st.booleans())),
        st.tuples(st.just("take"), st.integers(0, 5)),
        st.tuples(st.just("remove"), st.integers(0, 5)),
    ),
    max_size=30,
)


@given(steps_of, st.integers(1, 6))
def test_each_watcher_is_told_its_changes_once_and_in_order(
    steps: list[Any], message_rows_max: int
) -> None:
    hub = WatchHub(message_rows_max=message_rows_max)
    watchers: list[tuple[Watcher, str, list[str], list[str]]] = []
    for step, argument in steps:
        if step == "publish":
            hub.publish(some_changes(argument))
            for _, prefix, want, _ in watchers:
                want += [key for key in argument if key.startswith(prefix)]
        elif step == "add":
            watchers.append((hub.add(*argument), argument[0], [], []))
        elif watchers:
            watcher, _, want, got = watchers[argument % len(watchers)]
            if step == "take":
                got += [key for key, _ in told(watcher, takes=1)]
                assert got == want[: len(got)]
            else:
                hub.remove(watcher)
                del watchers[argument % len(watchers)]
    for watcher, _, want, got in watchers:
        assert got + [key for key, _ in told(watcher)] == want
        assert not watcher.is_cut


def test_all_that_is_queued_is_one_message_up_to_its_limit() -> None:
    hub = WatchHub(message_rows_max=5)
    watcher = hub.add("", True)
    for at_us in range(1, 4):
        hub.publish(some_changes(["a", "b"], at_us=at_us))
    assert told(watcher, takes=1) == [("a", 2), ("b", 2), ("a", 2), ("b", 2)]
    assert told(watcher, takes=1) == [("a", 3), ("b", 3)]


def test_watchers_at_one_place_share_the_message() -> None:
    hub = WatchHub()
    first, second, other = hub.add("a", True), hub.add("a", True), hub.add("a", False)
    hub.publish(some_changes(["a1", "b1"]))
    message = first.take()
    hub.publish(some_changes(["a2"]))
    assert second.take() is message
    assert other.take() is not message
    assert told(first) == told(second) == [("a2", 1)]


def test_watcher_that_falls_behind_is_cut_off_alone() -> None:
    hub = WatchHub(rows_max=3)
    slow, quick, elsewhere = hub.add("", True), hub.add("", True), hub.add("z", True)
    hub.publish(some_changes(["a", "b", "c"]))
    assert not slow.is_cut
    assert len(told(quick)) == 3
    hub.publish(some_changes(["d"]))
    assert (slow.is_cut, quick.is_cut, elsewhere.is_cut) == (True, False, False)
    assert slow.take() is None
    assert told(quick) == [("d", 1)]
    hub.remove(slow)
    assert hub.watchers_count == 2


def test_nothing_is_kept_for_an_audience_that_is_cut_off() -> None:
    hub = WatchHub(rows_max=1)
    slow = hub.add("", True)
    for _ in range(3):
        hub.publish(some_changes(["a", "b"]))
    assert not slow.audience._parts
    late = hub.add("", True)
    hub.publish(some_changes(["c"]))
    assert told(late) == [("c", 1)]
    hub.remove(slow)
    hub.publish(some_changes(["d"]))
    assert told(late) == [("d", 1)]


def test_watchers_have_a_limit() -> None:
    hub = WatchHub(watchers_max=1)
    watcher = hub.add("", True)
    with pytest.raises(TooManyWatchers):
        hub.add("", False)
    hub.remove(watcher)
    hub.add("", False)


async def test_waiting_ends_with_news_or_with_the_cut() -> None:
    hub = WatchHub(rows_max=1)
    watcher = hub.add("", True)
    waits = asyncio.ensure_future(watcher.wait())
    await asyncio.sleep(0)
    assert not waits.done()
    hub.publish(some_changes(["a"]))
    await asyncio.wait_for(waits, 5)
    await asyncio.wait_for(watcher.wait(), 5)
    told(watcher)
    waits = asyncio.ensure_future(watcher.wait())
    await asyncio.sleep(0)
    hub.publish(some_changes(["b", "c"]))
    await asyncio.wait_for(waits, 5)
    assert watcher.is_cut
