"""The order of those that wait is total and that of a sorted list, whatever comes and goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.unit import uid_of
from dispatcher.codes import State
from dispatcher.config import DispatcherConfig
from dispatcher.dictionary import Classes, Names
from dispatcher.records import GroupRows
from dispatcher.table import Table
from dispatcher.waiting.sets import Waiting
from tests.unit.dispatcher.builders import a_class

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.lists(st.integers(-1, 1), min_size=1, max_size=30)),
        st.tuples(st.just("take"), st.integers(1, 40)),
        st.tuples(st.just("leave"), st.integers(0, 10_000)),
        st.tuples(st.just("return"), st.integers(0, 10_000)),
    ),
    max_size=40,
)


class Bench:
    """A table of single-replica units of two profiles, and its waiting sets."""

    def __init__(self) -> None:
        self.table = Table(Classes(100), Names(100))
        specs = (a_class(1), a_class(2, "batch"))
        self.numbers = [self.table.classes.of(spec) for spec in specs]
        self.waiting = Waiting(self.table, DispatcherConfig())
        self.inside: set[int] = set()
        self.outside: set[int] = set()

    def submit(self, priorities: list[int]) -> None:
        count = len(priorities)
        keys = np.array([f"u{self.table.age + i}" for i in range(count)] + [None], object)[:-1]
        uids = [uid_of(key) for key in keys]
        klass: Any = [self.numbers[p % 2] for p in priorities]
        handles = self.table.add(
            keys,
            np.array([hi for hi, _ in uids], np.uint64),
            np.array([lo for _, lo in uids], np.uint64),
            np.array(priorities, np.int32),
            0,
            GroupRows.of(klass=klass, count=1, min=1, pin=-1, role=-1),
            np.ones(count, np.int64),
        )
        self.waiting.activate(handles)
        self.inside |= set(handles.tolist())

    def order(self, handles: set[int]) -> list[int]:
        units = self.table.units
        return sorted(handles, key=lambda h: (-int(units.priority[h]), int(units.age[h])))

    def first(self, count: int) -> list[int]:
        routes = range(len(self.table.routes.profiles))
        found: list[int] = self.waiting.active.first(count, routes).tolist()
        return found


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_active_set_is_a_sorted_list(steps: list[tuple[str, Any]]) -> None:
    bench = Bench()
    for step, argument in steps:
        match step:
            case "submit":
                bench.submit(argument)
            case "take":
                taken = bench.first(argument)
                assert taken == bench.order(bench.inside)[:argument]
                bench.waiting.leave(np.array(taken, np.int64), State.LOOSE)
                bench.inside -= set(taken)
                bench.outside |= set(taken)
            case "leave" if bench.inside:
                handle = sorted(bench.inside)[argument % len(bench.inside)]
                bench.waiting.leave(np.array([handle]), State.LOOSE)
                bench.inside.remove(handle)
                bench.outside.add(handle)
            case "return" if bench.outside:
                back = sorted(bench.outside)[:: 1 + argument % 3]
                bench.waiting.activate(np.array(back, np.int64))
                bench.inside |= set(back)
                bench.outside -= set(back)
    assert bench.first(1 << 40) == bench.order(bench.inside)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-2, 2), max_size=60), st.sets(st.integers(0, 1)))
def test_route_that_is_left_out_does_not_stand_in_the_way(
    priorities: list[int], routes: set[int]
) -> None:
    bench = Bench()
    if priorities:
        bench.submit(priorities)
    want = [h for h in bench.order(bench.inside) if bench.table.units.route[h] in routes]
    assert bench.waiting.active.first(10, routes).tolist() == want[:10]
