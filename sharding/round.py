"""One round over one rollingset: learn, plan, recover, settle, and queue what is owed.

Called by the core after every change of a rollingset whose view is complete; a round with nothing
to do changes nothing, so it may run at any time and as often as anybody likes.
"""

from __future__ import annotations

import msgspec

from sharding.calls import Calls
from sharding.rolling import Goal, Op, RowState, plan, share_ceil, share_floor
from sharding.spec import Limits
from sharding.table import Rollingset, Row, Table

US_PER_MS = 1000


class Round(msgspec.Struct):
    """One rollingset at one moment; `run` is the table of contents."""

    table: Table
    calls: Calls
    limits: Limits
    now_us: int
    rollingset: Rollingset

    def run(self) -> None:
        """Do all that can be done now; what must wait sets the rollingset's `wake_at_us`."""
        self.rollingset.wake_at_us = 0
        self._note_health()
        if self.rollingset.is_deleting:
            for row in self.rollingset.in_order():
                self.table.delete_row(self.rollingset, row.ordinal)
        else:
            self._act()
            self._recover()
            self._settle()
        self._ask()

    def _note_health(self) -> None:
        """Learn which rows have proved their version and which have died."""
        for row in self.rollingset.in_order():
            if row.is_ready(self.rollingset.replicas):
                row.ready_since_us = row.ready_since_us or self.now_us
                if not row.is_proved:
                    row.is_proved = True
                    self.table.note_row(self.rollingset, row)
                continue
            served_ms = (self.now_us - row.ready_since_us) // US_PER_MS
            if row.ready_since_us and served_ms >= self.limits.steady_ms:
                row.failed_count = 0
            row.ready_since_us = 0
            if row.is_dead and not row.recover_at_us:
                row.recover_at_us = self.now_us + self._backoff_ms(row) * US_PER_MS

    def _backoff_ms(self, row: Row) -> int:
        """None after a first failure; then doubled each time, so that a row that cannot live does
        not keep the schedulers busy."""
        if not row.failed_count:
            return 0
        backoff_ms = self.limits.recover_backoff_ms_min << min(row.failed_count - 1, 20)
        return min(backoff_ms, self.limits.recover_backoff_ms_max)

    def _act(self) -> None:
        """Take the plan's actions; a row whose last request has no answer yet waits for it."""
        replicas = self.rollingset.replicas
        states = [
            RowState(row.ordinal, row.version, row.is_ready(replicas), row.is_proved)
            for row in self.rollingset.in_order()
        ]
        for action in plan(states, goal_of(self.rollingset)):
            match action.op:
                case Op.CREATE:
                    self.table.create_row(self.rollingset, action.ordinal, action.version)
                case Op.DELETE:
                    self.table.delete_row(self.rollingset, action.ordinal)
                case Op.CONVERT:
                    self._convert(self.rollingset.rows[action.ordinal], action.version)

    def _convert(self, row: Row, version: int) -> None:
        """In place if the dispatcher holds the unit alive, else as a new incarnation."""
        if self.calls.is_busy(row.key):
            return
        if row.is_dead or not row.settled:
            made = self.table.create_row(self.rollingset, row.ordinal, version)
            made.failed_count = row.failed_count
        elif row.retry_at_us > self.now_us:
            self._wake(row.retry_at_us)
        elif version == row.held_version and row.settled < row.revision:
            row.withdraw()
            self.table.note_row(self.rollingset, row)
        else:
            row.ask_version(version)
            self.table.note_row(self.rollingset, row)

    def _recover(self) -> None:
        """Dead rows come back as new incarnations on their own version: repair is not a release."""
        for row in self.rollingset.in_order():
            if not row.is_dead or self.calls.is_busy(row.key):
                continue
            if row.recover_at_us > self.now_us:
                self._wake(row.recover_at_us)
                continue
            is_known = row.version in self.rollingset.versions
            version = row.version if is_known else self.rollingset.stable
            made = self.table.create_row(self.rollingset, row.ordinal, version)
            made.is_proved = row.is_proved
            made.failed_count = row.failed_count + 1

    def _settle(self) -> None:
        """A version that every row serves is the one to fall back to from now on."""
        rollingset = self.rollingset
        if rollingset.stable == rollingset.latest or len(rollingset.rows) != rollingset.spec.rows:
            return
        replicas = rollingset.replicas
        if rollingset.rows and all(
            row.version == rollingset.latest and row.is_ready(replicas)
            for row in rollingset.in_order()
        ):
            rollingset.stable = rollingset.latest
            rollingset.drop_unused()
            self.table.note_set(rollingset)

    def _ask(self) -> None:
        """Queue the requests that are owed: one per unit, none before its time."""
        for key, retry_at_us in self.rollingset.leaving.items():
            if retry_at_us > self.now_us:
                self._wake(retry_at_us)
            elif not self.calls.is_busy(key):
                self.calls.cancel(key)
        for row in self.rollingset.in_order():
            is_owed = row.settled < row.revision and not row.is_dead and not row.is_blocked
            if not is_owed or self.calls.is_busy(row.key):
                continue
            if row.retry_at_us > self.now_us:
                self._wake(row.retry_at_us)
            else:
                self.calls.ask(self.rollingset, row)
        if self.rollingset.is_deleting and not self.rollingset.leaving:
            self.table.forget_set(self.rollingset)

    def _wake(self, at_us: int) -> None:
        present = self.rollingset.wake_at_us
        self.rollingset.wake_at_us = min(at_us, present or at_us)


def goal_of(rollingset: Rollingset) -> Goal:
    """What the planner is to reach."""
    spec = rollingset.spec
    return Goal(
        rows=spec.rows,
        latest=rollingset.latest,
        stable=rollingset.stable,
        unavailable=share_floor(spec.max_unavailable, spec.rows),
        keep=share_ceil(spec.keep, spec.rows),
        is_paused=spec.is_paused,
    )
