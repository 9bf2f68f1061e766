"""The binder's rules once more, in plain dictionaries: what properties compare the core with.

It shares nothing with the ledger. It knows rooms, minima, tombstones for good (nothing is forgotten
here) and commands; nodes of one resource, classes by cpu.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from cell.unit import CommandOp, Verdict

Row = dict[str, int]
Told = tuple[int, Verdict, int]
"""uid, verdict, ordinal (-1: the whole unit)."""


@dataclass
class Claim:
    node: int
    revision: int
    klass: int
    is_ended: bool = False


@dataclass
class Unit:
    revision: int = 0
    is_cancelled: bool = False
    claims: dict[tuple[int, int], Claim] = field(default_factory=dict)

    def live(self) -> dict[tuple[int, int], Claim]:
        return {replica: claim for replica, claim in self.claims.items() if not claim.is_ended}


class Twin:
    """See the module. `cpus` are nodes' cpus by number, `demands` those of classes."""

    def __init__(self, cpus: list[int], demands: list[int]) -> None:
        self.free = dict(enumerate(cpus))
        self.demands = demands
        self.units: dict[int, Unit] = {}
        self.floor = 0

    def used(self) -> dict[int, int]:
        totals: dict[int, int] = {}
        for unit in self.units.values():
            for claim in unit.live().values():
                totals[claim.node] = totals.get(claim.node, 0) + self.demands[claim.klass]
        return totals

    def claims(self) -> dict[tuple[int, int, int], tuple[int, int]]:
        return {
            (uid, *replica): (claim.node, claim.revision)
            for uid, unit in self.units.items()
            for replica, claim in unit.live().items()
        }

    def plan(self, rows: list[Row]) -> list[Told]:
        told: list[Told] = []
        runs = [(uid, list(run)) for uid, run in groupby(rows, key=lambda row: row["uid_lo"])]
        uids = [uid for uid, _ in runs]
        for uid, run in runs:
            replicas = [(row["group"], row["ordinal"]) for row in run]
            is_bad = uids.count(uid) > 1 or len(set(replicas)) < len(run)
            is_bad |= any(r["node"] not in self.free for r in run)
            is_bad |= any(r["klass"] >= len(self.demands) for r in run)
            is_bad |= len({(r["revision"], r["attempt"]) for r in run}) > 1
            told += [(uid, Verdict.REJECTED, -1)] if is_bad else self._unit(uid, run)
        return told

    def _unit(self, uid: int, run: list[Row]) -> list[Told]:
        unit = self.units.get(uid, Unit())
        if run[0]["attempt"] < self.floor:
            return [(uid, Verdict.STALE, -1)]
        if unit.is_cancelled:
            return [(uid, Verdict.CANCELLED, -1)]
        revision = run[0]["revision"]
        if revision < unit.revision:
            return [(uid, Verdict.STALE, -1)]
        before = [unit.claims.get((row["group"], row["ordinal"])) for row in run]
        if any(c is not None and c.is_ended and c.revision >= revision for c in before):
            return [(uid, Verdict.STALE, -1)]
        have: dict[int, int] = {}
        free, told, made = dict(self.free), [], {}
        for row, claim in zip(run, before, strict=True):
            replica, demand = (row["group"], row["ordinal"]), self.demands[row["klass"]]
            verdict = Verdict.BOUND
            if claim is not None and not claim.is_ended:
                if claim.revision != revision:
                    continue
                verdict = Verdict.ALREADY
            elif free[row["node"]] < demand:
                continue
            else:
                free[row["node"]] -= demand
                made[replica] = Claim(row["node"], revision, row["klass"])
            have[row["group"]] = have.get(row["group"], 0) + 1
            told.append((uid, verdict, row["ordinal"]))
        if not told or any(have.get(row["group"], 0) < row["min"] for row in run):
            return [(uid, Verdict.REJECTED, -1)]
        if made:
            unit.claims.update(made)
            unit.revision = max(unit.revision, revision)
            self.units[uid], self.free = unit, free
        return told

    def command(self, row: Row) -> list[Told]:
        uid, unit = row["uid_lo"], self.units.setdefault(row["uid_lo"], Unit())
        match CommandOp(row["op"]):
            case CommandOp.CANCEL:
                self._drop(unit, unit.claims)
                unit.is_cancelled = True
                return [(uid, Verdict.CANCELLED, -1)]
            case CommandOp.RELEASE:
                return self._release(uid, unit, row["revision"])
            case CommandOp.AMEND:
                return self._amend(uid, unit, row)
            case CommandOp.FREE:
                return self._free(uid, unit, row)
            case CommandOp.CONFIRM:
                return self._confirm(uid, unit, row)

    def _release(self, uid: int, unit: Unit, revision: int) -> list[Told]:
        if unit.is_cancelled:
            return [(uid, Verdict.CANCELLED, -1)]
        old = {r: c for r, c in unit.claims.items() if c.revision < revision}
        self._drop(unit, old)
        unit.revision = max(unit.revision, revision)
        return [(uid, Verdict.RELEASED, -1)]

    def _amend(self, uid: int, unit: Unit, row: Row) -> list[Told]:
        if unit.is_cancelled:
            return [(uid, Verdict.CANCELLED, -1)]
        if unit.revision > row["revision"]:
            return [(uid, Verdict.STALE, -1)]
        live = unit.live()
        if not live:
            return self._release(uid, unit, row["revision"])
        touched = {r: c for r, c in live.items() if r[0] == row["group"]}
        if not touched:
            return [(uid, Verdict.REJECTED, -1)]
        free = dict(self.free)
        for claim in touched.values():
            if claim.revision < row["revision"]:
                grows = self.demands[row["klass"]] - self.demands[claim.klass]
                free[claim.node] -= grows
                if grows > 0 and free[claim.node] < 0:
                    return [(uid, Verdict.REJECTED, -1)]
        self.free = free
        for claim in touched.values():
            if claim.revision < row["revision"]:
                claim.revision, claim.klass = row["revision"], row["klass"]
        unit.revision = max(unit.revision, row["revision"])
        return [(uid, Verdict.AMENDED, ordinal) for _, ordinal in touched]

    def _free(self, uid: int, unit: Unit, row: Row) -> list[Told]:
        claim = unit.claims.get((row["group"], row["ordinal"]))
        if claim is not None and not claim.is_ended:
            if claim.revision > row["revision"]:
                return [(uid, Verdict.STALE, row["ordinal"])]
            self.free[claim.node] += self.demands[claim.klass]
            claim.is_ended = True
        return [(uid, Verdict.RELEASED, row["ordinal"])]

    def _confirm(self, uid: int, unit: Unit, row: Row) -> list[Told]:
        is_lost = (row["group"], row["ordinal"]) not in unit.live()
        return [(uid, Verdict.FAILED, row["ordinal"])] if is_lost else []

    def _drop(self, unit: Unit, claims: dict[tuple[int, int], Claim]) -> None:
        for replica, claim in list(claims.items()):
            if not claim.is_ended:
                self.free[claim.node] += self.demands[claim.klass]
            del unit.claims[replica]


def told_of(outcomes: list[tuple[Any, ...]]) -> list[Told]:
    """The core's outcomes in the twin's form."""
    return [(uid, verdict, ordinal) for uid, verdict, _, ordinal, _ in outcomes]
