"""Why units wait, on its way through the binder: to whoever tells people, while it leads."""

from __future__ import annotations

from binder.core import BinderCore
from cell.effects import PeerDown, PeerUp, Received
from cell.home import LeaseLost, Line, Tell
from cell.link import Hello
from cell.messages import Explain, WhyRows
from tests.unit.binder.api_builders import ApiBinder


def an_explain(*lines: int) -> Explain:
    """Of units 1, 2, ... and their lines, of which there are two."""
    numbers = [*range(1, len(lines) + 1)]
    return Explain(WhyRows.of(uid_hi=numbers, uid_lo=numbers, line=lines), ("no cpu", "no nodes"))


def passed_on(binder: ApiBinder, explain: Explain, peer: str = "dispatcher") -> list[Tell]:
    effects = binder.core.handle(binder.now_us, Received(peer, explain))
    return [effect for effect in effects if isinstance(effect, Tell)]


def test_lines_are_passed_on_by_unit() -> None:
    binder = ApiBinder()
    want = Tell((Line(1, 1, "no nodes"), Line(2, 2, "no cpu"), Line(3, 3, "no nodes")))
    assert passed_on(binder, an_explain(1, 0, 1)) == [want]


def test_only_the_dispatcher_is_believed_and_only_what_fits_together() -> None:
    binder = ApiBinder()
    assert passed_on(binder, an_explain(0), peer="s0") == []
    assert passed_on(binder, an_explain(0, 2)) == []
    binder.handle(PeerDown("dispatcher"))
    assert passed_on(binder, an_explain(0)) == []


def test_who_does_not_lead_tells_nobody() -> None:
    binder = ApiBinder()
    binder.handle(LeaseLost())
    assert passed_on(binder, an_explain(0)) == []


def test_where_clients_ask_the_dispatcher_nobody_else_is_told() -> None:
    core = BinderCore(1)
    core.handle(0, PeerUp("dispatcher", Hello(name="dispatcher", role="dispatcher", term=1)))
    effects = core.handle(1, Received("dispatcher", an_explain(0)))
    assert not [effect for effect in effects if isinstance(effect, Tell)]
