"""Laws along any walk: a unit is in one place, nothing acknowledged is lost, records and snapshots
give the same dispatcher, and what comes twice changes nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cell.messages import Join
from cell.reasons import Reason
from cell.unit import WHOLE_UNIT, Phase, Place, Verdict
from dispatcher.config import DispatcherConfig
from tests.unit.dispatcher.builders import Desk, State, a_group, a_member, a_unit, encoded, restored

KEYS = [f"u{i}" for i in range(7)]
CONTENTS = [
    (a_group(),),
    (a_group(count=3, min=1),),
    (a_group(count=2), a_group(cpu=5)),
    (a_group(cpu=5, pin="n1", role="r"),),
    (a_group(profile="batch"),),
]
KEY = st.sampled_from(KEYS)
CONTENT = st.integers(0, len(CONTENTS) - 1)
STEP = st.one_of(
    st.tuples(st.just("submit"), st.lists(st.tuples(KEY, CONTENT), min_size=1, max_size=4)),
    st.tuples(st.just("submit"), st.lists(st.tuples(KEY, CONTENT), min_size=1, max_size=4)),
    st.tuples(st.just("amend"), KEY, CONTENT, st.sampled_from((Place.KEEP, Place.ANYWHERE))),
    st.tuples(st.just("cancel"), KEY),
    st.tuples(st.just("report"), KEY, st.integers(0, 1), st.integers(0, 2), st.integers(3, 6)),
    st.tuples(st.just("join"), st.sampled_from("ab"), st.sampled_from("mn")),
    st.tuples(st.just("bind"), KEY, st.integers(1, 4)),
    st.tuples(st.just("bind"), KEY, st.integers(1, 4)),
    st.tuples(
        st.just("settle"),
        KEY,
        st.sampled_from(list(Verdict)),
        st.integers(0, 1),
        st.sampled_from((0, 1, WHOLE_UNIT)),
        st.integers(-1, 0),
    ),
    st.tuples(st.just("refuse"), KEY, st.sampled_from((2, 8, 28)), st.integers(0, 7)),
    st.tuples(st.just("wake"), st.integers(1, 7)),
    st.tuples(st.just("time"), st.sampled_from((1, 10, 50, 700, 20_000))),
    st.tuples(st.just("up"), st.sampled_from(("s0", "s1"))),
    st.tuples(st.just("down"), st.sampled_from(("s0", "s1", "binder"))),
    st.tuples(st.just("binder")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("compact")),
)
CONFIG = DispatcherConfig(finished_max=3, wave_min=1, woken_max=3, classes_max=3, names_max=3)


def walk(desk: Desk, step: tuple[Any, ...]) -> None:
    """One step; checks of conservation are made by the desk after each event."""
    match step:
        case ("submit", items):
            desk.submit(*(a_unit(key, *CONTENTS[content]) for key, content in items))
        case ("amend", key, content, place):
            view = desk.core.unit(key)
            revision = view.revision + 1 if view is not None else 2
            desk.amend(key, revision, *CONTENTS[content], place=place)
        case ("cancel", key):
            desk.cancel(key)
        case ("report", key, group, ordinal, phase):
            desk.report(key, Phase(phase), group=group, ordinal=ordinal)
        case ("join", gang, name):
            desk.ask(Join((a_member(name, gang=gang, timeout_ms=500),)))
        case _:
            walk_of_peers(desk, step)


def walk_of_peers(desk: Desk, step: tuple[Any, ...]) -> None:
    """A step that others than clients take."""
    match step:
        case ("bind", key, count):
            bind(desk, key, count)
        case ("settle", key, verdict, group, ordinal, older):
            view = desk.core.unit(key)
            revision = max(1, (view.revision if view is not None else 1) + older)
            fields = {"group": group, "ordinal": ordinal, "revision": revision}
            desk.settle(desk.outcome(key, verdict, **fields))
        case ("refuse", key, reason, wakes) if key in desk.assigned:
            desk.refuse(key, reason=Reason(reason), wakes=wakes)
        case ("wake", mask):
            desk.settle(wakes=mask)
        case ("time", ms):
            desk.after(ms)
        case ("up", name):
            desk.scheduler(name, ("default", "batch") if name == "s1" else ("default",))
        case ("down", name):
            desk.down(name)
        case ("binder",):
            desk.binder()
        case ("restart",):
            desk.restart()
        case ("compact",):
            desk.log = encoded(desk.core)
            desk.restart()


def bind(desk: Desk, key: str, count: int) -> None:
    """The first replicas of a unit's last assignment are bound."""
    view = desk.core.unit(key)
    if view is None or key not in desk.assigned:
        return
    rows = [(r.group, r.ordinal) for r in view.replicas if r.phase in ("WAITING", "PLACING")]
    revision = view.revision
    outcomes = [
        desk.outcome(key, Verdict.BOUND, group=g, ordinal=o, revision=revision)
        for g, o in rows[:count]
    ]
    if outcomes:
        desk.settle(*outcomes)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_records_and_snapshots_give_the_same_dispatcher(steps: list[tuple[Any, ...]]) -> None:
    desk = Desk(CONFIG)
    desk.binder()
    desk.scheduler()
    for step in steps:
        walk(desk, step)
        assert_waiters_have_wakers(desk)
    desk.write_outcomes()
    want = encoded(desk.core)
    assert encoded(restored(90, CONFIG, want)) == want
    from_log = restored(91, CONFIG, desk.log)
    # Definitions made for what was refused are in no record; all else is equal.
    assert encoded(from_log)[1:] == want[1:]
    assert from_log.summary().words == _settled_words(desk)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=30), st.data())
