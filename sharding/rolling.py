"""The roll planner: states of all rows in, actions out. Pure, stateless, deterministic.

Owns one decision: which row may change its version, come or go now. `sharding.core` calls it with
what it sees after every change, and again after a crash; nothing is remembered between calls.

What must hold, from any state: no action takes the ready rows below rows - unavailable (failures
may, the plan never does); at most `unavailable` rows are unproven on the version being rolled to; a
row that is not ready goes before any ready one; a goal that is reached gives no action. There is no
surge yet, so a budget of zero cannot roll.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec

UNKNOWN_VERSION = 0
"""A row changed by somebody else: on no version of ours, so always to be converted."""


class RowState(msgspec.Struct, frozen=True, array_like=True):
    """One row as observed. `is_ready`: all columns serve on `version`; `is_proved`: once did."""

    ordinal: int
    version: int
    is_ready: bool
    is_proved: bool


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted: `rows` rows, all but `keep` on `latest`, at most `unavailable` not serving;
    `stable` is the version to fall back to (0: there is none)."""

    rows: int
    latest: int
    stable: int
    unavailable: int
    keep: int = 0
    is_paused: bool = False


class Op(StrEnum):
    """What to do to a row."""

    CREATE = "create"
    CONVERT = "convert"
    DELETE = "delete"


class Action(msgspec.Struct, frozen=True, array_like=True):
    """One step; all actions of a plan may be taken at once. `version` is 0 for DELETE."""

    op: Op
    ordinal: int
    version: int = 0


def plan(rows: Sequence[RowState], goal: Goal) -> list[Action]:
    """The actions that bring `rows` (ordinals distinct, any order) nearer to `goal` now."""
    draft = _Draft(rows, goal)
    _scale_in(draft)
    _scale_out(draft)
    if not goal.is_paused:
        _convert(draft)
    return draft.actions


def share_floor(amount: int | str, rows: int) -> int:
    """`amount` ("20%" or a count) of `rows`, rounded down, at most `rows`. Raises ValueError."""
    percent, count = _parsed(amount)
    return rows * percent // 100 if percent >= 0 else min(count, rows)


def share_ceil(amount: int | str, rows: int) -> int:
    """`amount` ("20%" or a count) of `rows`, rounded up, at most `rows`. Raises ValueError."""
    percent, count = _parsed(amount)
    return -(-rows * percent // 100) if percent >= 0 else min(count, rows)


def _parsed(amount: int | str) -> tuple[int, int]:
    """(percent, 0) or (-1, count)."""
    text = str(amount)
    digits = text.removesuffix("%")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 9:
        raise ValueError(f"{text[:40]!r} is neither a count nor a percentage")
    if digits == text:
        return -1, int(digits)
    if int(digits) > 100:
        raise ValueError(f"{text} is above 100%")
    return int(digits), 0


class _Draft:
    """The rows as they will be after the actions so far."""

    def __init__(self, rows: Sequence[RowState], goal: Goal) -> None:
        self.goal = goal
        self.on_latest = goal.rows - min(goal.keep, goal.rows)
        self.rows = {row.ordinal: row for row in sorted(rows, key=lambda row: row.ordinal)}
        self.ready_count = sum(row.is_ready for row in rows)
        self.versions = Counter(row.version for row in rows)
        self.unproven = Counter(row.version for row in rows if not row.is_ready | row.is_proved)
        self.actions: list[Action] = []

    def may_lose(self, row: RowState) -> bool:
        """Whether the row may stop serving: one that does not serve always may."""
        floor = self.goal.rows - self.goal.unavailable
        return not row.is_ready or self.ready_count > max(floor, 0)

    def create(self, ordinal: int, version: int) -> None:
        self._enter(RowState(ordinal, version, False, False))
        self.actions.append(Action(Op.CREATE, ordinal, version))

    def convert(self, row: RowState, version: int) -> None:
        self._leave(row)
        self._enter(RowState(row.ordinal, version, False, False))
        self.actions.append(Action(Op.CONVERT, row.ordinal, version))

    def delete(self, row: RowState) -> None:
        self._leave(row)
        self.actions.append(Action(Op.DELETE, row.ordinal))

    def _enter(self, row: RowState) -> None:
        self.rows[row.ordinal] = row
        self.versions[row.version] += 1
        self.unproven[row.version] += 1

    def _leave(self, row: RowState) -> None:
        del self.rows[row.ordinal]
        self.ready_count -= row.is_ready
        self.versions[row.version] -= 1
        self.unproven[row.version] -= not row.is_ready | row.is_proved


def _scale_in(draft: _Draft) -> None:
    """Delete what is above the wanted count: rows not ready first, then the version being left,
    then the highest ordinal; never more of one side than it has above its own share."""
    latest = draft.goal.latest
    surplus = len(draft.rows) - draft.goal.rows
    if surplus <= 0:
        return
    above_latest = draft.versions[latest] - draft.on_latest
    above_old = surplus - above_latest
    order = sorted(draft.rows.values(), key=lambda r: (r.is_ready, r.version == latest, -r.ordinal))
    for row in order:
        is_latest = row.version == latest
        if surplus == 0 or not draft.may_lose(row):
            return
        if (above_latest if is_latest else above_old) <= 0:
            continue
        draft.delete(row)
        surplus -= 1
        above_latest -= is_latest
        above_old -= not is_latest


def _scale_out(draft: _Draft) -> None:
    """Create the missing rows at the lowest free ordinals: on the latest version within the blast
    radius, the rest on the stable one, so that a bad release cannot eat a scale-out."""
    goal = draft.goal
    is_from_nothing = not draft.rows
    ordinal = 0
    for _ in range(goal.rows - len(draft.rows)):
        while ordinal in draft.rows:
            ordinal += 1
        is_within = is_from_nothing or draft.unproven[goal.latest] < goal.unavailable
        is_wanted = draft.versions[goal.latest] < draft.on_latest and not goal.is_paused
        is_only = goal.stable in (0, goal.latest)
        is_latest = is_only or (is_wanted and is_within)
        draft.create(ordinal, goal.latest if is_latest else goal.stable)


def _convert(draft: _Draft) -> None:
    """Convert towards the latest version, or back to the stable one if too many are on it."""
    goal = draft.goal
    missing = draft.on_latest - draft.versions[goal.latest]
    is_forward = missing >= 0
    target = goal.latest if is_forward else goal.stable
    if target in (0, goal.latest) and not is_forward:
        return
    candidates = [r for r in draft.rows.values() if (r.version == goal.latest) != is_forward]
    for row in _in_order(draft, candidates)[: abs(missing)]:
        if draft.unproven[target] >= goal.unavailable or not draft.may_lose(row):
            return
        draft.convert(row, target)


def _in_order(draft: _Draft, candidates: list[RowState]) -> list[RowState]:
    """Rows not ready first; then the version that serves least, so that the large one serves
    longest; then the highest ordinal. Taking a ready row makes its version serve even less, so
    versions that serve alike are emptied one after the other, the highest ordinal's first."""
    serving = Counter(row.version for row in draft.rows.values() if row.is_ready)
    highest: dict[int, int] = {}
    for row in candidates:
        if row.is_ready:
            highest[row.version] = max(row.ordinal, highest.get(row.version, 0))

    def rank(row: RowState) -> tuple[bool, int, int, int]:
        among_equals = -highest[row.version] if row.is_ready else 0
        return (row.is_ready, serving[row.version], among_equals, -row.ordinal)

    return sorted(candidates, key=rank)
