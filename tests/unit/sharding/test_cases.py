"""The shared scenarios of one column and of gang rows, run against the planner tick by tick.

Selected by feature, not by name: one column, no surge asked for, and a max_unavailable that leaves
at least one row at every size the scenario has (a budget of zero needs surge, refused so far).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sharding.rolling import Action, Goal, Op, share_ceil, share_floor
from tests.unit.sharding.worlds import RowWorld

CASES = Path(__file__).parents[3] / ".." / "shared" / "cases" / "sharding.json"
COVERED_MIN = 15
"""Scenarios the selection found when this was written; it may only grow."""


if not CASES.is_file():
    # They are not part of the repository: who has only that has nothing to check here.
    pytest.skip(f"no scenarios at {CASES}", allow_module_level=True)


def load() -> list[dict[str, Any]]:
    scenarios: list[dict[str, Any]] = json.loads(CASES.read_text())
    return scenarios


def sizes(scenario: dict[str, Any]) -> list[int]:
    (first,) = scenario["replicas"].values()
    later = [
        size
        for tick in scenario["ticks"]
        for op in tick["ops"]
        for size in op.get("set", {}).get("n", {}).values()
    ]
    return [first, *later]


def is_covered(scenario: dict[str, Any]) -> bool:
    spec = scenario["spec"]
    if len(scenario["replicas"]) != 1 or share_ceil(spec["max_surge"], 1000) != 0:
        return False
    return all(share_floor(spec["max_unavailable"], n) > 0 for n in sizes(scenario) if n)


def number(version: str) -> int:
    return int(version.removeprefix("v"))


def parsed(action: str) -> Action:
    """`a9>v2`, `+a3@v2` or `-a0`."""
    if action[0] == "-":
        return Action(Op.DELETE, int(action[2:]))
    op, mark, text = (Op.CREATE, "@", action[1:]) if action[0] == "+" else (Op.CONVERT, ">", action)
    row, version = text.split(mark)
    return Action(op, int(row[1:]), number(version))


def goal_of(spec: dict[str, Any], rows: int) -> Goal:
    return Goal(
        rows=rows,
        latest=number(spec["latest"]),
        stable=number(spec["stable"]),
        unavailable=share_floor(spec["max_unavailable"], rows),
        keep=share_ceil(spec["keep"], rows),
        is_paused=spec["paused"],
    )


def ordinals(units: list[str]) -> list[int]:
    return [int(unit.partition("/")[0][1:]) for unit in units]


def disturb(world: RowWorld, op: dict[str, Any]) -> None:
    """One operation of the scenario on the world; `spec` is not one."""
    if op["op"] == "break":
        world.broken |= {number(version) for version in op["versions"]}
        return
    for ordinal in ordinals(op["units"]):
        slot = world.slots.get(ordinal)
        match op["op"]:
            case "stuck":
                world.stuck_next.add(ordinal)
            case "heal":
                world.stuck_next.discard(ordinal)
                assert slot is not None
                slot.is_stuck = slot.is_failed = False
            case "fail":
                assert slot is not None
                slot.is_failed = True
            case "down":
                assert slot is not None
                slot.is_down = True
            case "slow":
                assert slot is not None
                slot.ready_at += op["ticks"]
            case other:
                raise AssertionError(f"unknown operation {other}")


SELECTED = [s for s in load() if is_covered(s)]


def test_the_selection_finds_the_scenarios_it_should() -> None:
    assert len(SELECTED) >= COVERED_MIN
    assert {s["id"][0] for s in SELECTED} == {"A", "B"}


@pytest.mark.parametrize("scenario", SELECTED, ids=[f"{s['id']} {s['title']}" for s in SELECTED])
def test_the_plan_is_the_scenarios_tick_by_tick(scenario: dict[str, Any]) -> None:
    (column,) = scenario["replicas"]
    spec = dict(scenario["spec"])
    rows = scenario["replicas"][column]
    start = number(scenario["start_version"])
    world = RowWorld(rows, start, goal_of(spec, rows), scenario["ready_delay"])
    for tick in scenario["ticks"]:
        for op in tick["ops"]:
            if op["op"] == "spec":
                changes = dict(op["set"])
                rows = changes.pop("n", {column: rows})[column]
                spec.update(changes)
                world.goal = goal_of(spec, rows)
            else:
                disturb(world, op)
        world.observe()
        where = f"{scenario['id']} tick {tick['tick']}"
        assert msgspec.to_builtins(world.counts()) == counts(tick["before"][column]), where
        actions = world.plan()
        assert sorted(actions, key=repr) == sorted(map(parsed, tick["actions"]), key=repr), where
        world.apply(actions)
        assert world.counts() == counts(tick["after"][column]), where


def counts(table: dict[str, list[int]]) -> dict[int, list[int]]:
    return {number(version): pair for version, pair in sorted(table.items())}
