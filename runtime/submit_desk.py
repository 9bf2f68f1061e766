"""The desk of all Submit streams: batches that come close together reach the core as one.

A call of the core costs half a millisecond before its first unit, so batches wait, the longer the
more units went before them: a lone unit waits for nobody, and a crowd is paid for once. What must
hold: batches keep their order, within a stream and among streams; each gets its own answer; what
asks the core for something else flushes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import accumulate

import numpy as np

from cell.classes import ClassSpec
from cell.messages import Acks, Submit
from cell.reasons import Refusal
from cell.unit import NO_PIN, GroupBatch, UnitBatch
from runtime.loop import Shell

WAIT_US_PER_UNIT = 250
"""A batch waits so long for each unit that went to the core before it..."""
WAIT_US_MAX = 10_000
"""... but no longer than this."""

OnAnswer = Callable[[Acks | Refusal], None]


class SubmitDesk:
    """Collects the batches of one service."""

    def __init__(self, shell: Shell, items_max: int) -> None:
        self._shell = shell
        self._items_max = items_max
        self._pending: list[tuple[Submit, OnAnswer]] = []
        self._units = 0
        """Of the pending batches."""
        self._open_at_us = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, body: Submit, answer: OnAnswer) -> None:
        """Queue a batch; `answer` is called with what the core says of it."""
        if self._units + len(body.keys) > self._items_max:
            self.flush()
        self._pending.append((body, answer))
        self._units += len(body.keys)
        if self._timer is None:
            self._open()

    def flush(self) -> None:
        """Give the core what is queued now."""
        if not self._pending:
            return
        pending, units = self._pending, self._units
        self._pending, self._units = [], 0
        wait_us = min(units * WAIT_US_PER_UNIT, WAIT_US_MAX)
        self._open_at_us = self._shell.clock.now_us() + wait_us
        self._shell.request(
            merged([body for body, _ in pending]), lambda answer: _share(pending, answer)
        )

    def _open(self) -> None:
        """Flush, or come back when it is time to."""
        early_us = self._open_at_us - self._shell.clock.now_us()
        if early_us > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(early_us / 1e6, self._on_timer)
        else:
            self.flush()

    def _on_timer(self) -> None:
        self._timer = None
        if self._pending:
            self._open()


def merged(bodies: list[Submit]) -> Submit:
    """One batch of all the units, in order."""
    if len(bodies) == 1:
        return bodies[0]
    classes: dict[int, tuple[int, ClassSpec]] = {}
    groups = []
    pins: list[str] = []
    for body in bodies:
        # By identity: a stream's classes are objects of its own, and equal ones do no harm.
        places = [classes.setdefault(id(spec), (len(classes), spec))[0] for spec in body.classes]
        rows = body.groups
        pin = rows.pin
        if body.pins:
            pin = np.where(pin == NO_PIN, pin, pin + np.int32(len(pins)))
            pins += body.pins
        klass = np.array(places, np.uint32)[rows.klass]
        groups.append(GroupBatch(klass=klass, count=rows.count, min=rows.min, pin=pin))
    return Submit(
        units=UnitBatch.concat([body.units for body in bodies]),
        groups=GroupBatch.concat(groups),
        keys=tuple([key for body in bodies for key in body.keys]),
        classes=tuple([spec for _, spec in classes.values()]),
        roles=_roles(bodies),
        pins=tuple(pins),
    )


def _roles(bodies: list[Submit]) -> tuple[str, ...]:
    if not any([body.roles for body in bodies]):
        return ()
    unnamed = ("",)
    return tuple([r for body in bodies for r in body.roles or unnamed * len(body.groups)])


def _share(pending: list[tuple[Submit, OnAnswer]], answer: Acks | Refusal) -> None:
    """Give each batch its part of the answer, with the indices it knows."""
    if isinstance(answer, Refusal):
        for _, on_answer in pending:
            on_answer(answer)
        return
    refused = iter(answer.refused)
    entry = next(refused, None)
    ends = accumulate([len(body.keys) for body, _ in pending])
    for end, (body, on_answer) in zip(ends, pending, strict=True):
        count = len(body.keys)
        mine = []
        while entry is not None and entry[0] < end:
            mine.append((entry[0] - (end - count), entry[1]))
            entry = next(refused, None)
        on_answer(Acks(count, tuple(mine)))
