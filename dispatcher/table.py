"""The unit table: everything known of units, as columns; a handle is a row number.

Groups and replicas of a unit are consecutive rows of their own tables. Facts that records bring
back (phases, revisions, commands under way) and those that only this life knows (attempts, places
in queues) stand side by side; `waiting`, `settling` and the others change them. A handle is given
out again once its unit is forgotten: whoever keeps one also keeps a ticket, an attempt or the uid.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell.columns import I32, I64, U8, U16, U32, U64
from cell.uid_index import UidIndex
from dispatcher.codes import PHASES, Phase, State
from dispatcher.columns import Blocks, Columns, I64s, U64s, mix, offsets, ranges, sums
from dispatcher.dictionary import Classes, Names
from dispatcher.kernels import digest_groups
from dispatcher.records import GroupRows
from dispatcher.routes import Routes


class Units(Columns):
    """One row per unit."""

    uid_hi: U64
    uid_lo: U64
    priority: I32
    age: U64
    revision: U32
    digest: U64
    """Content as submitted."""
    content: U64
    """Content of the present revision."""
    state: U8
    op: U8
    """Command that the binder has not settled (`commands.Op`)."""
    is_failed: U8
    is_tried: U8
    """Whether a plan of it may exist."""
    finished: U64
    submitted_us: I64
    bound_us: I64
    group_at: I64
    groups: I64
    replica_at: I64
    replicas: I64
    klass: I32
    """Of the first group."""
    route: I32
    rows: I64
    """Assignment rows it needs."""
    attempt: U64
    """The one in flight, or 0."""
    tries: U32
    conflicts: U8
    ticket: I64
    """Names its entry in a queue; an entry with another ticket is dead."""
    probe: I64
    """The parked shape for which it tries, or 0."""
    wake_seen: I64
    """Wakes counted when it was last assigned."""
    wakes: U8
    reason: U16
    is_observed: U8
    """Its replicas are objects of the home, which shows what becomes of them: nobody reports it."""
    is_untold: U8
    """Watchers do not know yet that it waits, or that it is being placed (`news`)."""


class Groups(Columns):
    """One row per replica group; `offset` is that of its replicas within the unit's."""

    klass: I32
    count: I64
    min: I64
    pin: I32
    role: I32
    offset: I64


class Replicas(Columns):
    """One row per replica. A claim is one with a node in PLACING (accepted, or being amended) or
    any of BOUND to READY; `freeing` is the reason of a free that the binder has not settled."""

    phase: U8
    node: I32
    freeing: U16
    unit: I64


