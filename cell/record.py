"""Records: how messages with tables become bytes for a log and back. One codec for all cores.

A record type is a tagged msgspec Struct; a core names its record types as one union. Pure: stores
append and read the bytes, the simulator keeps them to prove that nothing shares memory with a
crashed core.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cell.columns import Table


def _encode_table(value: Any) -> Any:
    if isinstance(value, Table):
        return value.to_bytes()
    raise NotImplementedError(f"{type(value).__name__} in a record")


def _decode_table(kind: type, value: Any) -> Any:
    if issubclass(kind, Table):
        return kind.from_bytes(value)
    raise NotImplementedError(f"{kind.__name__} in a record")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_table)


def encode(record: Any) -> bytes:
    """The bytes of a record."""
    return _ENCODER.encode(record)


def decoder(union: Any) -> msgspec.msgpack.Decoder[Any]:
    """A decoder for a union of tagged record types. Its `decode` raises msgspec.ValidationError."""
    return msgspec.msgpack.Decoder(union, dec_hook=_decode_table)
