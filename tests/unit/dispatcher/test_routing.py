"""Who gets a unit: credits, sizes of messages, homes of classes, readiness, dictionaries."""

from __future__ import annotations

from cell.effects import PeerUp, Received
from cell.link import Hello
from cell.messages import ASSIGN_ROWS_MAX, Ability, Assign
from cell.unit import UnitSpec
from dispatcher.config import DispatcherConfig
from tests.unit.dispatcher.builders import Desk, State, a_group, a_unit


def units(count: int, cpu: int = 1000, name: str = "u") -> list[UnitSpec]:
    return [a_unit(f"{name}{i:04}", a_group(cpu=cpu)) for i in range(count)]


def test_two_messages_at_most_are_unanswered() -> None:
    desk = Desk()
    desk.scheduler()
    for key in ("a", "b", "c"):
        desk.submit(a_unit(key))
    assert desk.state("c") is State.ACTIVE
    desk.refuse("a")
    assert desk.assigned_now() == ["c"]


def test_message_is_answered_when_each_of_its_units_is() -> None:
    desk = Desk()
    desk.binder()
    desk.submit(*(a_unit(key) for key in ("a", "b", "c")))
    desk.scheduler()
    desk.submit(a_unit("d"))
    desk.submit(a_unit("e"))
    desk.bind("a")
    desk.refuse("b")
    assert desk.state("e") is State.ACTIVE
    desk.cancel("c")
    assert desk.assigned_now() == ["e"]


def test_message_has_limited_rows_and_whole_units() -> None:
    desk = Desk()
    desk.submit(*units(1000), a_unit("z", *[a_group()] * 16))
    desk.scheduler()
    sizes = [len(assign.rows) for _, assign in desk.sent(Assign)]
    assert sizes == [ASSIGN_ROWS_MAX, 216]


def test_like_classes_go_to_the_same_scheduler() -> None:
    desk = Desk()
    desk.binder()
    desk.scheduler("s0")
    desk.scheduler("s1")
    homes: dict[int, str] = {}
    for i in range(6):
        for cpu in (1, 2, 3, 4):
            key = f"u{i}-{cpu}"
            desk.submit(a_unit(key, a_group(cpu=cpu)))
            ((peer, _),) = desk.sent(Assign)
            assert homes.setdefault(cpu, peer) == peer
            desk.bind(key)
    assert set(homes.values()) == {"s0"}, "nothing was under way: the first is the least loaded"


def test_new_classes_go_to_the_least_loaded() -> None:
    desk = Desk()
    desk.scheduler("s0")
    desk.scheduler("s1")
    desk.submit(*units(10, cpu=1, name="a"), *units(3, cpu=2, name="b"), *units(3, 3, "c"))
    assert {peer: len(assign.rows) for peer, assign in desk.sent(Assign)} == {"s0": 10, "s1": 6}


def test_idle_scheduler_takes_what_is_at_home_with_a_busy_one() -> None:
    desk = Desk()
    desk.submit(*units(2 * ASSIGN_ROWS_MAX + 100))
    desk.scheduler("s0")
    assert len(desk.assigned_now("s0")) == 2 * ASSIGN_ROWS_MAX
    desk.scheduler("s1")
    assert len(desk.assigned_now("s1")) == 100


def test_home_is_found_anew_when_its_scheduler_is_gone() -> None:
    desk = Desk()
    desk.scheduler("s0")
    desk.scheduler("s1")
    desk.submit(a_unit("u"))
    desk.down("s0")
    assert desk.assigned_now("s1") == ["u"]


def test_scheduler_gets_nothing_before_it_is_ready_or_when_it_is_not() -> None:
    desk = Desk()
    desk.scheduler(is_ready=False)
    desk.submit(a_unit("u"))
    assert desk.assigned_now() == []
    desk.give(Received("s0", Ability(True)))
    assert desk.assigned_now() == ["u"]
    desk.give(Received("s0", Ability(False)))
    desk.submit(a_unit("v"))
    assert desk.assigned_now() == []


def test_each_session_is_sent_a_class_once() -> None:
    desk = Desk()
    desk.scheduler()
    desk.submit(a_unit("a"))
    assert len(desk.sent(Assign)[0][1].classes) == 1
    desk.submit(a_unit("b"), a_unit("c", a_group(cpu=7)))
    assert len(desk.sent(Assign)[0][1].classes) == 1
    desk.down("s0")
    desk.scheduler()
    assert len(desk.sent(Assign)[0][1].classes) == 2


def test_session_that_begins_without_an_end_is_both() -> None:
    desk = Desk()
    desk.scheduler()
    desk.submit(a_unit("u"))
    desk.give(PeerUp("s0", Hello(name="s0", role="scheduler", profiles=("default",))))
    assert desk.state("u") is State.ACTIVE
    desk.give(Received("s0", Ability(True)))
    assert desk.assigned_now() == ["u"]


def test_flight_that_nobody_answers_is_void_after_a_time() -> None:
    desk = Desk(DispatcherConfig(flight_ms_max=1_000))
    desk.scheduler()
    desk.submit(a_unit("u"))
    first = desk.assigned["u"]["attempt"]
    desk.after(1_001)
    assert desk.assigned_now() == ["u"]
    assert desk.assigned["u"]["attempt"] > first
    assert desk.core._flights.floor == desk.assigned["u"]["attempt"]


def test_pins_travel_by_name() -> None:
    desk = Desk()
    desk.submit(a_unit("a", a_group(pin="n7")), a_unit("b"), a_unit("c", a_group(pin="n3")))
    desk.scheduler()
    ((_, assign),) = desk.sent(Assign)
    named = [assign.pins[pin] if pin >= 0 else "" for pin in assign.rows.pin.tolist()]
    assert named == ["n7", "", "n3"]
