"""The desk of Submit streams: what comes together is asked together and answered apart."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from cell.effects import Answer
from cell.messages import Acks, Submit
from cell.reasons import Refusal, Status
from cell.unit import NO_PIN, GroupSpec, UnitSpec
from runtime.clock import Clock
from runtime.submit_desk import WAIT_US_MAX, WAIT_US_PER_UNIT, SubmitDesk, merged
from tests.unit.dispatcher.builders import a_class, a_group, a_submit, a_unit
from tests.unit.runtime.shells import ScriptedCore, a_shell, turns, until

groups_of = st.builds(
    GroupSpec,
    klass=st.builds(a_class, cpu=st.sampled_from((1, 2, 3))),
    count=st.integers(1, 4),
    min=st.just(1),
    role=st.sampled_from(("", "a", "b")),
    pin=st.sampled_from(("", "n1", "n2")),
)
units_of = st.builds(
    lambda key, groups, priority: UnitSpec(key, tuple(groups), priority),
    st.text("xyz", min_size=1, max_size=3),
    st.lists(groups_of, min_size=1, max_size=3),
    st.integers(-2, 2),
)
batches_of = st.lists(st.lists(units_of, min_size=1, max_size=4), min_size=1, max_size=4)


def units_in(body: Submit) -> list[UnitSpec]:
    """The units that a batch means."""
    units, row = [], 0
    roles = body.roles or ("",) * len(body.groups)
    each = body.groups.rows()
    for key, unit in zip(body.keys, body.units.rows(), strict=True):
        groups = []
        for g in range(row, row + unit["groups"]):
            pin = each[g]["pin"]
            groups.append(
                GroupSpec(
                    klass=body.classes[each[g]["klass"]],
                    count=each[g]["count"],
                    min=each[g]["min"],
                    role=roles[g],
                    pin="" if pin == NO_PIN else body.pins[pin],
                )
            )
        row += unit["groups"]
        units.append(UnitSpec(key, tuple(groups), unit["priority"]))
    return units


@given(batches_of)
def test_merged_batches_mean_the_same_units_in_order(batches: list[list[UnitSpec]]) -> None:
    bodies = [a_submit(*units) for units in batches]
    assert units_in(merged(bodies)) == [unit for units in batches for unit in units]


class HandClock:
    """Time stands still until the test moves it."""

    def __init__(self) -> None:
        self.us = 1_000_000

    def now_us(self) -> int:
        return self.us


class Desk:
    """A desk in front of a core that refuses every key that begins with "bad"."""

    def __init__(self, items_max: int = 1_000) -> None:
        self.core = ScriptedCore()
        self.asked: list[tuple[str, ...]] = []
        self.answers: list[Any] = []
        self.core.handle = self._handle  # type: ignore[method-assign]
        self.clock = HandClock()
        shell = a_shell(self.core)
        shell.clock = cast(Clock, self.clock)
        self.desk = SubmitDesk(shell, items_max)

    def _handle(self, now_us: int, event: Any) -> list[Any]:
        keys = event.body.keys
        self.asked.append(keys)
        refused = [
            (i, Refusal(Status.INVALID_ARGUMENT, "key", key))
            for i, key in enumerate(keys)
            if key.startswith("bad")
        ]
        return [Answer(event.token, Acks(len(keys), tuple(refused)))]

    def put(self, *keys: str) -> None:
        """A batch of these units, whose answer is noted as (count, {index: key refused})."""
        self.desk.put(a_submit(*(a_unit(key, a_group()) for key in keys)), self._note)

    def _note(self, answer: Any) -> None:
        self.answers.append((answer.count, {i: r.reason for i, r in answer.refused}))


async def test_a_lone_batch_waits_for_nobody() -> None:
    desk = Desk()
    desk.put("a")
    await turns()
    assert desk.asked == [("a",)]


async def test_batches_that_come_together_are_asked_together_and_answered_apart() -> None:
    desk = Desk()
    desk.put("first")
    desk.put("a", "bad-b")
    desk.put("bad-c")
    desk.put("d")
    await turns()
    assert len(desk.asked) == 1
    desk.clock.us += WAIT_US_PER_UNIT
    await until(lambda: len(desk.asked) == 2)
    assert desk.asked[1] == ("a", "bad-b", "bad-c", "d")
    assert desk.answers[1:] == [(2, {1: "bad-b"}), (1, {0: "bad-c"}), (1, {})]


async def test_flush_does_not_wait() -> None:
    desk = Desk()
    desk.put(*(f"crowd-{i}" for i in range(100)))
    desk.put("a")
    await turns()
    assert len(desk.asked) == 1
    desk.desk.flush()
    await turns()
    assert desk.asked[1] == ("a",)


async def test_more_than_a_request_may_hold_is_asked_in_parts() -> None:
    desk = Desk(items_max=3)
    desk.put("first")
    for key in ("ab", "cd", "ef"):
        desk.put(*key)
    desk.clock.us += WAIT_US_MAX
    await until(lambda: len(desk.asked) == 4)
    assert desk.asked[1:] == [("a", "b"), ("c", "d"), ("e", "f")]


async def test_refusal_of_all_is_told_to_all() -> None:
    desk = Desk()
    refusal = Refusal(Status.UNAVAILABLE, "", "not now")
    desk.core.handle = lambda now_us, event: [Answer(event.token, refusal)]  # type: ignore[method-assign]
    seen: list[Any] = []
    for key in ("a", "b", "c"):
        desk.desk.put(a_submit(a_unit(key)), seen.append)
    desk.clock.us += WAIT_US_MAX
    await until(lambda: len(seen) == 3)
    assert seen == [refusal] * 3
