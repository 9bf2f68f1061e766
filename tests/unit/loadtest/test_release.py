"""Rows of a service that are available, as seen by our own book."""

import pytest

from loadtest.release import Released, RowBook
from tests.unit.loadtest.builders import (
    WHOLE_UNIT,
    a_change,
    a_view,
    in_columns,
    in_rows,
    in_snapshot,
)


def a_book(*keys: str) -> RowBook:
    """Rows of two replicas, all ready, armed."""
    book = RowBook(2)
    book.apply(in_snapshot(*[a_view("RUNNING", "READY", "READY", key=key) for key in keys]))
    book.arm()
    return book


def test_a_row_is_available_when_all_its_replicas_are_ready() -> None:
    book = RowBook(2)
    book.apply(in_columns(a_change("READY", ordinal=0)))
    assert book.available == 0
    book.apply(in_rows(a_change("READY", ordinal=1)))
    assert book.available == 1


def test_the_least_number_is_kept_also_within_one_reply() -> None:
    book = a_book("a", "b", "c")
    gone = [a_change("BOUND", key=key, revision=2) for key in ("a", "b")]
    back = [a_change("READY", key=key, revision=2) for key in ("a", "b")]

    book.apply(in_columns(*gone, *back))

    assert book.available == 3
    assert book.available_min == 1


def test_a_whole_unit_that_waits_again_is_not_available() -> None:
    book = a_book("a", "b")
    book.apply(in_columns(a_change("WAITING", ordinal=WHOLE_UNIT)))

    assert (book.available, book.available_min) == (1, 1)


def test_before_it_is_armed_nothing_is_noted() -> None:
    book = RowBook(1)
    book.apply(in_rows(a_change("BOUND")))

    assert book.available_min is None


@pytest.mark.parametrize(
    ("available_min", "on_latest", "want"), [(3, 4, True), (2, 4, False), (3, 3, False)]
)
def test_a_release_is_complete_when_all_rows_serve_and_the_bound_was_kept(
    available_min: int, on_latest: int, want: bool
) -> None:
    released = Released(
        rows=4, columns=2, bound=3, on_latest=on_latest, ready=4, available_min=available_min
    )

    assert released.is_complete is want
