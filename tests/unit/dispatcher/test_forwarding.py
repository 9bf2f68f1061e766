"""Where the home is an authority of its own: Submit and Cancel are asked of it, then answered."""

from __future__ import annotations

from typing import Any

import pytest

from cell.effects import Answer, PeerUp, Received, Request
from cell.home import Answered, Code, Create, Delete
from cell.link import Hello
from cell.messages import Acks, Amend, ArrivalRows, Arrive, Cancel, Settle, UidRows
from cell.reasons import Reason, Refusal, Status
from cell.unit import NO_PIN, GroupBatch, Phase, Settlements, UnitSpec, Verdict, uid_of
from dispatcher.core import DispatcherCore
from tests.unit.dispatcher.builders import a_group, a_report, a_submit, a_unit


class Forwarder:
    """A dispatcher's core, its home, and a client."""

    def __init__(self) -> None:
        self.core = DispatcherCore(1, is_stored=False)

    def arrive(self, unit: UnitSpec, *, is_observed: bool = True) -> None:
        """The binder tells of a unit."""
        (group,) = unit.groups
        hi, lo = uid_of(unit.key)
        body = Arrive(
            keys=(unit.key,),
            units=ArrivalRows.of(
                uid_hi=[hi],
                uid_lo=[lo],
                revision=1,
                priority=0,
                groups=1,
                is_observed=is_observed,
            ),
            groups=GroupBatch.of(klass=[0], count=group.count, min=group.min, pin=NO_PIN),
            classes=(group.klass.encoded(),),
            pins=(),
            gone=UidRows.empty(),
            claims=Settlements.empty(),
        )
        self.core.handle(1, PeerUp("binder", Hello(name="binder", role="binder", term=1)))
        self.core.handle(1, Received("binder", body))

    def settle(self, first: int, key: str, verdict: Verdict, reason: Reason) -> list[Any]:
        """The binder tells what became of the first replica of a unit."""
        hi, lo = uid_of(key)
        names = Settlements.types
        row = {"uid_hi": hi, "uid_lo": lo, "revision": 1, "verdict": verdict, "reason": reason}
        rows = Settlements.of(**{name: [row.get(name, 0)] for name in names})
        settle = Settle(first + 1, first, rows, 0, ("n0",))
        return self._told(self.core.handle(3, Received("binder", settle)))

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


@pytest.mark.parametrize("phase", [Phase.DONE, Phase.FAILED])
def test_end_that_is_reported_is_acknowledged_once_the_home_has_it(phase: Phase) -> None:
    """1. A client says that a replica is done. 2. It is told so, and this dispatcher dies. 3. The
    next one would take the replica to run for ever."""
    home = Forwarder()
    home.arrive(a_unit("a"), is_observed=False)
    assert home.settle(0, "a", Verdict.BOUND, Reason.NONE) == []
    assert home.ask(a_report(("a", Phase.READY))) == [Answer(7, Acks(1))]
    assert home.ask(a_report(("a", phase))) == []
    assert home.ask(a_report(("a", phase))) == [], "who asks again waits as well"
    reason = Reason.REPORTED_DONE if phase is Phase.DONE else Reason.REPORTED_FAILED
    assert home.settle(1, "a", Verdict.RELEASED, reason) == [Answer(7, Acks(1))] * 2


def test_report_about_pods_is_refused() -> None:
    home = Forwarder()
    home.arrive(a_unit("a"))
    home.settle(0, "a", Verdict.BOUND, Reason.NONE)
    (answer,) = home.ask(a_report(("a", Phase.DONE), ("b", Phase.DONE)))
    said = "is a unit of pods: what becomes of them is seen in the API server"
    assert answer.body.refused == (
        (0, Refusal(Status.FAILED_PRECONDITION, "key", said)),
        (1, Refusal(Status.NOT_FOUND, "key", "unknown unit")),
    )


def test_other_requests_are_refused() -> None:
    (answer,) = Forwarder().ask(Amend(()))
    assert isinstance(answer.body, Refusal)
    assert answer.body.status is Status.UNIMPLEMENTED
