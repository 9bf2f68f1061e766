"""The core: when it is able, what it gives back, how far one call goes, what plans carry."""

from __future__ import annotations

from typing import Any

import pytest

from cell.effects import Event, PeerDown, PeerUp, Received, Request, Tick, WakeAt
from cell.link import Hello
from cell.messages import Ability, Command
from cell.node import NodeSpec, Taint
from cell.reasons import Reason, Wake
from cell.unit import Commands, PlanOp
from scheduler.config import PluginConfig, Plugins, SchedulerConfig
from scheduler.core import SchedulerCore
from scheduler.framework.profiles import BadProfile
from tests.unit.scheduler.builders import (
    BINDER,
    DISPATCHER,
    UP_BINDER,
    UP_DISPATCHER,
    Bench,
    G,
    Sender,
    Stream,
    U,
    a_class,
    a_node,
    a_unit,
    abilities,
    answers,
    placed,
    plans,
    queued_rows,
    refused,
)


def nodes(count: int, cpu: int = 8) -> list[NodeSpec]:
    return [a_node(cpu) for _ in range(count)]


# Ability


def test_it_is_able_when_the_snapshot_is_whole() -> None:
    core, stream = SchedulerCore("s"), Stream()
    stream.put(0, a_node())
    assert abilities(core.handle(1, UP_DISPATCHER)) == [False]
    assert core.handle(1, UP_BINDER) == []
    assert core.handle(1, Received(BINDER, stream.state(is_last=False))) == []
    assert not core.is_ready
    assert abilities(core.handle(1, Received(BINDER, stream.state()))) == [True]
    assert core.is_ready


def test_ability_is_told_once_and_to_every_new_dispatcher_session() -> None:
    bench = Bench([a_node()])
    assert abilities(bench.effects) == [True]
    assert bench.follow(bench.stream.delta()) == []
    assert abilities(bench.handle(UP_DISPATCHER)) == [True]


def test_while_not_able_units_are_given_back_at_once() -> None:
    core = SchedulerCore("s")
    core.handle(1, UP_DISPATCHER)
    effects = core.handle(1, Received(DISPATCHER, Sender().assign([a_unit(1), a_unit(2, count=3)])))
    assert refused(effects) == {1: Reason.SCHEDULER_UNREADY, 2: Reason.SCHEDULER_UNREADY}
    assert [row["wakes"] for row in answers(effects)[0].rows.rows()] == [Wake.NONE, Wake.NONE]
    assert queued_rows(core) == 0


def test_classes_of_units_given_back_are_known_afterwards() -> None:
    core, sender, stream = SchedulerCore("s"), Sender(), Stream()
    stream.put(0, a_node())
    core.handle(1, UP_DISPATCHER)
    core.handle(1, Received(DISPATCHER, sender.assign([a_unit(1)])))
    core.handle(1, UP_BINDER)
    core.handle(1, Received(BINDER, stream.state()))
    assert placed(core.handle(1, Received(DISPATCHER, sender.assign([a_unit(1)])))) == [
        (1, 0, 0, 0)
    ]


def test_rows_of_one_group_name_what_is_needed_of_the_whole_group() -> None:
    """1. Of a group of four, needed whole, replica 1 is bound. 2. The rest is assigned as two rows.
    3. One of the three is lost at the binder: the others are not enough."""
    bench = Bench(nodes(2))
    rest = U(1, (G(), G(count=2, first=2), G(group=1, count=2, min=1)))
    (plan,) = plans(bench.assign(rest, a_unit(2)))
    least = {(row["uid_lo"], row["group"]): row["min"] for row in plan.rows.rows()}
    assert least == {(1, 0): 3, (1, 1): 1, (2, 0): 1}


# Sessions


def test_a_lost_binder_gives_back_plans_that_no_watermark_covers() -> None:
    bench = Bench(nodes(2))
    bench.assign(a_unit(1), a_unit(2, count=2))
    bench.assign(a_unit(3))
    bench.stream.watermark = 3
    bench.follow(bench.stream.delta())
    effects = bench.handle(PeerDown(BINDER))
    assert abilities(effects) == [False]
    assert refused(effects) == {3: Reason.SCHEDULER_UNREADY}
    assert [row["attempt"] for row in answers(effects)[0].rows.rows()] == [103]
    assert bench.handle(PeerDown(BINDER)) == []


def test_a_plan_partly_covered_is_given_back_whole() -> None:
    bench = Bench(nodes(2))
    bench.assign(a_unit(1), a_unit(2))
    bench.stream.watermark = 1
    bench.follow(bench.stream.delta())
    assert set(refused(bench.handle(PeerDown(BINDER)))) == {1, 2}


