"""A core's own log in SQLite: one file per owner, group commit in a thread of its own.

Owned by the shell, which appends records and is told up to which ticket all is durable. What must
hold: records become durable in the order of tickets; one process at a time has the file; every
transaction checks the term, so a successor's first write ends this owner; an error of the disk is
retried for ever.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from cell import record

RETRY_SECONDS_MIN = 0.05
RETRY_SECONDS_MAX = 1.0
COMPACT_BYTES_MIN = 16 << 20
"""A log shorter than this is never compacted."""
COMPACT_RATIO = 4
"""The log may grow to so many times the size of the last snapshot."""
RECORDS_PER_COMMIT_MAX = 4096
_LENGTH = struct.Struct("<I")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS term (id INTEGER PRIMARY KEY CHECK (id = 0), term INTEGER NOT NULL);
INSERT OR IGNORE INTO term VALUES (0, 0);
"""


class StoreInUse(Exception):
    """Another process has the file."""


class TermLost(Exception):
    """Another owner has raised the term: this process must not write any more."""


class Snapshot(list[Any]):
    """Records that stand for everything appended before them."""


class Lock:
    """An exclusive lock for the life of the process. Raises StoreInUse."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise StoreInUse(f"{path} is locked by another process") from None

    def close(self) -> None:
        """Give the lock back."""
        self._file.close()


class Store:
    """Open with the file's path; `records` first, then `start`, then `append` as often as wanted.

    `on_durable(ticket)` and `on_health(is_well, reason)` are called in the store's thread, as is
    `on_fatal(error)` when the file is lost to another owner or is broken.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock(path.with_name(path.name + ".lock"))
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        self._db.execute("UPDATE term SET term = term + 1")
        self.term: int = self._db.execute("SELECT term FROM term").fetchone()[0]
        self._log_bytes: int = self._db.execute(
            "SELECT coalesce(sum(length(record)), 0) FROM log"
        ).fetchone()[0]
        self._snapshot_bytes = 0
        self._is_compacting = False
        self._tickets = 0
        self._queue: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def records(self) -> Iterator[bytes]:
        """Encoded records in the order in which they were appended."""
        for (blob,) in self._db.execute("SELECT record FROM log ORDER BY seq"):
            yield from unpack(blob)

    def start(
        self,
        on_durable: Callable[[int], None],
        on_health: Callable[[bool, str], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """Begin to write."""
        self._on_durable = on_durable
        self._on_health = on_health
        self._on_fatal = on_fatal
        self._thread.start()

    def append(self, item: Any) -> int:
        """Queue a record, or a Snapshot that replaces all before it; returns its ticket."""
        self._tickets += 1
        self._queue.put((self._tickets, item))
        return self._tickets

    @property
    def is_compaction_due(self) -> bool:
        """Whether the owner should append a Snapshot."""
        limit = max(COMPACT_BYTES_MIN, COMPACT_RATIO * self._snapshot_bytes)
        return self._log_bytes > limit and not self._is_compacting

    def compact(self, records: list[Any]) -> int:
        """Replace the log by `records`; returns the ticket."""
        self._is_compacting = True
        return self.append(Snapshot(records))

    def close(self) -> None:
        """Write what is queued, as far as the disk allows, and give the file back."""
        self._is_closing.set()
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._db.close()
        self._lock.close()

    def _run(self) -> None:
        try:
            while self._write_next():
                pass
        except BaseException as error:
            self._on_fatal(error)

    def _write_next(self) -> bool:
        """One transaction with all that is queued. Returns False at the end."""
        taken = [self._queue.get()]
        try:
            while len(taken) < RECORDS_PER_COMMIT_MAX:
                taken.append(self._queue.get_nowait())
        except Empty:
            pass
        batch = [entry for entry in taken if entry is not None]
        if batch:
            self._commit_until_done(batch)
        return len(batch) == len(taken)

    def _commit_until_done(self, batch: list[tuple[int, Any]]) -> None:
        ticket, last = batch[-1][0], _last_snapshot(batch)
        blob = pack([record.encode(item) for item in _records(batch[last:])])
        is_snapshot = isinstance(batch[last][1], Snapshot)
        wait = 0.0
        while True:
            try:
                self._commit(blob, is_snapshot)
                break
            except sqlite3.OperationalError as error:
                self._roll_back()
                if self._is_closing.is_set():
                    return
                self._on_health(False, str(error))
                wait = min(max(2 * wait, RETRY_SECONDS_MIN), RETRY_SECONDS_MAX)
                self._is_closing.wait(wait)
        if wait:
            self._on_health(True, "")
        if is_snapshot:
            self._log_bytes, self._snapshot_bytes, self._is_compacting = 0, len(blob), False
        self._log_bytes += len(blob)
        self._on_durable(ticket)

    def _commit(self, blob: bytes, is_snapshot: bool) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        if db.execute("SELECT term FROM term").fetchone()[0] != self.term:
            raise TermLost(f"term {self.term} is superseded")
        if is_snapshot:
            db.execute("DELETE FROM log")
        db.execute("INSERT INTO log (record) VALUES (?)", (blob,))
        db.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def pack(encoded: list[bytes]) -> bytes:
    """Encoded records as one blob."""
    return b"".join([part for item in encoded for part in (_LENGTH.pack(len(item)), item)])


def unpack(blob: bytes) -> Iterator[bytes]:
    """The encoded records of a blob."""
    at = 0
    while at < len(blob):
        (length,) = _LENGTH.unpack_from(blob, at)
        at += _LENGTH.size + length
        yield blob[at - length : at]


def _last_snapshot(batch: list[tuple[int, Any]]) -> int:
    places = [i for i, (_, item) in enumerate(batch) if isinstance(item, Snapshot)]
    return places[-1] if places else 0


def _records(batch: list[tuple[int, Any]]) -> Iterator[Any]:
    for _, item in batch:
        if isinstance(item, Snapshot):
            yield from item
        else:
            yield item


def private_directory(path: Path) -> Path:
    """The state directory, made with mode 0700 when it does not exist."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written")
    return path
