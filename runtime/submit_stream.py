"""One Submit stream: batches in, replies out in the same order, a window of them in flight.

Made by `placement_api`, one per call. What must hold: a batch is answered once, behind its record;
with the window full nothing more is read, so that gRPC's flow control holds the client back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any

from cell.messages import Acks, Submit
from cell.reasons import Refusal
from godel.v1 import placement_pb2, types_pb2
from runtime import wire, wire_units, wire_views
from runtime.link_rpc import END
from runtime.loop import Shell
from runtime.submit_desk import SubmitDesk
from runtime.wire_classes import ClassNumbers

Answer = Acks | Refusal | None
"""What the core says of a converted request; None: it was not asked."""


class _Slot:
    """One batch in flight; `reply` is set when it may go out."""

    __slots__ = ("batch", "converted", "reply")

    def __init__(self, batch: int, converted: wire.Converted) -> None:
        self.batch = batch
        self.converted = converted
        self.reply: placement_pb2.SubmitReply | None = None


class SubmitStream:
    """Reads, converts, asks and replies until the client has closed its side."""

    def __init__(
        self,
        shell: Shell,
        desk: SubmitDesk,
        items_max: int,
        classes_max: int,
        batches_max: int,
    ) -> None:
        self._shell = shell
        self._desk = desk
        self._items_max = items_max
        self._batches_max = batches_max
        self._classes = ClassNumbers(classes_max)
        self._slots: deque[_Slot] = deque()
        self._is_ended = False
        self._ready = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self, context: Any) -> None:
        """Serve the call; what has reached the core when the client breaks off stays there."""
        writer = asyncio.ensure_future(self._write_all(context))
        try:
            await self._read_all(context)
            self._is_ended = True
            self._ready.set()
            await writer
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _read_all(self, context: Any) -> None:
        """Take batches as long as there is room for them."""
        while (request := await context.read()) is not END:
            self._take(request)
            while len(self._slots) >= self._batches_max:
                self._room.clear()
                await self._room.wait()

    def _take(self, request: placement_pb2.SubmitRequest) -> None:
        """Convert a batch and hand it in, unless nothing is left to ask or could be kept."""
        converted = wire_units.submit(request, self._classes, self._items_max)
        slot = _Slot(request.batch, converted)
        self._slots.append(slot)
        if not isinstance(converted.body, Submit):
            self._answer(slot, None)
        elif refusal := self._shell.store_refusal:
            self._answer(slot, refusal)
        else:
            self._desk.put(converted.body, partial(self._answer, slot))

    def _answer(self, slot: _Slot, answer: Answer) -> None:
        slot.reply = placement_pb2.SubmitReply(
            batch=slot.batch,
            count=slot.converted.count,
            refused=refused_of(slot.converted, answer),
        )
        self._ready.set()

    async def _write_all(self, context: Any) -> None:
        """Reply in order until the last batch is answered."""
        slots = self._slots
        while slots or not self._is_ended:
            if not slots or (reply := slots[0].reply) is None:
                self._ready.clear()
                await self._ready.wait()
                continue
            await context.write(reply)
            slots.popleft()
            self._room.set()


def refused_of(converted: wire.Converted, answer: Answer) -> list[types_pb2.Refused]:
    """All refusals of a request, by the index of the item in it."""
    refused = converted.refused
    kept = converted.kept if converted.kept is not None else range(converted.count)
    if isinstance(answer, Refusal):
        refused = refused + [(i, answer) for i in kept]
    elif answer is not None and answer.refused:
        refused = refused + [(kept[i], refusal) for i, refusal in answer.refused]
    if not refused:
        return []
    return wire_views.refused_items(sorted(refused, key=lambda entry: entry[0]))