def test_a_new_binder_session_without_an_end_of_the_old_one_is_both() -> None:
    bench = Bench(nodes(1))
    bench.assign(a_unit(1))
    effects = bench.handle(UP_BINDER)
    assert abilities(effects) == [False]
    assert set(refused(effects)) == {1}
    assert not bench.core.is_ready


def test_units_still_queued_go_back_when_the_binder_is_lost() -> None:
    bench = Bench(nodes(1), SchedulerConfig(plan_rows_max=1, core_ms_max=1))
    slow = [a_unit(i, a_class(cpu=i)) for i in range(1, 100)]
    assert isinstance(bench.assign(*slow)[-1], WakeAt)
    queued = queued_rows(bench.core)
    assert queued > 0
    planned = len(bench.core._planned)
    back = refused(bench.handle(PeerDown(BINDER)))
    assert len(back) == queued + planned
    assert queued_rows(bench.core) == 0


def test_a_new_binder_session_starts_from_nothing() -> None:
    bench = Bench([a_node(cpu=2)])
    bench.assign(a_unit(1, a_class(cpu=2)))
    bench.handle(PeerDown(BINDER))
    bench.handle(UP_BINDER)
    bench.stream = Stream()
    bench.stream.put(0, a_node(cpu=2))
    assert abilities(bench.follow(bench.stream.state())) == [True]
    effects = bench.assign(a_unit(2, a_class(cpu=2)))
    assert placed(effects) == [(2, 0, 0, 0)]
    assert plans(effects)[0].first == 0
    assert len(plans(effects)[0].classes) == 1


def test_a_lost_dispatcher_leaves_assumptions_until_the_watermark() -> None:
    bench = Bench([a_node(cpu=2)])
    bench.assign(a_unit(1, a_class(cpu=2)))
    assert bench.handle(PeerDown(DISPATCHER)) == []
    bench.sender = Sender()
    bench.handle(UP_DISPATCHER)
    assert refused(bench.assign(a_unit(2, a_class(cpu=2)))) == {2: Reason.INSUFFICIENT_RESOURCE}
    bench.stream.watermark = 1
    bench.follow(bench.stream.delta())
    assert placed(bench.assign(a_unit(3, a_class(cpu=2)))) == [(3, 0, 0, 0)]


def test_a_lost_dispatcher_drops_its_queue_and_hears_nothing_of_its_plans() -> None:
    bench = Bench(nodes(1), SchedulerConfig(plan_rows_max=1, core_ms_max=1))
    bench.assign(*[a_unit(i, a_class(cpu=i)) for i in range(1, 100)])
    bench.handle(PeerDown(DISPATCHER))
    assert queued_rows(bench.core) == 0
    bench.handle(UP_DISPATCHER)
    assert bench.handle(Tick()) == []
    assert refused(bench.handle(PeerDown(BINDER))) == {}


def test_an_end_of_a_session_that_was_not_there_is_nothing() -> None:
    assert SchedulerCore("s").handle(1, PeerDown("x")) == []


def test_what_is_no_event_of_a_scheduler_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no event"):
        SchedulerCore("s").handle(1, Request(1, None))


@pytest.mark.parametrize(
    "event",
    [
        PeerUp("x", Hello(name="x", role="scheduler")),
        Received(BINDER, Ability(True)),
        Received(DISPATCHER, Command(1, 0, 0, 0, Commands.empty())),
        Received("x", Ability(True)),
    ],
    ids=lambda event: type(getattr(event, "body", event)).__name__,
)
def test_a_message_or_a_peer_that_is_none_of_its_own_is_passed_over(event: Event) -> None:
    bench = Bench([a_node()])
    assert bench.core.handle(2, event) == []
    assert bench.core.is_ready


# Plans


def test_a_plan_row_carries_the_unit_and_the_node_as_the_binder_knows_them() -> None:
    bench = Bench([a_node()])
    bench.stream.put(0, None)
    bench.follow(bench.stream.state())
    bench.stream.put(0, a_node())
    bench.follow(bench.stream.state())
    plan = plans(bench.assign(a_unit(5, count=2, min=1, first=3, group=1), term=9))[0]
    assert (plan.term, plan.first, plan.generation) == (9, 0, bench.stream.generation)
    want = {
        "op": PlanOp.BIND,
        "handle": 5,
        "uid_hi": 0,
        "uid_lo": 5,
        "revision": 1,
        "attempt": 105,
        "group": 1,
        "klass": plan.classes[0].index,
        "min": 1,
        "node": 0,
        "incarnation": 2,
    }
    assert plan.rows.rows() == [{**want, "ordinal": 3}, {**want, "ordinal": 4}]
    assert plan.classes[0].encoded == a_class().encoded()


