"""The best node that rules between replicas allow: by a few tries, against judging every node.

For classes without wishes between replicas, which are weighed over all nodes anyway.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cell.between import Between, HostPort, PodTerm, Spread
from cell.classes import ClassSpec
from cell.requirements import Operator, Requirement
from scheduler.kernels.place import best_beside
from tests.unit.scheduler.builders import Bench, a_class, a_node, a_unit, placed

ZONES, APPS = 3, 3


def _term(key: str, app: int) -> PodTerm:
    return PodTerm(key, (Requirement("app", Operator.IN, (f"{app}",)),), ("n",))


@st.composite
def classes(draw: st.DrawFn) -> ClassSpec:
    """Of three apps, by terms on zones and on hosts."""
    app = draw(st.integers(0, APPS - 1))
    terms = st.lists(
        st.builds(_term, st.sampled_from(["zone", "host"]), st.integers(0, APPS - 1)), max_size=1
    )
    selector = (Requirement("app", Operator.IN, (f"{app}",)),)
    spread = st.lists(
        st.builds(Spread, st.sampled_from(["zone", "host"]), st.integers(1, 3), st.just(selector)),
        max_size=2,
    )
    ports = draw(st.sampled_from([(), (HostPort(80),)]))
    said = Between(
        "n",
        (("app", f"{app}"),),
        affinity=tuple(draw(terms)),
        anti_affinity=tuple(draw(terms)),
        spread=tuple(draw(spread)),
        ports=ports,
    )
    return a_class(cpu=draw(st.integers(1, 3)), between=said)


@given(
    st.integers(1, 140),
    st.lists(st.tuples(classes(), st.integers(1, 9)), min_size=1, max_size=8),
    st.integers(1, 12),
)
def test_a_replica_goes_to_the_largest_key_that_is_allowed(
    count: int, units: list[tuple[ClassSpec, int]], room: int
) -> None:
    nodes = [
        a_node(room + i % 3, name=f"n{i}", labels=(("host", f"n{i}"), ("zone", f"{i % ZONES}")))
        for i in range(count)
    ]
    bench = Bench(nodes)
    for number, (klass, replicas) in enumerate(units):
        rows = placed(bench.assign_all(a_unit(number, klass, count=replicas, min=1)))
        local = bench.core._classes.intern(klass.encoded())
        if not rows or bench.core._classes.columns.has_wishes[local]:
            continue
        tables, held = bench.core.tables, bench.core._placement._slots
        slot = int(held._slot_of[local])
        why = tables.neighbours.reasons(local)
        allowed = held.columns.keys[slot, :count][why == 0]
        shared = tables.neighbours.columns, bench.core._classes.columns, held.columns
        best = best_beside(*shared, slot, tables.padded_count)
        assert best == np.max(allowed, initial=-1)
