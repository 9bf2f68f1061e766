"""Who is granted a dispatcher's term, and which."""

from __future__ import annotations

import pytest

from binder import grants
from binder.grants import AWAITED_US, NUMBER_BITS, Grants

TERM = 29_926_387


NOW_US = 1_000_000
LATER_US = NOW_US + AWAITED_US


def a_binder(last: int = 0) -> tuple[Grants, list[int]]:
    told: list[int] = []
    return Grants(NOW_US, TERM, last, told.append), told


def test_terms_grow_over_dispatchers_and_leaders() -> None:
    binder, told = a_binder()
    first, second = (
        binder.grant(LATER_US, 0, is_taken=False),
        binder.grant(LATER_US, 0, is_taken=False),
    )
    assert TERM << NUMBER_BITS < first < second < 1 << 48
    assert told == [first, second]
    later = Grants(NOW_US, TERM + 1, second, told.append)
    assert later.grant(LATER_US, first, is_taken=False) > second


def test_who_was_granted_last_keeps_its_term() -> None:
    binder, told = a_binder()
    term = binder.grant(LATER_US, 0, is_taken=False)
    assert binder.grant(LATER_US, term, is_taken=False) == term
    assert (
        binder.grant(LATER_US, term, is_taken=True) == term
    )  # its older session is not known to be over
    later = Grants(NOW_US, TERM + 1, term, told.append)
    assert later.grant(LATER_US, term, is_taken=False) == term
    assert told == [term]


def test_one_that_another_followed_begins_anew() -> None:
    binder, _ = a_binder()
    first = binder.grant(LATER_US, 0, is_taken=False)
    second = binder.grant(LATER_US, 0, is_taken=False)
    assert binder.grant(LATER_US, first, is_taken=True) == 0
    assert binder.grant(LATER_US, first, is_taken=False) > second


def test_nobody_new_leads_when_all_terms_are_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "NUMBER_MAX", 1)
    binder, told = a_binder()
    term = binder.grant(LATER_US, 0, is_taken=False)
    assert binder.grant(LATER_US, 0, is_taken=False) == 0
    assert binder.grant(LATER_US, term, is_taken=False) == term
    assert told == [term]


def test_one_that_lost_its_session_is_awaited_a_moment() -> None:
    binder, _ = a_binder()
    term = binder.grant(NOW_US, 0, is_taken=False)
    binder.lose(LATER_US)
    assert binder.grant(LATER_US + AWAITED_US - 1, 0, is_taken=False) == 0
    assert binder.grant(LATER_US, term, is_taken=False) == term
    assert binder.grant(LATER_US + AWAITED_US, 0, is_taken=False) > term


def test_new_leader_awaits_who_was_granted_by_the_former_one() -> None:
    binder, _ = a_binder(last=7)
    assert binder.grant(NOW_US, 0, is_taken=False) == 0
    assert binder.grant(NOW_US, 7, is_taken=False) == 7