def test_plan_rows_are_numbered_on_and_classes_sent_once() -> None:
    bench = Bench(nodes(2))
    first = plans(bench.assign(a_unit(1), a_unit(2)))[0]
    second = plans(bench.assign(a_unit(3), a_unit(4, a_class(cpu=2))))[0]
    assert (first.first, second.first) == (0, 2)
    assert [entry.encoded for entry in second.classes] == [a_class(cpu=2).encoded()]


def test_a_plan_has_no_more_rows_than_the_limit_unless_one_unit_has() -> None:
    bench = Bench(nodes(4), SchedulerConfig(plan_rows_max=3))
    units = [a_unit(1, count=2), a_unit(2, count=2), a_unit(3), a_unit(4, count=5), a_unit(5)]
    assert [len(p.rows) for p in plans(bench.assign(*units))] == [2, 3, 5, 1]


def test_units_are_answered_in_order_when_batches_are_cut() -> None:
    bench = Bench(nodes(4, cpu=3), SchedulerConfig(plan_rows_max=2))
    units = [a_unit(i, a_class(cpu=2 if i % 2 else 4)) for i in range(8)]
    effects = bench.assign_all(*units)
    assert [row[0] for row in placed(effects)] == [1, 3, 5, 7]
    assert sorted(refused(effects)) == [0, 2, 4, 6]


def test_one_call_goes_as_far_as_its_limit_and_asks_for_the_next() -> None:
    bench = Bench(nodes(1), SchedulerConfig(core_ms_max=1))
    units = [a_unit(i, a_class(cpu=1 + i)) for i in range(200)]
    effects = bench.assign(*units)
    assert effects[-1] == WakeAt(7)
    done = len(placed(effects)) + len(refused(effects))
    assert 0 < done < 200
    assert queued_rows(bench.core) == 200 - done
    rest = bench.handle(Tick())
    assert min({row[0] for row in placed(rest)} | refused(rest).keys()) == done


def test_more_classes_than_slots_are_placed_all_the_same() -> None:
    bench = Bench([a_node(cpu=500, pods=100)], SchedulerConfig(class_slots_max=16))
    units = [a_unit(i, a_class(cpu=1 + i % 20)) for i in range(40)]
    assert [row[0] for row in placed(bench.assign_all(*units))] == list(range(40))


def test_nothing_to_place_says_nothing() -> None:
    bench = Bench(nodes(1))
    assert bench.assign() == []
    assert bench.handle(Tick()) == []


# What changes while units wait


def test_a_pin_is_looked_up_when_the_unit_is_placed() -> None:
    bench = Bench([a_node(cpu=500)], SchedulerConfig(core_ms_max=1))
    many = [a_unit(i, a_class(cpu=1 + i)) for i in range(200)]
    assert isinstance(bench.assign(*many, U(999, (G(pin="n1"),)))[-1], WakeAt)
    bench.stream.put(1, a_node())
    effects = bench.follow(bench.stream.state([1]))
    while queued_rows(bench.core):
        effects += bench.handle(Tick())
    assert (999, 0, 0, 1) in placed(effects)


def test_a_resource_may_come_after_the_class_that_needs_it() -> None:
    bench = Bench(nodes(1))
    gpu = a_class(others={"gpu": 2})
    assert refused(bench.assign(a_unit(1, gpu))) == {1: Reason.INSUFFICIENT_RESOURCE}
    bench.stream.put(1, a_node(others={"gpu": 4}))
    bench.follow(bench.stream.state([1]))
    assert placed(bench.assign(a_unit(1, gpu), a_unit(2, gpu))) == [(1, 0, 0, 1), (2, 0, 0, 1)]
    assert refused(bench.assign(a_unit(3, gpu))) == {3: Reason.INSUFFICIENT_RESOURCE}


def test_rows_of_an_older_generation_change_nothing() -> None:
    bench = Bench([a_node(cpu=2)])
    old = bench.stream.state()
    bench.stream.use(0, {"cpu": 2})
    bench.follow(bench.stream.state())
    bench.follow(old)
    assert refused(bench.assign(a_unit(1))) == {1: Reason.INSUFFICIENT_RESOURCE}


