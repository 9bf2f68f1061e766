"""The parked set: units that found no room, by shape, with the events that could help.

Units of one shape (same content, same priority) fit or fail alike, so a wake need not try them all.
The law: a wake lets the oldest few of each shape try (a wave); a wave that found room for all is
followed by one twice as large; one refusal ends it, and the shape waits for the next wake. A wake
that comes while a shape's units are trying starts another wave when they are back. Wakes are
counted, and a shape is due when one that it names was counted after its last wave began: none is
lost.
Net below: a shape is tried again `parked_retry_ms_max` after its last wave.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from dispatcher.columns import I64s
from dispatcher.config import DispatcherConfig
from dispatcher.table import Units
from dispatcher.waiting.queue import AgeQueue

SCHEDULER = 8
"""Wake bit beside those of `reasons.Wake`: a scheduler has come. Cures an unknown profile."""
BITS = (1, 2, 4, SCHEDULER)
Stamp = tuple[int, int]
"""(binder's term, generation) of a state of the cluster."""


class Shape:
    """Like units that are parked. `serial` counts its waves."""

    __slots__ = (
        "hash",
        "is_refused",
        "mask",
        "number",
        "queue",
        "seen",
        "serial",
        "trying",
        "wave",
    )

    def __init__(self, number: int, digest: int) -> None:
        self.number = number
        self.hash = digest
        self.queue = AgeQueue()
        self.mask = 0
        self.seen = 0
        """Wakes counted when the last wave began."""
        self.trying = 0
        self.wave = 0
        self.serial = 0
        self.is_refused = False


class Parked:
    """Shapes and their waves."""

    def __init__(self, units: Units, config: DispatcherConfig) -> None:
        self._units = units
        self._config = config
        self._by_hash: dict[int, Shape] = {}
        self._by_number: dict[int, Shape] = {}
        self._ring: deque[Shape] = deque()
        """All shapes, in the order in which they are looked at."""
        self._look_left = 0
        self._retries: deque[tuple[int, int, int]] = deque()
        """(when, shape, serial), in order of time."""
        self._numbers = 0
        self.wakes = 0
        """Wakes counted so far."""
        self._last = dict.fromkeys(BITS, 0)
        self._stamps: dict[int, Stamp] = dict.fromkeys(BITS, (0, 0))
        self.trying = 0

    def put(self, now_us: int, handles: I64s, shapes: list[int], mask: int) -> None:
        """Park units whose tickets are set; `shapes` are digests, one per unit."""
        order: dict[int, list[int]] = {}
        for handle, digest in zip(handles.tolist(), shapes, strict=True):
            order.setdefault(digest, []).append(handle)
        for digest, members in order.items():
            shape = self._by_hash.get(digest) or self._new_shape(now_us, digest)
            parked = np.array(members, np.int64)
            self._units.wakes[parked] = mask
            shape.queue.put(self._units, parked)
            shape.mask = mask
            missed = int(self._units.wake_seen[parked].min())
            shape.seen = min(shape.seen, missed)
            if self._is_due(shape):
                self._look_left = len(self._ring)

    def wake(self, mask: int, stamp: Stamp | None = None) -> None:
        """Something that may help shapes which name it happened in the cluster, at a stamp; or may
        not have been heard of by those who tried since."""
        self.wakes += 1
        for bit in BITS:
            if mask & bit:
                self._last[bit] = self.wakes
                self._stamps[bit] = stamp or self._stamps[bit]
        self._look_left = len(self._ring)

    def after(self, seen: Stamp) -> int:
        """Mask of what has happened after a state of the cluster that somebody has seen."""
        return sum(bit for bit in BITS if self._stamps[bit] > seen)

    def back(self, now_us: int, handles: I64s, *, is_refused: bool) -> None:
        """Units that tried for their shapes are back: refused, or placed or ended."""
        probes = self._units.probe[handles]
        tried = np.flatnonzero(probes)
        if not len(tried):
            return
        self._units.probe[handles] = 0
        self.trying -= len(tried)
        for number in probes[tried].tolist():
            shape = self._by_number[number]
            shape.trying -= 1
            shape.is_refused |= is_refused
        for number in dict.fromkeys(probes[tried].tolist()):
            self._end_wave(now_us, self._by_number[number])

    def take_woken(self) -> I64s:
        """Units that may try now; they leave the set and are known as tries of their shapes."""
        woken: list[I64s] = []
        looks = min(self._look_left, self._config.shapes_per_call_max)
        while looks and self.trying < self._config.woken_max:
            looks -= 1
            self._look_left -= 1
            shape = self._ring.popleft()
            if not shape.trying:
                if not shape.wave and self._is_due(shape):
                    shape.wave = self._config.wave_min
                if shape.wave:
                    woken.append(self._begin_wave(shape))
            if shape.trying or not shape.queue.is_empty(self._units):
                self._ring.append(shape)
            else:
                self._forget(shape)
        return np.concatenate(woken) if woken else np.empty(0, np.int64)

    def retry(self, now_us: int) -> None:
        """Shapes that nothing woke for too long try again."""
        while self._retries and self._retries[0][0] <= now_us:
            _, number, serial = self._retries.popleft()
            shape = self._by_number.get(number)
            if shape is not None and shape.serial == serial and not shape.trying:
                shape.wave = self._config.wave_min
                self._look_left = len(self._ring)

    @property
    def is_look_due(self) -> bool:
        """Whether shapes are left to look at that could be let try."""
        return self._look_left > 0 and self.trying < self._config.woken_max

    def next_at_us(self) -> int:
        """When the next shape is tried again; 0 for never."""
        return self._retries[0][0] if self._retries else 0

    def _new_shape(self, now_us: int, digest: int) -> Shape:
        self._numbers += 1
        shape = Shape(self._numbers, digest)
        shape.seen = self.wakes
        self._by_hash[digest] = self._by_number[shape.number] = shape
        self._ring.append(shape)
        self._await_retry(now_us, shape)
        return shape

    def _forget(self, shape: Shape) -> None:
        del self._by_hash[shape.hash]
        del self._by_number[shape.number]

    def _is_due(self, shape: Shape) -> bool:
        return any(shape.mask & bit and self._last[bit] > shape.seen for bit in BITS)

    def _begin_wave(self, shape: Shape) -> I64s:
        handles = shape.queue.first(self._units, shape.wave)
        shape.seen = self.wakes
        shape.serial += 1
        shape.is_refused = False
        shape.trying = len(handles)
        self.trying += len(handles)
        self._units.probe[handles] = shape.number
        return handles

    def _end_wave(self, now_us: int, shape: Shape) -> None:
        if shape.trying:
            return
        shape.wave = 0 if shape.is_refused else min(2 * shape.wave, self._config.wave_max)
        if shape.wave or self._is_due(shape):
            self._look_left = len(self._ring)
        self._await_retry(now_us, shape)

    def _await_retry(self, now_us: int, shape: Shape) -> None:
        at_us = now_us + self._config.parked_retry_ms_max * 1_000
        self._retries.append((at_us, shape.number, shape.serial))