class Table:
    """All units that are known."""

    def __init__(self, classes: Classes, names: Names) -> None:
        self.classes = classes
        self.names = names
        self.routes = Routes(classes)
        self.units = Units()
        self.groups = Groups()
        self.replicas = Replicas()
        self.keys: NDArray[Any] = np.empty(0, object)
        self.whys: NDArray[Any] = np.empty(0, object)
        self.index = UidIndex()
        self.age = 0
        self.count = 0
        self.live_count = 0
        self.replica_count = 0
        self.end = 0
        """Handles that were ever in use lie below."""
        self.finished: deque[int] = deque()
        self.finished_count = 0
        self._free: list[int] = []
        # Row 0 can always be read, which lets unknown handles be masked instead of branched on.
        for columns in (self.units, self.groups, self.replicas):
            columns.reserve(1)
        self._group_blocks = Blocks()
        self._replica_blocks = Blocks()

    # Units come and go

    def add(
        self,
        keys: NDArray[Any],
        uid_hi: U64s,
        uid_lo: U64s,
        priority: NDArray[Any],
        at_us: int,
        groups: GroupRows,
        counts: I64s,
    ) -> I64s:
        """New units in order of age, at revision 1, LOOSE; returns their handles."""
        handles, reused = self._take_handles(len(keys))
        units = self.units
        self.keys[handles] = keys
        self.whys[handles] = ""
        units.uid_hi[handles] = uid_hi
        units.uid_lo[handles] = uid_lo
        units.priority[handles] = priority
        units.age[handles] = np.arange(self.age, self.age + len(keys), dtype=np.uint64)
        self.age += len(keys)
        units.revision[handles] = 1
        units.submitted_us[handles] = at_us
        if reused:
            for name in _ZEROED:
                getattr(units, name)[handles[:reused]] = 0
        units.state[handles] = State.LOOSE
        self.index.put(uid_hi, uid_lo, handles)
        self.set_content(handles, groups, counts)
        units.digest[handles] = mix(units.content[handles], units.priority[handles])
        return handles

    def set_content(self, handles: I64s, groups: GroupRows, counts: I64s) -> None:
        """Give units these groups, all replicas waiting."""
        units, first = self.units, offsets(counts)
        replicas = sums(groups.count, counts)
        units.groups[handles] = counts
        units.group_at[handles] = self._write_groups(groups, counts)
        units.replicas[handles] = replicas
        starts = self._replica_blocks.take(replicas)
        units.replica_at[handles] = starts
        self.replicas.reserve(self._replica_blocks.end)
        rows = ranges(starts, replicas)
        self.replicas.phase[rows] = Phase.WAITING
        self.replicas.node[rows] = -1
        self.replicas.freeing[rows] = 0
        self.replicas.unit[rows] = np.repeat(handles, replicas)
        self.replica_count += len(rows)
        units.klass[handles] = groups.klass[first]
        units.route[handles] = self.routes.of(groups.klass, counts)
        units.rows[handles] = counts
        units.content[handles] = self.digest_of(groups, counts)

    def drop_content(self, handles: I64s) -> None:
        """Give back the rows of groups and replicas."""
        units = self.units
        rows = ranges(units.replica_at[handles], units.replicas[handles])
        self.replicas.unit[rows] = -1
        self.replicas.freeing[rows] = 0
        self.replica_count -= len(rows)
        self._group_blocks.give(units.group_at[handles], units.groups[handles])
        self._replica_blocks.give(units.replica_at[handles], units.replicas[handles])
        units.groups[handles] = units.replicas[handles] = 0

    def finish(self, handles: I64s) -> None:
        """Nothing of these units is left to do; they are remembered, oldest finished first out."""
        units = self.units
        units.state[handles] = State.FINISHED
        units.attempt[handles] = 0
        numbers = np.arange(1, len(handles) + 1, dtype=np.uint64)
        units.finished[handles] = numbers + np.uint64(self.finished_count)
        self.finished_count += len(handles)
        self.live_count -= len(handles)
        self.finished.extend(handles.tolist())

    def take_finished(self, handles: I64s) -> None:
        """Units that had finished in a former life, in their order among all.

        1. A unit is forgotten, and its key given to another. 2. A restart begins from a snapshot
        that has the old one: it must be forgotten again before the record of the new one comes.
        """
        self.units.state[handles] = State.FINISHED
        self.live_count -= len(handles)
        everyone = [*self.finished, *handles.tolist()]
        self.finished = deque(sorted(everyone, key=self.units.finished.__getitem__))

    def forget_finished(self, count_max: int) -> None:
        """Forget the units that finished first, beyond so many."""
        excess = len(self.finished) - count_max
        if excess <= 0:
            return
        handles = np.array([self.finished.popleft() for _ in range(excess)], np.int64)
        units = self.units
        self.index.drop(units.uid_hi[handles], units.uid_lo[handles])
        self.drop_content(handles)
        units.state[handles] = State.FREE
        units.ticket[handles] = 0
        self.keys[handles] = None
        self.whys[handles] = None
        self._free.extend(handles.tolist())
        self.count -= excess

    # Reading

    def find(self, hi: U64s, lo: U64s) -> I64s:
        """Handles of uids, -1 where unknown."""
        return self.index.find(hi, lo)

    def resolve(self, handles: NDArray[Any], hi: U64s, lo: U64s) -> I64s:
        """Handles that came back from a peer, verified by uid; a wrong one is looked up."""
        found = np.minimum(handles.astype(np.int64), max(self.end - 1, 0))
        units = self.units
        is_right = (units.uid_hi[found] == hi) & (units.uid_lo[found] == lo)
        is_right &= units.state[found] != State.FREE
        if not is_right.all():
            wrong = np.flatnonzero(~is_right)
            found[wrong] = self.find(hi[wrong], lo[wrong])
        return found

    def replica_rows(
        self, handles: I64s, group: NDArray[Any], ordinal: NDArray[Any]
    ) -> tuple[I64s, NDArray[np.bool_]]:
        """Rows of replicas, and which of them exist; the rows of others are 0."""
        units, groups = self.units, self.groups
        exists = group < units.groups[handles]
        rows = units.group_at[handles] + np.where(exists, group, 0)
        exists &= ordinal < groups.count[rows]
        found = units.replica_at[handles] + groups.offset[rows] + ordinal
        return np.where(exists, found, 0), exists

    def place_of(self, owner: I64s, rows: I64s) -> tuple[I64s, I64s]:
        """(group, ordinal) of replica rows of these units."""
        units, groups = self.units, self.groups
        inside = rows - units.replica_at[owner]
        group = np.zeros(len(rows), np.int64)
        several = np.flatnonzero(units.groups[owner] > 1)
        if not len(several):
            return group, inside
        present = np.unique(owner[several])
        counts = units.groups[present]
        starts = ranges(units.group_at[present], counts)
        # One sorted line of (unit, offset): a replica is in the last group that begins before it.
        line = np.repeat(np.arange(len(present)), counts) * (1 << 20) + groups.offset[starts]
        wanted = np.searchsorted(present, owner[several]) * (1 << 20) + inside[several]
        found = np.searchsorted(line, wanted, side="right") - 1
        group[several] = starts[found] - units.group_at[owner[several]]
        inside = inside.copy()
        inside[several] -= groups.offset[starts[found]]
        return group, inside

    def all_replicas(self, handles: I64s) -> I64s:
        """Rows of all replicas of the units."""
        return ranges(self.units.replica_at[handles], self.units.replicas[handles])

    def group_rows(self, handles: I64s) -> I64s:
        """Rows of all groups of the units."""
        return ranges(self.units.group_at[handles], self.units.groups[handles])

    def is_claim(self, rows: I64s) -> NDArray[np.bool_]:
        """Which replicas hold room."""
        phase = self.replicas.phase[rows]
        is_placing = (phase == Phase.PLACING) & (self.replicas.node[rows] >= 0)
        return np.asarray(is_placing | ((phase >= Phase.BOUND) & (phase <= Phase.READY)))

    def is_whole(self, handles: I64s) -> NDArray[np.bool_]:
        """Which units have all their minima: claims, and replicas that have ended."""
        if (self.units.replicas[handles] == 1).all():
            rows = self.units.replica_at[handles]
            has = self.is_claim(rows) | (self.replicas.phase[rows] >= Phase.DONE)
            return np.asarray(has | (self.groups.min[self.units.group_at[handles]] == 0))
        rows = self.all_replicas(handles)
        has = self.is_claim(rows) | (self.replicas.phase[rows] >= Phase.DONE)
        groups = self.group_rows(handles)
        is_short = sums(has, self.groups.count[groups]) < self.groups.min[groups]
        return np.asarray(sums(is_short, self.units.groups[handles]) == 0)

    def phase_counts(self, handles: I64s) -> I64s:
        """Replicas per phase; [unit, phase]. Waiting replicas of units in flight are PLACING."""
        units = self.units
        counts = units.replicas[handles]
        phase = self.replicas.phase[self.all_replicas(handles)].astype(np.int64)
        position = np.repeat(np.arange(len(handles), dtype=np.int64), counts)
        is_flight = np.repeat(units.state[handles] == State.FLIGHT, counts)
        phase[is_flight & (phase == Phase.WAITING)] = Phase.PLACING
        flat = np.bincount(position * PHASES + phase, minlength=len(handles) * PHASES)
        return np.asarray(flat.reshape(len(handles), PHASES), np.int64)

    def known(self) -> I64s:
        """Handles of all units, in order of age."""
        units = self.units
        handles = np.flatnonzero(units.state[: self.end] != State.FREE)
        return np.asarray(handles[np.argsort(units.age[handles], kind="stable")], np.int64)

    def groups_of(self, handles: I64s) -> GroupRows:
        """The groups of the units, consecutively."""
        rows, groups = self.group_rows(handles), self.groups
        return GroupRows.of(
            klass=groups.klass[rows],
            count=groups.count[rows],
            min=groups.min[rows],
            pin=groups.pin[rows],
            role=groups.role[rows],
        )

    def digest_of(self, groups: GroupRows, counts: I64s) -> U64s:
        """One number per unit that stands for its content, the same in every life."""
        digest = np.empty(len(counts), np.uint64)
        digest_groups(
            self.classes.hashes,
            self.names.hashes,
            groups.klass,
            groups.count,
            groups.min,
            groups.pin,
            groups.role,
            counts,
            digest,
        )
        return digest

    def _write_groups(self, groups: GroupRows, counts: I64s) -> I64s:
        starts = self._group_blocks.take(counts)
        self.groups.reserve(self._group_blocks.end)
        rows = ranges(starts, counts)
        for name in ("klass", "count", "min", "pin", "role"):
            getattr(self.groups, name)[rows] = getattr(groups, name)
        if len(rows) == len(counts):
            self.groups.offset[rows] = 0
        else:
            running = offsets(groups.count.astype(np.int64))
            self.groups.offset[rows] = running - np.repeat(running[offsets(counts)], counts)
        return starts

    def _take_handles(self, count: int) -> tuple[I64s, int]:
        """Handles for so many units, and how many of them, the first, had units before."""
        reused = min(count, len(self._free))
        handles = np.empty(count, np.int64)
        if reused:
            handles[:reused] = self._free[len(self._free) - reused :]
            del self._free[len(self._free) - reused :]
        handles[reused:] = np.arange(self.end, self.end + count - reused)
        self.end += count - reused
        self.count += count
        self.live_count += count
        self.units.reserve(self.end)
        if len(self.keys) < self.units.capacity:
            self.keys = _grown(self.keys, self.units.capacity)
            self.whys = _grown(self.whys, self.units.capacity)
        return handles, reused


_ZEROED = (
    *("op", "is_failed", "is_tried", "finished", "bound_us", "attempt", "tries", "conflicts"),
    *("ticket", "probe", "wake_seen", "wakes", "reason", "is_untold"),
)


def _grown(column: NDArray[Any], size: int) -> NDArray[Any]:
    made = np.empty(size, object)
    made[: len(column)] = column
    return made
