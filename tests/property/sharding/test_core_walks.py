"""Random histories of the core: sessions end, the controller dies between effects, rows fail.

Checked by the fake dispatcher's own count: no request stops a serving row when that leaves fewer
than the bound, whatever was lost before; and once all heals, every row serves the wanted version.
Failures strike only while nothing is under way and reach the core at once, since one that it cannot
know of yet is no fault of its plan; nor is a row that got ready while it was being asked to change.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cell.effects import PeerUp, Request, Tick
from cell.reasons import Refusal, Status
from cell.release import (
    DISPATCHER,
    CreateRollingset,
    DeleteRollingset,
    RollingsetSpec,
    UpdateRollingset,
)
from cell.unit import Phase
from sharding.spec import Limits
from tests.unit.sharding.builders import HELLO, Loop, a_set

LIMITS = Limits(recover_backoff_ms_min=1, recover_backoff_ms_max=4, retry_ms_min=1)
STEPS = [
    "to dispatcher", "to dispatcher", "to dispatcher", "to core", "to core", "to core",
    "ready", "ready", "fail", "release", "broken release", "rollback", "pause",
    "end session", "crash", "crash between effects", "refuse", "accept", "wait",
]  # fmt: skip
BROKEN = 9
"""A version that never gets ready."""


class Walk:
    """One history."""

    def __init__(self, rows: int, unavailable: int) -> None:
        self.rows, self.unavailable = rows, unavailable
        self.version = 1
        self.is_paused = False
        self.late: set[str] = set()
        self.loop = Loop(LIMITS)
        self.loop.connect()
        self.loop.request(CreateRollingset(self.spec()))
        self.calm()

    def spec(self) -> RollingsetSpec:
        return a_set(
            self.version, self.rows, max_unavailable=self.unavailable, is_paused=self.is_paused
        )

    def calm(self) -> None:
        """Deliver and get ready until nothing changes any more."""
        for _ in range(200):
            self.arrive_all()
            is_changed = self.loop.report_all_ready(frozenset({BROKEN}))
            self.loop.wait(10)
            if not is_changed and not self.loop.to_core and not self.loop.to_dispatcher:
                return
        raise AssertionError("does not come to rest")

    def arrive_all(self) -> None:
        while self.loop.to_dispatcher or self.loop.to_core:
            if self.loop.to_dispatcher:
                self.arrive()
            else:
                self.loop.deliver()

    def arrive(self) -> None:
        """One message reaches the dispatcher; whatever it stops, the bound must hold after it."""
        self.loop.dispatcher.stopped.clear()
        self.loop.arrive()
        stopped = [key for key in self.loop.dispatcher.stopped if key not in self.late]
        if stopped:
            left = self.loop.serving()
            assert left >= self.rows - self.unavailable, f"{stopped} stopped, {left} left"

    def update(self) -> None:
        self.loop.request(UpdateRollingset(self.spec()))

    def step(self, name: str, pick: int) -> None:
        """One step; a step that cannot be taken now is none."""
        loop = self.loop
        if not loop.to_dispatcher and not loop.to_core:
            self.late.clear()
        match name:
            case "to dispatcher" | "to core":
                self.travel(name)
            case "ready":
                self.get_ready()
            case "fail" if not loop.to_dispatcher and not loop.to_core:
                self.fail(pick)
            case "release" | "broken release" | "rollback" | "pause":
                self.release(name, pick)
            case "end session" if loop.is_up:
                loop.disconnect()
            case "end session" | "wait":
                loop.wait(pick)
                if not loop.is_up:
                    loop.connect()
            case "crash":
                loop.restart()
            case "crash between effects":
                self.crash_between_effects(pick)
            case "refuse" | "accept":
                refusal = Refusal(Status.UNAVAILABLE, "", "no binder", pick % 3)
                loop.dispatcher.refuse = refusal if name == "refuse" else None

    def travel(self, name: str) -> None:
        if name == "to dispatcher" and self.loop.to_dispatcher:
            self.arrive()
        elif name == "to core" and self.loop.to_core:
            self.loop.deliver()

    def get_ready(self) -> None:
        units = self.loop.dispatcher.units
        waiting = [key for key, unit in sorted(units.items()) if not unit.is_serving]
        self.loop.report_all_ready(frozenset({BROKEN}))
        if self.loop.to_dispatcher:
            self.late.update(key for key in waiting if units[key].is_serving)

    def fail(self, pick: int) -> None:
        units = self.loop.dispatcher.units
        keys = [key for key, unit in sorted(units.items()) if not unit.is_over]
        if keys:
            self.loop.report(keys[pick % len(keys)], Phase.FAILED, group=pick % 2)
        while self.loop.to_core:
            self.loop.deliver()

    def release(self, name: str, pick: int) -> None:
        match name:
            case "release":
                self.version = 2 + pick % 4
            case "broken release":
                self.version = BROKEN
            case "rollback":
                self.version = 1
            case "pause":
                self.is_paused = not self.is_paused
        self.update()

    def crash_between_effects(self, pick: int) -> None:
        """The controller dies after the first few effects of its next event."""
        loop = self.loop
        if not loop.is_up:
            loop.is_up = True
            event = PeerUp(DISPATCHER, HELLO)
            loop.handle(event, effects_max=pick % 3)
        elif pick % 2:
            self.version = 2 + pick % 4
            loop.handle(Request(0, UpdateRollingset(self.spec())), effects_max=pick % 5)
            if pick % 5 == 0:
                loop.restart()
                loop.request(UpdateRollingset(self.spec()))
        else:
            loop.handle(Tick(), effects_max=pick % 3)
        for _ in range(pick % 3):
            if loop.to_dispatcher:
                self.arrive()
        loop.restart()

    def heal(self) -> None:
        self.loop.dispatcher.refuse = None
        self.is_paused = False
        if self.version == BROKEN:
            self.version = 6
        if not self.loop.is_up:
            self.loop.connect()
        self.arrive_all()
        self.update()
        self.calm()


@settings(max_examples=300)
@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 59)), max_size=80),
)
def test_no_history_takes_a_service_below_its_bound_and_every_one_converges(
    rows: int, unavailable: int, steps: list[tuple[str, int]]
) -> None:
    walk = Walk(rows, min(unavailable, rows))
    for name, pick in steps:
        walk.step(name, pick)
    walk.heal()
    view = walk.loop.view()
    want = walk.version * 1000
    live = {k: u for k, u in walk.loop.dispatcher.units.items() if not u.is_over}
    assert (view.word, view.ready_rows) == ("Settled", rows)
    assert sorted(live) == sorted(row.key for row in view.rows), "one unit per row, no other lives"
    assert {amount for unit in live.values() for amount in unit.amounts} == {want}
    assert walk.loop.core.handle(walk.loop.now_us, Tick()) == [], "at rest nothing is asked"
    walk.rows = 0
    walk.loop.request(DeleteRollingset("web"))
    walk.arrive_all()
    assert all(unit.is_over for unit in walk.loop.dispatcher.units.values())
