"""Where the home is an authority of its own: Submit and Cancel are asked of it, then answered."""

from __future__ import annotations

from typing import Any

import pytest

from cell.effects import Answer, PeerUp, Received, Request
from cell.home import Answered, Code, Create, Delete
from cell.link import Hello
from cell.messages import Acks, ArrivalRows, Arrive, Cancel, Report, ReportRows, UidRows
from cell.reasons import Refusal, Status
from cell.unit import NO_PIN, GroupBatch, Settlements, UnitSpec, uid_of
from dispatcher.core import DispatcherCore
from tests.unit.dispatcher.builders import a_group, a_submit, a_unit


class Forwarder:
    """A dispatcher's core, its home, and a client."""

    def __init__(self) -> None:
        self.core = DispatcherCore(1, is_stored=False)

    def arrive(self, unit: UnitSpec) -> None:
        """The binder tells of a unit."""
        (group,) = unit.groups
        hi, lo = uid_of(unit.key)
        body = Arrive(
            keys=(unit.key,),
            units=ArrivalRows.of(uid_hi=[hi], uid_lo=[lo], revision=1, priority=0, groups=1),
            groups=GroupBatch.of(klass=[0], count=group.count, min=group.min, pin=NO_PIN),
            classes=(group.klass.encoded(),),
            pins=(),
            gone=UidRows.empty(),
            claims=Settlements.empty(),
        )
        self.core.handle(1, PeerUp("binder", Hello(name="binder", role="binder", term=1)))
        self.core.handle(1, Received("binder", body))

    def ask(self, body: Any) -> list[Any]:
        return self._told(self.core.handle(1, Request(7, body)))

    def answer(self, call: Any, code: Code, why: str = "") -> list[Any]:
        return self._told(self.core.handle(2, Answered(call.call, code, why=why)))

    def _told(self, effects: list[Any]) -> list[Any]:
        return [e for e in effects if isinstance(e, Answer | Create | Delete)]


def test_client_is_told_when_all_its_units_are_made() -> None:
    home = Forwarder()
    units = [a_unit("a"), a_unit("b", a_group(count=3))]
    first, second = home.ask(a_submit(*units))
    assert [call.unit for call in (first, second)] == units
    assert home.answer(second, Code.OK) == []
    assert home.answer(first, Code.OK) == [Answer(7, Acks(2))]
    assert home.answer(first, Code.OK) == []


def test_unit_that_is_known_is_only_compared() -> None:
    home = Forwarder()
    home.arrive(a_unit("a"))
    (call,) = home.ask(a_submit(a_unit("a")))
    assert call.is_known
    (answer,) = home.answer(call, Code.GONE)
    assert [refusal.status for _, refusal in answer.body.refused] == [Status.ALREADY_EXISTS]


def test_what_is_refused_here_is_not_asked_of_the_home() -> None:
    home = Forwarder()
    (call,) = home.ask(a_submit(a_unit(""), a_unit("b")))
    assert call.unit.key == "b"
    (answer,) = home.answer(call, Code.OK)
    assert [(item, refusal.field) for item, refusal in answer.body.refused] == [(0, "key")]


@pytest.mark.parametrize(
    ("code", "want"),
    [
        (Code.CONFLICT, Status.ALREADY_EXISTS),
        (Code.GONE, Status.FAILED_PRECONDITION),
        (Code.THROTTLED, Status.UNAVAILABLE),
        (Code.UNKNOWN, Status.UNAVAILABLE),
    ],
)
def test_refusal_of_the_home_has_a_status(code: Code, want: Status) -> None:
    home = Forwarder()
    (call,) = home.ask(a_submit(a_unit("a")))
    (answer,) = home.answer(call, code, "why")
    ((item, refusal),) = answer.body.refused
    assert (item, refusal.status) == (0, want)


@pytest.mark.parametrize(
    ("code", "why", "want"),
    [
        (Code.OK, "", None),
        (Code.GONE, "", Status.NOT_FOUND),
        (Code.GONE, "403", Status.FAILED_PRECONDITION),
        (Code.UNKNOWN, "", Status.UNAVAILABLE),
    ],
)
def test_cancel_deletes(code: Code, why: str, want: Status | None) -> None:
    home = Forwarder()
    (call,) = home.ask(Cancel(("a",)))
    assert isinstance(call, Delete)
    (answer,) = home.answer(call, code, why)
    assert [refusal.status for _, refusal in answer.body.refused] == ([want] if want else [])


def test_other_requests_are_refused() -> None:
    (answer,) = Forwarder().ask(Report((), ReportRows.empty()))
    assert isinstance(answer.body, Refusal)
    assert answer.body.status is Status.UNIMPLEMENTED