@pytest.mark.parametrize(
    "change",
    [{"unschedulable": True}, {"taints": (Taint("a", "", "NoExecute"),)}, {"labels": ()}],
    ids=str,
)
def test_a_change_of_rules_counts_although_the_room_is_the_same(change: dict[str, object]) -> None:
    zone = (("zone", "a"),)
    klass = a_class(selector=zone)
    bench = Bench([a_node(labels=zone), a_node(labels=zone, cpu=1)])
    assert placed(bench.assign(a_unit(1, klass))) == [(1, 0, 0, 0)]
    bench.stream.put(0, a_node(**{"labels": zone, **change}))  # type: ignore[arg-type]
    bench.follow(bench.stream.state([0]))
    assert placed(bench.assign(a_unit(2, klass))) == [(2, 0, 0, 1)]
    bench.stream.put(0, a_node(labels=zone))
    bench.follow(bench.stream.state([0]))
    assert placed(bench.assign(a_unit(3, klass))) == [(3, 0, 0, 0)]


# Preferences


def test_the_own_partition_comes_first_whatever_the_score() -> None:
    full, empty = a_node(cpu=10), a_node(cpu=10)
    bench = Bench([empty, full], partition=1, partitions=2)
    bench.stream.use(1, {"cpu": 8})
    bench.follow(bench.stream.state([1]))
    assert [row[3] for row in placed(bench.assign(a_unit(1), a_unit(2), a_unit(3)))] == [1, 1, 0]


def test_two_schedulers_end_ties_in_different_order() -> None:
    orders = []
    for name in ("scheduler-0", "scheduler-1"):
        core, stream = SchedulerCore(name), Stream()
        for i in range(30):
            stream.put(i, a_node(cpu=1))
        core.handle(1, UP_BINDER)
        core.handle(1, UP_DISPATCHER)
        core.handle(1, Received(BINDER, stream.state()))
        units = [a_unit(i) for i in range(30)]
        effects = core.handle(1, Received(DISPATCHER, Sender().assign(units)))
        orders.append([row[3] for row in placed(effects)])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(30))
    assert orders[0] != orders[1]


# Configuration


def test_profiles_are_told_and_bad_ones_refused() -> None:
    config = SchedulerConfig(profiles={"mine": {"most": 2}})
    assert SchedulerCore("s", config=config).profiles == ("default", "mine", "pack", "spread")
    for plugins in ({"nonsense": 1}, {"least": 0}, {"least": 11}):
        with pytest.raises(BadProfile, match="profile mine"):
            SchedulerCore("s", config=SchedulerConfig(profiles={"mine": plugins}))


SHAPE = [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]


@pytest.mark.parametrize(
    ("args", "want"),
    [
        ({}, "plugin ratio: .*`shape`"),
        ({"shape": []}, "plugin ratio: args.shape: needs at least"),
        ({"shape": [*SHAPE, SHAPE[0]]}, "plugin ratio: args.shape: utilization has to grow"),
        ({"shape": [{"utilization": 0, "score": 11}]}, r"plugin ratio: .*`args.shape\[0\].score`"),
        ({"shape": SHAPE, "form": 1}, "plugin ratio: .*`form`"),
        ({"shape": SHAPE, "resources": [{"name": "pods"}]}, "plugin ratio: args.resources"),
    ],
)
def test_bad_arguments_name_profile_plugin_and_field(args: dict[str, Any], want: str) -> None:
    plugins: Plugins = {"ratio": PluginConfig(1, args)}
    with pytest.raises(BadProfile, match=f"profile mine: {want}"):
        SchedulerCore("s", config=SchedulerConfig(profiles={"mine": plugins}))


def test_a_plugin_without_arguments_takes_none() -> None:
    config = SchedulerConfig(profiles={"mine": {"least": PluginConfig(1, {"x": 1})}})
    with pytest.raises(BadProfile, match=r"plugin least: args\.x: the plugin takes no arguments"):
        SchedulerCore("s", config=config)


def test_a_shape_decides_which_node_is_best() -> None:
    shape = {"shape": SHAPE, "resources": [{"name": "gpu", "weight": 3}, {"name": "cpu"}]}
    config = SchedulerConfig(profiles={"fill": {"ratio": PluginConfig(1, shape)}})
    nodes = [a_node(name=f"n{i}", others={"gpu": gpus}) for i, gpus in enumerate((8, 2, 4))]
    bench = Bench(nodes, config)
    rows = placed(bench.assign_all(a_unit(1, a_class(others={"gpu": 1}, profile="fill"), count=3)))
    assert [row[3] for row in rows] == [1, 1, 2]
    verdicts = bench.core.verdicts(a_class(others={"gpu": 1}, profile="fill").encoded())
    assert verdicts.scores["n2"]["ratio"] == (3 * 50 + 25 + 2) // 4
