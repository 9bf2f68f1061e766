"""Bodies as bytes: what crosses the simulated network or a simulated disk shares no memory.

A body is packed as its type and its record encoding; unpacking decodes afresh, with columns that
cannot be written to, so a core that changes what it received or sent is found at once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from cell import record
from cell.release import Call, Called

Packed = tuple[type, bytes] | tuple[type, int, "Packed"]


@cache
def _decoder(kind: type) -> msgspec.msgpack.Decoder[Any]:
    return record.decoder(kind)


def pack(body: Any) -> Packed:
    """The type and bytes of a message, request or answer."""
    if isinstance(body, Call | Called):
        return type(body), body.number, pack(body.body)
    return type(body), record.encode(body)


def unpack(packed: Packed) -> Any:
    """A fresh copy of what was packed."""
    if len(packed) == 3:
        kind, number, inner = packed
        return kind(number, unpack(inner))
    kind, encoded = packed
    return _decoder(kind).decode(encoded)
