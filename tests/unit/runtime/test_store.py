"""The store: order, one owner, terms, compaction, and a disk that is full for a while."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cell import record
from runtime.store import (
    Snapshot,
    Store,
    StoreInUse,
    TermLost,
    pack,
    private_directory,
    unpack,
)

WAIT_SECONDS = 10.0


class Heard:
    """What a store tells its owner, with waits for it."""

    def __init__(self) -> None:
        self.durable: list[int] = []
        self.health: list[tuple[bool, str]] = []
        self.fatal: list[BaseException] = []
        self._changed = threading.Condition()

    def start(self, store: Store) -> Store:
        def add(to: list[Any]) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                with self._changed:
                    to.append(arguments if len(arguments) > 1 else arguments[0])
                    self._changed.notify_all()

            return call

        store.start(add(self.durable), add(self.health), add(self.fatal))
        return store

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_SECONDS)

    def wait_durable(self, ticket: int) -> None:
        self.wait(lambda: bool(self.durable) and self.durable[-1] >= ticket)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def heard() -> Heard:
    return Heard()


def records_at(path: Path) -> list[Any]:
    store = Store(path)
    try:
        return [record.decoder(Any).decode(blob) for blob in store.records()]
    finally:
        store.close()


def test_records_come_back_in_the_order_of_their_tickets(path: Path, heard: Heard) -> None:
    store = heard.start(Store(path))
    tickets = [store.append(["r", i]) for i in range(100)]
    heard.wait_durable(tickets[-1])
    store.close()
    assert tickets == list(range(1, 101))
    assert heard.durable == sorted(heard.durable)
    assert records_at(path) == [["r", i] for i in range(100)]


def test_what_is_queued_while_a_commit_runs_is_one_commit(path: Path, heard: Heard) -> None:
    store = Store(path)
    for i in range(50):
        store.append(i)
    heard.start(store)
    heard.wait_durable(50)
    assert heard.durable == [50]
    store.close()


def test_one_commit_takes_so_many_records_and_the_next_takes_the_rest(
    path: Path, heard: Heard
) -> None:
    store = Store(path)
    for i in range(4097):
        store.append(i)
    heard.start(store)
    heard.wait_durable(4097)
    assert heard.durable == [4096, 4097]
    store.close()


def test_close_writes_what_is_queued(path: Path, heard: Heard) -> None:
    store = heard.start(Store(path))
    for i in range(20):
        store.append(i)
    store.close()
    assert heard.durable[-1] == 20
    assert records_at(path) == list(range(20))


def test_every_open_is_a_new_term(path: Path) -> None:
    terms = []
    for _ in range(3):
        store = Store(path)
        terms.append(store.term)
        store.close()
    assert terms == [1, 2, 3]


def test_a_second_owner_is_refused_while_the_first_lives(path: Path) -> None:
    store = Store(path)
    with pytest.raises(StoreInUse, match="locked by another process"):
        Store(path)
    store.close()
    Store(path).close()


def test_an_owner_whose_term_was_raised_writes_nothing_more(path: Path, heard: Heard) -> None:
    store = heard.start(Store(path))
    with sqlite3.connect(path) as usurper:
        usurper.execute("UPDATE term SET term = term + 1")
    usurper.close()
    store.append("late")
    heard.wait(lambda: bool(heard.fatal))
    assert isinstance(heard.fatal[0], TermLost)
    assert heard.durable == []
    store.close()
    assert records_at(path) == []


def test_a_snapshot_replaces_what_came_before_it(path: Path, heard: Heard) -> None:
    store = heard.start(Store(path))
    for i in range(5):
        store.append(i)
    store.compact(["all", "of it"])
    ticket = store.append("later")
    heard.wait_durable(ticket)
    store.close()
    assert records_at(path) == ["all", "of it", "later"]


def test_a_snapshot_inside_one_commit_keeps_what_follows_it(path: Path, heard: Heard) -> None:
    store = Store(path)
    store.append("old")
    store.append(Snapshot(["whole"]))
    store.append("new")
    heard.start(store)
    heard.wait_durable(3)
    store.close()
    assert records_at(path) == ["whole", "new"]


def test_compaction_is_due_above_a_size_and_not_again_until_it_has_grown(
    path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.store.COMPACT_BYTES_MIN", 1000)
    store = heard.start(Store(path))
    due = [store.is_compaction_due]
    heard.wait_durable(store.append(b"x" * 2000))
    due.append(store.is_compaction_due)
    ticket = store.compact([b"x" * 500])
    due.append(store.is_compaction_due)
    heard.wait_durable(ticket)
    due.append(store.is_compaction_due)
    heard.wait_durable(store.append(b"x" * 1600))
    due.append(store.is_compaction_due)
    store.close()
    assert due == [False, True, False, False, True]


@pytest.fixture
def full(path: Path, heard: Heard) -> Iterator[Store]:
    """A store whose file cannot grow; `let_grow` ends that."""
    store = Store(path)
    limit_pages(store, store._db.execute("PRAGMA page_count").fetchone()[0] + 1)
    heard.start(store)
    yield store
    store.close()


def limit_pages(store: Store, pages: int) -> None:
    store._db.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_is_reported_and_tried_again(path: Path, heard: Heard, full: Store) -> None:
    full.append("small")
    heard.wait_durable(1)
    full.append(b"x" * 100_000)
    heard.wait(lambda: bool(heard.health))
    assert heard.health[0][0] is False
    assert "full" in heard.health[0][1]
    full.append("behind it")
    assert heard.durable == [1]
    limit_pages(full, 1 << 20)
    heard.wait_durable(3)
    assert heard.health[-1] == (True, "")
    full.close()
    assert records_at(path) == ["small", b"x" * 100_000, "behind it"]


def test_close_on_a_full_disk_ends_without_the_record(
    path: Path, heard: Heard, full: Store
) -> None:
    full.append(b"x" * 100_000)
    heard.wait(lambda: bool(heard.health))
    full.close()
    assert heard.durable == []
    assert records_at(path) == []


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    state = private_directory(tmp_path / "state")
    Store(state / "x.db").close()
    modes = {p.name: p.stat().st_mode & 0o777 for p in (state, state / "x.db")}
    assert modes == {"state": 0o700, "x.db": 0o600}


def test_pack_and_unpack_are_inverse() -> None:
    encoded = [b"", b"a", b"bb" * 1000]
    assert list(unpack(pack(encoded))) == encoded
