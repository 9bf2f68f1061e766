"""Warm-up: after it no conversation compiles anything."""

from __future__ import annotations

from cell.columns import Table
from cell.effects import Received
from cell.fit import labels
from cell.messages import Assign, State
from scheduler.config import SchedulerConfig
from scheduler.kernels import follow, keys, place
from scheduler.plugins.balanced import kernel as balanced
from scheduler.plugins.least import kernel as least
from scheduler.plugins.most import kernel as most
from scheduler.warm import Nothing, warm_up
from tests.unit.scheduler.builders import BINDER, DISPATCHER, Bench, G, U, a_class, a_node, placed

MODULES = (follow, keys, place, balanced, least, most, labels)


def signatures() -> dict[str, int]:
    """How many ways each kernel is compiled."""
    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in MODULES
        for name, kernel in vars(module).items()
        if hasattr(kernel, "signatures")
    }


def wired(table: Table) -> Table:
    return type(table).from_bytes(table.to_bytes())


def test_nothing_is_compiled_after_warm_up() -> None:
    warm_up()
    warm = signatures()
    assert warm["scheduler.kernels.place.place"] >= 1
    config = SchedulerConfig(profiles={"hooked": {"nothing": 0, "least": 1, "most": 1}})
    bench = Bench([a_node(labels=(("zone", "a"),))], config, registry={"nothing": Nothing})
    for index in range(1, 200):
        bench.stream.put(index, a_node(others={"gpu": index % 2}))
    state = bench.stream.state()
    columns = [getattr(state, name) for name in State.__struct_fields__]
    columns = [wired(c) if isinstance(c, Table) else c for c in columns]
    bench.handle(Received(BINDER, State(*columns)))
    units = [
        U(1, (G(a_class(selector=(("zone", "a"),))),)),
        U(2, (G(count=90, min=3), G(a_class(2, 1, profile="hooked"), 70, group=1))),
        U(3, (G(pin="n3"),)),
        U(4, (G(a_class(99)),)),
        U(5, (G(a_class(profile="hooked"), pin="n5"),)),
    ]
    assign = bench.sender.assign(units)
    made = Assign(1, wired(assign.rows), assign.classes, assign.pins)  # type: ignore[arg-type]
    effects = bench.handle(Received(DISPATCHER, made))
    assert {row[0] for row in placed(effects)} == {1, 2, 3, 5}
    bench.stream.watermark = 50
    bench.follow(bench.stream.delta())
    assert signatures() == warm