def test_outcomes_that_come_twice_change_nothing(
    steps: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    desk = Desk(CONFIG)
    desk.binder()
    desk.scheduler()
    desk.submit(*(a_unit(key, *CONTENTS[i % len(CONTENTS)]) for i, key in enumerate(KEYS)))
    for step in steps:
        walk(desk, step)
        desk.binder()
    rows = [
        desk.outcome(data.draw(KEY), data.draw(st.sampled_from(list(Verdict)))) for _ in range(3)
    ]
    first = desk._next
    desk.settle(*rows)
    want = encoded(desk.core)
    desk.settle(*rows, first=first)
    desk.binder()
    desk.settle(*rows[1:], first=first + 1)
    assert encoded(desk.core) == want


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_acknowledged_unit_is_known_until_it_is_over(steps: list[tuple[Any, ...]]) -> None:
    desk = Desk(CONFIG)
    desk.binder()
    desk.scheduler()
    known: set[str] = set()
    for step in steps:
        before = {key: desk.state(key) for key in known}
        walk(desk, step)
        for key in known:
            if desk.state(key) is State.FREE:
                assert before[key] in (State.FINISHED, State.FREE)
        known |= {view.key for view in desk.core.units()}
    for view in desk.core.units():
        assert desk.submit(a_unit(view.key, a_group(cpu=77))).refused


def assert_waiters_have_wakers(desk: Desk) -> None:
    """Whatever is parked or backs off is woken by time at the latest; the timer is asked for.

    While units try for their shape, which without a scheduler may last, the end of that wakes the
    others of it.
    """
    parked = [view for view in desk.core.units() if desk.state(view.key) is State.PARKED]
    backoff = [view for view in desk.core.units() if desk.state(view.key) is State.BACKOFF]
    is_tried_for = desk.core._waiting.parked.trying > 0
    if (parked and not is_tried_for) or backoff:
        assert desk.core._wake_at_us > 0
    assert all(view.wakes and view.why for view in parked)


def _settled_words(desk: Desk) -> dict[str, int]:
    """Words as a new life would say them: what was being placed waits."""
    return dict(restored(92, CONFIG, encoded(desk.core)).summary().words)
