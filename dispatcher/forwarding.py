"""What clients ask for where the home is an authority of its own: it is asked, and they are told.

Units come back by the binder like all others, so nothing of them is kept here. What must hold: a
request is answered once, when the home has answered for each of its units; who loses an answer asks
again, and is told the same. An end that is reported is in the unit's record before it is answered;
that a replica starts or is ready only this dispatcher knows.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from cell.classes import decode
from cell.effects import Answer, Effect
from cell.home import Answered, Code, Create, Delete
from cell.messages import Acks, Cancel, Report, Submit
from cell.reasons import Refusal, Status
from cell.unit import GroupSpec, UnitSpec
from dispatcher.codes import Op, State
from dispatcher.columns import offsets
from dispatcher.config import DispatcherConfig
from dispatcher.reports import Reports
from dispatcher.requests import Batch, Malformed, Refused, check, check_count, refuse_over_limit
from dispatcher.table import Table
from dispatcher.uids import find_keys


class _Open(msgspec.Struct):
    """A request that is not answered yet."""

    token: int
    keys: tuple[str, ...]
    refused: Refused
    waits: int = 0


class Forwarding:
    """See the module."""

    def __init__(self, term: int, table: Table, config: DispatcherConfig, reports: Reports) -> None:
        self._table = table
        self._config = config
        self._reports = reports
        self._reported: list[tuple[int, Report, Acks]] = []
        """Reports of ends that the binder has not settled, with their answers, by token."""
        self._next = term << 32 | 1
        self._open: dict[int, tuple[_Open, int, bool]] = {}
        """(request, item in it, whether it is a Create), by call."""

    def take(self, now_us: int, token: int, body: Any) -> list[Effect]:
        """Ask the home for what a client asks for; or its answer, if there is nothing to ask."""
        try:
            match body:
                case Submit():
                    return self._submit(token, body)
                case Cancel():
                    return self._cancel(token, body)
                case Report():
                    refused, _ = self._reports.take(now_us, body)
                    answer = Acks(len(body.keys), tuple(sorted(refused.items())))
                    self._reported.append((token, body, answer))
                    return self.settled()
        except Malformed as error:
            return [Answer(token, error.refusal)]
        name = type(body).__name__
        reason = f"{name}: units are changed in the API server"
        return [Answer(token, Refusal(Status.UNIMPLEMENTED, "", reason))]

    def settled(self) -> list[Effect]:
        """Answers to reports that the binder has settled by now."""
        told: list[Effect] = []
        reported, self._reported = self._reported, []
        for token, body, answer in reported:
            if self._reports.is_open(body):
                self._reported.append((token, body, answer))
            else:
                told.append(Answer(token, answer))
        return told

    def answered(self, answer: Answered) -> list[Effect]:
        """The home has answered for one unit."""
        found = self._open.pop(answer.call, None)
        if found is None:
            return []
        request, item, is_create = found
        refusal = self._refusal(request.keys[item], answer, is_create=is_create)
        if refusal is not None:
            request.refused[item] = refusal
        request.waits -= 1
        return self._answer(request)

    def _submit(self, token: int, body: Submit) -> list[Effect]:
        batch, refused = check(self._table, body)
        request = _Open(token, body.keys, refused)
        items = np.array([i for i in range(len(body.keys)) if i not in refused], np.int64)
        whole = batch.take(items)
        is_new = self._table.find(whole.uid_hi, whole.uid_lo) < 0
        over = refuse_over_limit(self._table, self._config, whole, is_new, items, refused)
        calls: list[Effect] = []
        for i in np.flatnonzero(~over).tolist():
            number = self._number(request, int(items[i]), is_create=True)
            calls.append(Create(number, self._unit(whole, i), is_known=not is_new[i]))
        return calls + self._answer(request)

    def _cancel(self, token: int, body: Cancel) -> list[Effect]:
        check_count("keys", len(body.keys))
        request = _Open(token, body.keys, {})
        calls: list[Effect] = [
            Delete(self._number(request, item, is_create=False), key)
            for item, key in enumerate(body.keys)
        ]
        return calls + self._answer(request)

    def _number(self, request: _Open, item: int, *, is_create: bool) -> int:
        number, self._next = self._next, self._next + 1
        self._open[number] = request, item, is_create
        request.waits += 1
        return number

    def _answer(self, request: _Open) -> list[Effect]:
        if request.waits:
            return []
        refused = tuple(sorted(request.refused.items()))
        return [Answer(request.token, Acks(len(request.keys), refused))]

    def _unit(self, batch: Batch, item: int) -> UnitSpec:
        """A unit in row form, its classes in canonical form."""
        first, groups = int(offsets(batch.counts)[item]), batch.groups
        names, classes = self._table.names, self._table.classes.entries
        return UnitSpec(
            str(batch.keys[item]),
            tuple(
                GroupSpec(
                    klass=decode(classes[int(groups.klass[row])]),
                    role=names.text(int(groups.role[row])),
                    count=int(groups.count[row]),
                    min=int(groups.min[row]),
                    pin=names.text(int(groups.pin[row])),
                )
                for row in range(first, first + int(batch.counts[item]))
            ),
            int(batch.priority[item]),
        )

    def _refusal(self, key: str, answer: Answered, *, is_create: bool) -> Refusal | None:
        match answer.code:
            case Code.OK:
                return None
            case Code.CONFLICT:
                reason = "is in use for a unit with other content"
                return Refusal(Status.ALREADY_EXISTS, "key", reason)
            case Code.GONE if answer.why:
                return Refusal(Status.FAILED_PRECONDITION, "", answer.why)
            case Code.GONE if is_create:
                reason = "is that of a unit that has ended, and is remembered"
                return Refusal(Status.ALREADY_EXISTS, "key", reason)
            case Code.GONE:
                return self._not_there(key)
        retry_ms = self._config.retry_after_ms
        return Refusal(Status.UNAVAILABLE, "", answer.why, retry_ms)

    def _not_there(self, key: str) -> Refusal | None:
        """Why a unit that the home does not have under this name cannot be cancelled, if so."""
        units, (handle, *_) = self._table.units, find_keys(self._table, (key,)).tolist()
        if handle < 0:
            return Refusal(Status.NOT_FOUND, "key", "unknown unit")
        if units.state[handle] == State.FINISHED or units.op[handle] == Op.CANCEL:
            return None
        reason = "is not a unit of a client: delete it in the API server"
        return Refusal(Status.FAILED_PRECONDITION, "key", reason)
