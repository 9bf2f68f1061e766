"""The row table: which rollingsets there are, which unit each row is and what it was asked to be.

The core owns one `Table` and changes it through the methods here, which note each change for the
next record; a record is durable before any request that follows from it is sent. What was observed
of a row (`Row.settled` and what follows it) is not stored: the dispatcher shows it again.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cell.reasons import Refusal
from cell.release import ReleaseColumn, RollingsetSpec
from cell.unit import Phase

ENDED = (Phase.DONE, Phase.FAILED, Phase.CANCELLED)
"""Phases that a replica of a service never leaves: the row needs a new incarnation."""


class StoredSet(msgspec.Struct, frozen=True, array_like=True):
    """A rollingset in a record; `versions` are (number, columns) of every version still in use."""

    spec: RollingsetSpec
    generation: int
    latest: int
    stable: int
    version_next: int
    versions: tuple[tuple[int, tuple[ReleaseColumn, ...]], ...]
    is_deleting: bool


class StoredRow(msgspec.Struct, frozen=True, array_like=True):
    """A row in a record: what the dispatcher was, or is about to be, asked for."""

    name: str
    ordinal: int
    incarnation: int
    revision: int
    version: int
    version_before: int
    is_proved: bool


class Record(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What one call of the core changed. `leaving` and `left`: keys of units to be cancelled, and
    those that have been."""

    sets: tuple[StoredSet, ...] = ()
    forgotten: tuple[str, ...] = ()
    rows: tuple[StoredRow, ...] = ()
    deleted: tuple[tuple[str, int], ...] = ()
    leaving: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    incarnation_next: int = 0


class Sight(msgspec.Struct):
    """What the dispatcher says of a unit: `phases` by (group, ordinal), `whole` for all others."""

    revision: int = 0
    at_us: int = 0
    whole: Phase = Phase.WAITING
    phases: dict[tuple[int, int], Phase] = {}
    why: str = ""

    @property
    def is_ended(self) -> bool:
        """Whether a replica has ended, which ends the row."""
        return self.whole in ENDED or any(phase in ENDED for phase in self.phases.values())

    def ready_count(self, replicas: int) -> int:
        """How many of the unit's `replicas` serve."""
        named = sum(phase is Phase.READY for phase in self.phases.values())
        return named + (replicas - len(self.phases) if self.whole is Phase.READY else 0)


class Row(msgspec.Struct):
    """One row. `version` is what `revision` asked for, `version_before` what the one before it did;
    `settled` is the revision that the dispatcher is known to hold, 0 for none or unknown."""

    key: str
    ordinal: int
    incarnation: int
    revision: int
    version: int
    version_before: int = 0
    is_proved: bool = False
    settled: int = 0
    seen: Sight = msgspec.field(default_factory=Sight)
    is_lost: bool = False
    """The dispatcher does not have the unit, or will not take the key again."""
    is_foreign: bool = False
    """The key names a unit that somebody else submitted: never to be cancelled by us."""
    refusal: Refusal | None = None
    retry_at_us: int = 0
    """When a refused request may be sent again."""
    recover_at_us: int = 0
    """When a dead row may become a new incarnation; set once it is seen to be dead."""
    ready_since_us: int = 0
    failed_count: int = 0

    @property
    def is_blocked(self) -> bool:
        """Whether its request was refused for good: only another version can help."""
        return self.refusal is not None and not self.retry_at_us

    @property
    def is_dead(self) -> bool:
        """Whether only a new incarnation can serve."""
        return self.is_lost or self.seen.is_ended

    @property
    def held_version(self) -> int:
        """The version of the revision that the dispatcher holds."""
        return self.version if self.settled == self.revision else self.version_before

    def ask_version(self, version: int) -> None:
        """Make `version` what the next revision asks for."""
        self.version_before = self.held_version
        self.revision, self.version = self.settled + 1, version
        self.is_proved = False
        self.refusal, self.retry_at_us = None, 0

    def withdraw(self) -> None:
        """The last revision asked for did not arrive: the unit is what it was before."""
        self.revision, self.version = self.settled, self.held_version
        self.is_proved = False
        self.refusal = None

    def is_ready(self, replicas: int) -> bool:
        """Whether all `replicas` serve at the revision asked for."""
        return (
            self.seen.revision == self.revision
            and self.seen.ready_count(replicas) == replicas
            and not self.is_dead
        )


class Rollingset:
    """One rollingset; `leaving`: keys of former units, with the time to try their cancel again."""

    def __init__(self, stored: StoredSet) -> None:
        self.rows: dict[int, Row] = {}
        self.leaving: dict[str, int] = {}
        self.is_watched = False
        self.is_synced = False
        self.wake_at_us = 0
        self.set_stored(stored)

    def set_stored(self, stored: StoredSet) -> None:
        self.spec = stored.spec
        self.generation = stored.generation
        self.latest = stored.latest
        self.stable = stored.stable
        self.version_next = stored.version_next
        self.versions = dict(stored.versions)
        self.is_deleting = stored.is_deleting

    def drop_unused(self) -> None:
        """Forget versions that nothing needs any more."""
        used = {self.latest, self.stable}
        for row in self.rows.values():
            used |= {row.version, row.version_before}
        self.versions = {v: columns for v, columns in self.versions.items() if v in used}

    def stored(self) -> StoredSet:
        """The rollingset for a record."""
        return StoredSet(
            self.spec,
            self.generation,
            self.latest,
            self.stable,
            self.version_next,
            tuple(sorted(self.versions.items())),
            self.is_deleting,
        )

    @property
    def prefix(self) -> str:
        """What the keys of its units begin with."""
        return f"{self.spec.name}/"

    @property
    def replicas(self) -> int:
        """Replicas of one row."""
        return sum(column.count for column in self.spec.columns)

    def in_order(self) -> list[Row]:
        """The rows by ordinal."""
        return [self.rows[ordinal] for ordinal in sorted(self.rows)]


