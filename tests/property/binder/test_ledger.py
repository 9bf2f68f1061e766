"""Laws of the ledger, over histories of plans, commands, node changes and restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cell.messages import ClaimState, CordonNodes, RegisterNodes, RemoveNodes
from cell.unit import CommandOp
from tests.property.binder.twin import Twin, told_of
from tests.unit.binder.builders import Binder, a_class, a_command, a_node, a_row

CPUS = [3000, 2500, 2000]
DEMANDS = [500, 1000, 2000]
UIDS = st.integers(1, 5)

rows = st.builds(
    a_row,
    UIDS,
    group=st.integers(0, 1),
    ordinal=st.integers(0, 2),
    klass=st.sampled_from([0, 0, 1, 1, 2, 3]),
    node=st.sampled_from([0, 0, 1, 1, 2, 2, 7]),
    min=st.integers(0, 3),
    revision=st.integers(1, 3),
    attempt=st.integers(1, 9),
)


@st.composite
def units(draw: st.DrawFn) -> list[dict[str, int]]:
    """A well-formed unit: one uid, revision and attempt, distinct replicas, honest minima."""
    first = draw(rows)
    replicas = draw(st.lists(rows, min_size=1, max_size=4, unique_by=_replica))
    keep = {name: first[name] for name in ("uid_hi", "uid_lo", "handle", "revision", "attempt")}
    minima = {group: draw(st.integers(0, 3)) for group in (0, 1)}
    made = [{**row, **keep, "min": minima[row["group"]]} for row in replicas]
    return sorted(made, key=lambda row: row["group"])


def _replica(row: dict[str, int]) -> tuple[int, int]:
    return row["group"], row["ordinal"]


def _flat(parts: list[list[dict[str, int]]]) -> list[dict[str, int]]:
    return [row for part in parts for row in part]


OF_ONE_REPLICA = (CommandOp.FREE, CommandOp.CONFIRM)
plans = st.one_of(
    st.lists(units(), min_size=1, max_size=4, unique_by=lambda u: u[0]["uid_lo"]).map(_flat),
    st.lists(rows, min_size=1, max_size=5),
)
commands = st.builds(
    a_command,
    st.sampled_from(list(CommandOp)),
    UIDS,
    revision=st.integers(1, 3),
    group=st.integers(0, 1),
    klass=st.integers(0, 2),
).map(lambda row: {**row, "ordinal": 0} if row["op"] in OF_ONE_REPLICA else row)
steps = st.one_of(
    st.tuples(st.just("plan"), plans),
    st.tuples(st.just("command"), commands),
    st.tuples(st.just("marks"), st.integers(0, 9)),
)


def a_binder() -> Binder:
    nodes = [a_node(f"n{i}", cpu=cpu) for i, cpu in enumerate(CPUS)]
    binder = Binder(nodes, [a_class(cpu) for cpu in DEMANDS])
    binder.command(next=0)
    return binder


def state_of(binder: Binder) -> Any:
    """All that must survive a restart, in an order of its own."""
    ledger = binder.core._ledger
    units, claims = ledger.units, ledger.claims
    known = np.flatnonzero((units.head >= 0) | (units.grave >= 0)).tolist()
    books = {}
    for unit in known:
        at, rows = int(units.head[unit]), []
        while at >= 0:
            is_ended = claims.state[at] == ClaimState.FREE
            row = {name: int(column[at]) for name, column in claims._asdict().items()}
            del row["unit"], row["next"]
            klass = row.pop("klass")
            rows.append((*row.values(), b"" if is_ended else ledger.classes.encoded[klass]))
            at = int(claims.next[at])
        uid = int(units.uid_hi[unit]), int(units.uid_lo[unit])
        books[uid] = (
            *(int(c[unit]) for c in (units.revision, units.cancelled, units.live, units.loose)),
            int(units.grave[unit]),
            tuple(rows),
        )
    kept = [
        (first + i, tuple(row.values()))
        for first, journal in ledger.log.kept(ledger.marks.ack)
        for i, row in enumerate(
            {k: v for k, v in r.items() if k != "klass"} for r in journal.rows()
        )
    ]
    return books, binder.core.nodes(), ledger.log.next, ledger.generation, kept


def check_books(binder: Binder) -> None:
    """used is the sum of the claims, and no node is over its capacity."""
    ledger = binder.core._ledger
    live = ledger.live_claims()
    used = np.zeros(ledger.nodes.count, np.int64)
    for claim in live.tolist():
        spec = ledger.classes.specs[ledger.claims.klass[claim]]
        used[ledger.claims.node[claim]] += dict(spec.demand)["cpu"]
    cpu = ledger.nodes.resources.index("cpu")
    assert ledger.nodes.used()[:, cpu].tolist() == used.tolist()
    assert np.bincount(ledger.claims.node[live], minlength=1).sum() == len(live)
    assert all(view.used.get("cpu", 0) <= view.allocatable["cpu"] for view in binder.core.nodes())


@settings(max_examples=300)
@given(st.lists(steps, max_size=14))
def test_the_core_says_what_the_dumb_twin_says(history: list[tuple[str, Any]]) -> None:
    binder, twin = a_binder(), Twin(CPUS, DEMANDS)
    for kind, what in history:
        binder.settles = []
        want = []
        match kind:
            case "plan":
                want = twin.plan(what)
                binder.plan(what)
            case "command":
                want = twin.command(what)
                binder.command(what, next=0)
            case "marks":
                twin.floor = max(twin.floor, what)
                binder.command(floor=what, next=0)
        assert told_of(binder.outcomes()) == want
        assert binder.used() == {f"n{n}": used for n, used in twin.used().items()}
        assert binder.claims() == {k: (f"n{n}", r) for k, (n, r) in twin.claims().items()}
    check_books(binder)


node_steps = st.one_of(
    st.builds(
        lambda i, c: RegisterNodes((a_node(f"n{i}", cpu=c),)),
        st.integers(0, 3),
        st.sampled_from([2000, 6000]),
    ),
    st.builds(lambda i: RemoveNodes((f"n{i}",)), st.integers(0, 2)),
    st.builds(
        lambda i, c: CordonNodes((f"n{i}",), is_cordoned=c), st.integers(0, 2), st.booleans()
    ),
)
marks = st.fixed_dictionaries(
    {"floor": st.integers(0, 12), "next": st.integers(0, 12), "ack": st.integers(0, 30)}
)
wide_steps = st.one_of(
    st.tuples(st.just("plan"), plans),
    st.tuples(st.just("command"), st.tuples(commands, marks)),
    st.tuples(st.just("ask"), node_steps),
)


def play(binder: Binder, step: tuple[str, Any]) -> None:
    match step:
        case ("plan", what):
            binder.plan(what)
        case ("command", (row, made)):
            ack = min(made["ack"], binder.core._ledger.log.next)
            binder.command(row, **{**made, "ack": ack})
        case ("ask", what):
            binder.ask(what)


@settings(max_examples=150)
@given(st.lists(wide_steps, max_size=12), st.integers(0, 12))
def test_a_restored_ledger_is_the_one_that_was(steps: list[Any], compact_at: int) -> None:
    """From its records, from a snapshot, and from a snapshot with records behind it."""
    binder = a_binder()
    for i, step in enumerate(steps):
        if i == compact_at:
            binder.compact()
        play(binder, step)
    live = state_of(binder)
    binder.start()
    assert state_of(binder) == live
    binder.compact()
    binder.start()
    assert state_of(binder) == live
    check_books_but_capacity(binder)


def check_books_but_capacity(binder: Binder) -> None:
    ledger = binder.core._ledger
    used = np.zeros_like(ledger.nodes.used())
    columns = ledger.classes.columns
    for claim in ledger.live_claims().tolist():
        klass = ledger.claims.klass[claim]
        for j in range(columns.entries[klass]):
            used[ledger.claims.node[claim], columns.resource[klass, j]] += columns.amount[klass, j]
    assert np.array_equal(ledger.nodes.used(), used)


@settings(max_examples=100)
@given(st.lists(wide_steps, max_size=12))
def test_a_doubled_command_changes_nothing_and_generations_grow(steps: list[Any]) -> None:
    binder = a_binder()
    for step in steps:
        play(binder, step)
        before = binder.claims(), binder.used()
        if step[0] == "command":
            play(binder, step)
            assert (binder.claims(), binder.used()) == before
    generations = [changes.generation for changes in binder.published]
    assert generations == sorted(set(generations))


@settings(max_examples=100)
@given(st.lists(wide_steps, max_size=12), st.integers(0, 3))
def test_followers_end_with_the_binder_s_tables(steps: list[Any], second_at: int) -> None:
    """Whenever a scheduler connects, its tables are the binder's once the deltas have left, and
    the watermark has passed all of its rows."""
    binder = a_binder()
    binder.scheduler_up("s0")
    for i, step in enumerate(steps):
        if i == second_at:
            binder.scheduler_up("s1")
        play(binder, step)
        if i % 3 == 2:
            binder.deltas()
    binder.deltas()
    for name, follower in binder.followers.items():
        assert follower.watermark == binder.planned[name]
        for view in binder.core.nodes():
            assert follower.free(view.name) == view.allocatable["cpu"] - view.used.get("cpu", 0)
