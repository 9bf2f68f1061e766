"""Laws of the roll planner, from any state and along random walks (cases/sharding.md §2 and F)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.rolling import Action, Goal, Op, RowState, plan, share_ceil, share_floor
from tests.unit.sharding.worlds import RowWorld

VERSIONS = st.integers(1, 4)
STABLE = 1


@st.composite
def goals(draw: st.DrawFn) -> Goal:
    rows = draw(st.integers(0, 12))
    return Goal(
        rows=rows,
        latest=draw(VERSIONS),
        stable=STABLE,
        unavailable=draw(st.integers(0, rows)),
        keep=draw(st.sampled_from([0, 0, 0, rows // 3, rows])),
        is_paused=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def states(draw: st.DrawFn) -> list[RowState]:
    ordinals = draw(st.lists(st.integers(0, 15), unique=True, max_size=12))
    rows = []
    for ordinal in ordinals:
        is_ready = draw(st.booleans())
        is_proved = is_ready or draw(st.booleans())
        rows.append(RowState(ordinal, draw(st.integers(0, 4)), is_ready, is_proved))
    return rows


def applied(rows: Sequence[RowState], actions: Sequence[Action]) -> list[RowState]:
    left = {row.ordinal: row for row in rows}
    for action in actions:
        if action.op is Op.DELETE:
            del left[action.ordinal]
        else:
            assert (action.ordinal in left) == (action.op is Op.CONVERT)
            left[action.ordinal] = RowState(action.ordinal, action.version, False, False)
    return list(left.values())


def ready(rows: Sequence[RowState]) -> int:
    return sum(row.is_ready for row in rows)


def unproven(rows: Sequence[RowState], version: int) -> int:
    return sum(not row.is_ready and not row.is_proved for row in rows if row.version == version)


def check_step(before: list[RowState], goal: Goal, actions: list[Action]) -> None:
    """I1, I4, I5, I8, I12 and I18 for one plan."""
    after = applied(before, actions)
    floor = goal.rows - goal.unavailable
    by_ordinal = {row.ordinal: row for row in before}
    assert ready(after) >= ready(before) or ready(after) >= floor, "I1 the floor"
    assert len(after) <= max(len(before), goal.rows), "I4 no more rows than wanted"
    for version in {goal.latest} - {goal.stable} if before else set():
        allowed = max(unproven(before, version), goal.unavailable)
        assert unproven(after, version) <= allowed, "I5 the blast radius"
    converted = [by_ordinal[a.ordinal] for a in actions if a.op is Op.CONVERT]
    left = [row for row in before if row in after]
    for row in converted:
        if row.is_ready:
            alike = [x for x in left if not x.is_ready and x.version == row.version]
            assert not alike, "I8 a row that is not ready goes first"
    assert not (goal.is_paused and converted), "I12 a pause converts nothing"
    assert all(a.version != by_ordinal[a.ordinal].version for a in actions if a.op is Op.CONVERT)
    assert len({a.ordinal for a in actions}) == len(actions), "one action per row"
    assert plan(list(reversed(before)), goal) == actions, "I18 the order of input is nothing"


@given(states(), goals())
def test_every_plan_is_safe_from_any_state(rows: list[RowState], goal: Goal) -> None:
    check_step(rows, goal, plan(rows, goal))


@given(goals(), VERSIONS)
def test_the_goal_is_a_fixed_point(goal: Goal, version: int) -> None:
    on_latest = goal.rows - goal.keep
    old = version if version != goal.latest else goal.stable
    rows = [
        RowState(i, goal.latest if i < on_latest else old, True, True) for i in range(goal.rows)
    ]
    is_reached = old != goal.latest or goal.keep == 0
    if is_reached:
        assert plan(rows, goal) == []


@given(states(), goals(), st.data())
def test_taking_part_of_a_plan_is_safe_and_the_next_plan_goes_on(
    rows: list[RowState], goal: Goal, data: st.DataObject
) -> None:
    actions = plan(rows, goal)
    taken = actions[: data.draw(st.integers(0, len(actions)))]
    partly = applied(rows, taken)
    assert ready(partly) >= min(ready(rows), goal.rows - goal.unavailable)
    if partly:
        check_step(partly, goal, plan(partly, goal))


@given(states(), goals())
def test_renaming_versions_changes_only_names(rows: list[RowState], goal: Goal) -> None:
    def named(version: int) -> int:
        return 90 - version

    renamed = [msgspec.structs.replace(row, version=named(row.version)) for row in rows]
    elsewhere = msgspec.structs.replace(goal, latest=named(goal.latest), stable=named(goal.stable))
    want = [
        msgspec.structs.replace(a, version=named(a.version))
        if a.version or a.op is not Op.DELETE
        else a
        for a in plan(rows, goal)
    ]
    assert plan(renamed, elsewhere) == want


EVENTS = [
    "fail",
    "heal",
    "release",
    "broken release",
    "rollback",
    "size",
    "pause",
    "keep",
    "budget",
]
CALM = ["none"] * 3


def strike(world: RowWorld, event: str, pick: int) -> None:
    """One event of a walk; `pick` chooses among whatever it can hit."""
    goal = world.goal
    replace = msgspec.structs.replace
    chosen = sorted(world.slots)[pick % len(world.slots)] if world.slots else None
    match event:
        case "fail" if chosen is not None:
            world.slots[chosen].is_failed = True
        case "heal":
            for slot in world.slots.values():
                slot.is_failed = False
        case "release" | "broken release":
            latest = goal.latest + 1
            world.goal = replace(goal, latest=latest)
            world.broken |= {latest} if event == "broken release" else set()
        case "rollback":
            world.goal = replace(goal, latest=goal.stable)
        case "size":
            rows = pick % 13
            world.goal = replace(goal, rows=rows, unavailable=max(min(rows, 1), rows // 3), keep=0)
        case "pause":
            world.goal = replace(goal, is_paused=not goal.is_paused)
        case "keep":
            world.goal = replace(goal, keep=pick % (goal.rows + 1))
        case "budget":
            world.goal = replace(goal, unavailable=max(min(goal.rows, 1), pick % (goal.rows + 1)))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 10),
    st.lists(st.tuples(st.sampled_from(EVENTS + CALM), st.integers(0, 99)), max_size=60),
    st.integers(1, 3),
)
def test_a_walk_is_safe_at_every_tick_and_converges_once_all_heals(
    rows: int, events: list[tuple[str, int]], delay: int
) -> None:
    goal = Goal(rows=rows, latest=STABLE, stable=STABLE, unavailable=1)
    world = RowWorld(rows, STABLE, goal, delay)
    for event, pick in events:
        strike(world, event, pick)
        step(world)
    world.broken.clear()
    strike(world, "heal", 0)
    world.goal = msgspec.structs.replace(world.goal, is_paused=False)
    for _ in range(400):
        if not step(world) and all(slot.is_ready for slot in world.slots.values()):
            break
    converged = Counter(slot.version for slot in world.slots.values())
    assert len(world.slots) == world.goal.rows, "I17 as many rows as wanted"
    if world.goal.latest != STABLE:
        assert converged[world.goal.latest] == world.goal.rows - world.goal.keep, "I17 the goal"
    assert all(slot.is_ready for slot in world.slots.values()), "I17 all ready"
    assert world.plan() == [], "I18 at rest"


def step(world: RowWorld) -> list[Action]:
    """One tick, checked."""
    before = world.observe()
    actions = world.plan()
    check_step(before, world.goal, actions)
    world.apply(actions)
    return actions


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.data())
def test_a_calm_roll_converts_each_row_once_and_always_makes_progress(
    rows: int, data: st.DataObject
) -> None:
    unavailable = data.draw(st.integers(1, rows))
    goal = Goal(rows=rows, latest=2, stable=STABLE, unavailable=unavailable)
    world = RowWorld(rows, STABLE, goal, delay=data.draw(st.integers(1, 3)))
    converted: Counter[int] = Counter()
    progress = 0
    for _ in range(world.delay * -(-rows // unavailable) + 2):
        actions = step(world)
        converted.update(action.ordinal for action in actions)
        done = sum(slot.version == 2 for slot in world.slots.values())
        assert done >= progress, "I16 progress never falls"
        progress = done
    assert converted == Counter(range(rows)), "I16 each row once, and the roll is over in time"


def test_ten_thousand_rows_are_planned_in_one_pass_over_sorted_lists() -> None:
    rows = [RowState(i, 1 + (i % 7 == 0), i % 11 != 0, True) for i in range(10_000)]
    goal = Goal(rows=10_000, latest=2, stable=STABLE, unavailable=2000)
    actions = plan(rows, goal)
    check_step(rows, goal, actions)
    assert 0 < len(actions) <= 2000


@given(st.integers(0, 100), st.integers(0, 1000))
def test_percentages_are_exact_and_differ_by_at_most_one_row(percent: int, rows: int) -> None:
    low, high = share_floor(f"{percent}%", rows), share_ceil(f"{percent}%", rows)
    assert low * 100 <= percent * rows <= high * 100
    assert high - low <= 1
    assert share_floor(percent, rows) == share_ceil(str(percent), rows) == min(percent, rows)