class Table:
    """All rollingsets, and the changes since the last record."""

    def __init__(self) -> None:
        self.sets: dict[str, Rollingset] = {}
        self.incarnation_next = 1
        self._set_names: dict[str, None] = {}
        self._row_names: dict[tuple[str, int], None] = {}
        self._forgotten: list[str] = []
        self._leaving: list[str] = []
        self._left: list[str] = []

    def find(self, key: str) -> tuple[Rollingset, Row | None] | None:
        """The rollingset and the live row of a unit's key."""
        parts = key.split("/")
        if len(parts) != 3 or parts[0] not in self.sets or not parts[1].isdecimal():
            return None
        rollingset = self.sets[parts[0]]
        row = rollingset.rows.get(int(parts[1]))
        return rollingset, row if row is not None and row.key == key else None

    def put_set(self, stored: StoredSet) -> Rollingset:
        """Add a rollingset."""
        made = self.sets[stored.spec.name] = Rollingset(stored)
        self.note_set(made)
        return made

    def note_set(self, rollingset: Rollingset) -> None:
        """The rollingset's own fields have changed."""
        self._set_names[rollingset.spec.name] = None

    def forget_set(self, rollingset: Rollingset) -> None:
        """The rollingset is gone, all its units are cancelled."""
        del self.sets[rollingset.spec.name]
        self._set_names.pop(rollingset.spec.name, None)
        self._forgotten.append(rollingset.spec.name)

    def create_row(self, rollingset: Rollingset, ordinal: int, version: int) -> Row:
        """A row at `ordinal`, as a unit of a key never used before; the former one there leaves."""
        if ordinal in rollingset.rows:
            self._leave(rollingset, rollingset.rows[ordinal])
        row = _row(rollingset.spec.name, ordinal, self.incarnation_next, 1, version)
        self.incarnation_next += 1
        rollingset.rows[ordinal] = row
        self.note_row(rollingset, row)
        return row

    def note_row(self, rollingset: Rollingset, row: Row) -> None:
        """The row's stored fields have changed."""
        self._row_names[(rollingset.spec.name, row.ordinal)] = None

    def delete_row(self, rollingset: Rollingset, ordinal: int) -> None:
        """The row is no longer wanted; its unit is to be cancelled."""
        self._leave(rollingset, rollingset.rows.pop(ordinal))
        self._row_names[(rollingset.spec.name, ordinal)] = None

    def drop_left(self, rollingset: Rollingset, key: str) -> None:
        """A leaving unit has been cancelled."""
        del rollingset.leaving[key]
        self._left.append(key)

    def _leave(self, rollingset: Rollingset, row: Row) -> None:
        if row.is_foreign:
            return
        rollingset.leaving[row.key] = 0
        self._leaving.append(row.key)

    def cut_record(self) -> Record | None:
        """The record of all changes since the last one, None when there are none."""
        rows, deleted = [], []
        for name, ordinal in self._row_names:
            row = self.sets[name].rows.get(ordinal) if name in self.sets else None
            if row is None:
                deleted.append((name, ordinal))
            else:
                rows.append(_stored_row(name, row))
        record = Record(
            sets=tuple(self.sets[name].stored() for name in self._set_names),
            forgotten=tuple(self._forgotten),
            rows=tuple(rows),
            deleted=tuple(deleted),
            leaving=tuple(self._leaving),
            left=tuple(self._left),
        )
        if record == Record():
            return None
        self._set_names, self._row_names = {}, {}
        self._forgotten, self._leaving, self._left = [], [], []
        return msgspec.structs.replace(record, incarnation_next=self.incarnation_next)

    def whole(self) -> Record:
        """One record that stands for all so far."""
        ordered = [self.sets[name] for name in sorted(self.sets)]
        return Record(
            sets=tuple(s.stored() for s in ordered),
            rows=tuple(_stored_row(s.spec.name, row) for s in ordered for row in s.in_order()),
            leaving=tuple(key for s in ordered for key in s.leaving),
            incarnation_next=self.incarnation_next,
        )

    def restore(self, records: Iterable[Record]) -> None:
        """Apply records in order to an empty table."""
        for record in records:
            for name in record.forgotten:
                self.sets.pop(name, None)
            for stored in record.sets:
                if stored.spec.name in self.sets:
                    self.sets[stored.spec.name].set_stored(stored)
                else:
                    self.sets[stored.spec.name] = Rollingset(stored)
            for name, ordinal in record.deleted:
                if name in self.sets:
                    self.sets[name].rows.pop(ordinal, None)
            for r in record.rows:
                row = _row(r.name, r.ordinal, r.incarnation, r.revision, r.version)
                row.version_before = r.version_before
                row.is_proved = r.is_proved
                self.sets[r.name].rows[r.ordinal] = row
            for key in record.leaving:
                self.sets[key.split("/")[0]].leaving[key] = 0
            for key in record.left:
                name = key.split("/")[0]
                if name in self.sets:
                    self.sets[name].leaving.pop(key, None)
            self.incarnation_next = record.incarnation_next


def _row(name: str, ordinal: int, incarnation: int, revision: int, version: int) -> Row:
    key = f"{name}/{ordinal}/{incarnation}"
    return Row(key, ordinal, incarnation, revision, version)


def _stored_row(name: str, row: Row) -> StoredRow:
    return StoredRow(
        name,
        row.ordinal,
        row.incarnation,
        row.revision,
        row.version,
        row.version_before,
        row.is_proved,
    )
