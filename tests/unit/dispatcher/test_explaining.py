"""Lines that say why units wait: told once per change, and all of them to a new binder."""

from __future__ import annotations

import pytest

from cell.effects import PeerUp, Received
from cell.link import DERIVED, Hello
from cell.messages import ArrivalRows, Arrive, Explain, UidRows
from cell.reasons import Reason
from cell.unit import Settlements, UnitSpec, uid_of
from dispatcher import explaining
from dispatcher.core import DispatcherCore
from tests.unit.dispatcher.builders import Desk, a_submit, a_unit

CPU = Reason.INSUFFICIENT_RESOURCE
NO_CPU = "no node fits: 3 insufficient cpu"
A, B = a_unit("a"), a_unit("b")


class HomeDesk(Desk):
    """A dispatcher whose units are the home's."""

    def __init__(self, *units: UnitSpec) -> None:
        super().__init__()
        self.core = DispatcherCore(1, self.config, is_stored=False)
        self.scheduler()
        self.meet()
        self.arrive(*units)

    def meet(self) -> None:
        """A session with the binder begins."""
        hello = Hello(name="binder", role="binder", term=1, features=(DERIVED,))
        self.give(PeerUp("binder", hello))

    def arrive(self, *units: UnitSpec) -> None:
        """The binder tells of new units."""
        made = a_submit(*units)
        self._keys.update({uid_of(unit.key): unit.key for unit in units})
        rows = ArrivalRows(
            revision=made.units.priority.astype("u4") + 1,
            is_observed=made.units.priority.astype("u1"),
            **vars(made.units),
        )
        classes = tuple(klass.encoded() for klass in made.classes)
        gone, claims = UidRows.empty(), Settlements.empty()
        arrive = Arrive(made.keys, rows, made.groups, classes, made.pins, gone, claims)
        self.give(Received("binder", arrive))

    def end(self, key: str) -> None:
        """The binder tells that a unit is over."""
        hi, lo = uid_of(key)
        empty = a_submit()
        rows = ArrivalRows.empty()
        gone = UidRows.of(uid_hi=[hi], uid_lo=[lo])
        arrive = Arrive((), rows, empty.groups, (), (), gone, Settlements.empty())
        self.give(Received("binder", arrive))

    def told(self) -> dict[str, str]:
        """What the last event told the binder."""
        return {
            self._keys[row["uid_hi"], row["uid_lo"]]: explain.lines[row["line"]]
            for peer, explain in self.sent(Explain)
            for row in explain.rows.rows()
        }

    def wake_all(self) -> None:
        """Something in the cluster lets all parked units try once more."""
        self.settle(wakes=7)
        self.after(100)


def a_parked(*units: UnitSpec) -> HomeDesk:
    desk = HomeDesk(*units)
    desk.refuse(*[unit.key for unit in units], short=[(CPU, 3)])
    return desk


def test_line_is_told_when_a_unit_is_parked_and_not_again_while_it_is_the_same() -> None:
    desk = a_parked(A)
    assert desk.told() == {"a": NO_CPU}
    desk.wake_all()
    desk.refuse("a", short=[(CPU, 3)])
    assert desk.told() == {}
    desk.wake_all()
    desk.refuse("a", short=[(CPU, 2)])
    assert desk.told() == {"a": "no node fits: 2 insufficient cpu"}


def test_new_session_is_told_what_parked_units_wait_for() -> None:
    desk = a_parked(A, B)
    desk.down("binder")
    assert desk.told() == {}
    desk.meet()
    assert desk.told() == {"a": NO_CPU, "b": NO_CPU}


def test_unit_that_was_trying_when_the_session_began_is_told_once_it_is_refused_again() -> None:
    desk = a_parked(A)
    desk.wake_all()
    desk.meet()
    assert desk.told() == {}
    desk.refuse("a", short=[(CPU, 3)])
    assert desk.told() == {"a": NO_CPU}


def test_what_is_learnt_without_a_binder_is_told_to_the_next() -> None:
    desk = HomeDesk(A)
    desk.down("binder")
    desk.refuse("a", short=[(CPU, 3)])
    assert desk.told() == {}
    desk.meet()
    assert desk.told() == {"a": NO_CPU}


def test_unit_that_has_the_row_of_a_former_one_is_told_its_line_though_it_is_the_same() -> None:
    desk = a_parked(A)
    for i in range(3):
        desk.end("a" if not i else f"a{i}")
        desk.arrive(a_unit(f"a{i + 1}"))
        desk.refuse(f"a{i + 1}", short=[(CPU, 3)])
        assert desk.told() == {f"a{i + 1}": NO_CPU}


def test_unknown_profile_is_told() -> None:
    desk = HomeDesk()
    desk.down("s0")
    desk.scheduler("s1", ("other",))
    desk.arrive(A)
    assert desk.told() == {"a": "no scheduler has the profile default"}


def test_message_has_a_limit_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "EXPLAIN_ROWS_MAX", 2)
    desk = a_parked(*[a_unit(f"u{i}") for i in range(5)])
    assert [len(explain.rows) for _, explain in desk.sent(Explain)] == [2, 2, 1]
    assert len(desk.told()) == 5


def test_where_units_are_clients_the_binder_is_told_nothing() -> None:
    desk = Desk()
    desk.scheduler()
    desk.binder()
    desk.submit(A)
    desk.refuse("a")
    assert desk.sent(Explain) == []
