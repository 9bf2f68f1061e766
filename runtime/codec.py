"""Link messages between `cell` and the wire, by field name; one converter per type.

Called by `link_rpc`. A table travels as one `bytes` field per column: encoding fills the message in
place, decoding makes views of its bytes. What a peer sends wrong raises BadTable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast, get_args, get_origin, get_type_hints

import msgspec

from cell.columns import Table, schema
from cell.link import Frame, Hello
from cell.messages import (
    Ability,
    Arrive,
    Assign,
    Command,
    Explain,
    Plan,
    Settle,
    State,
    Unplaced,
)
from godel.v1 import link_pb2

BODIES: dict[type, str] = {
    Hello: "hello",
    Assign: "assign",
    Unplaced: "unplaced",
    Ability: "ability",
    Plan: "plan",
    State: "state",
    Command: "command",
    Settle: "settle",
    Arrive: "arrive",
    Explain: "explain",
}
"""Cell types that travel in a frame, with the frame's field."""
_TYPES = {name: kind for kind, name in BODIES.items()}

Fill = Callable[[Any, Any], None]
"""Sets the fields of the second argument, a wire message, from the first."""
Make = Callable[[Any], Any]


def encode_frame(frame: Frame) -> link_pb2.Frame:
    """The wire form of a frame."""
    made = link_pb2.Frame(session=frame.session, seq=frame.seq, sent_at_us=frame.sent_at_us)
    if frame.body is not None:
        kind = type(frame.body)
        wire = getattr(made, BODIES[kind])
        wire.SetInParent()
        fill(frame.body, wire)
    return made


def decode_frame(wire: link_pb2.Frame) -> Frame:
    """The frame of a wire form. Raises BadTable."""
    name = wire.WhichOneof("body")
    body = None if name is None else decode(_TYPES[name], getattr(wire, name))
    return Frame(wire.session, wire.seq, body, wire.sent_at_us)


def fill(body: Any, wire: Any) -> None:
    """Set the fields of an empty wire message from a link message or table."""
    filler(type(body))(body, wire)


def decode(kind: type, wire: Any) -> Any:
    """The link message (or table) of type `kind` over the bytes of `wire`. Raises BadTable."""
    return maker(kind)(wire)


@cache
def _filler(kind: Any) -> Fill:
    fields = [(name, _field_filler(name, hint)) for name, hint in _fields(kind)]

    def fill_struct(body: Any, wire: Any) -> None:
        for name, set_field in fields:
            set_field(getattr(body, name), wire)

    return fill_struct


def filler(kind: type) -> Fill:
    """What fills wire messages of a cell type."""
    return _fill_table if issubclass(kind, Table) else _filler(cast(Any, kind))


def _fill_table(table: Table, wire: Any) -> None:
    for name, column in table.to_bytes().items():
        setattr(wire, name, column)


def _field_filler(name: str, hint: Any) -> Fill:
    item = _struct_item(hint)
    if item is not None:
        fill_item = filler(item)

        def set_items(items: Any, wire: Any) -> None:
            field = getattr(wire, name)
            for each in items:
                fill_item(each, field.add())

        return set_items
    if get_origin(hint) is tuple:
        return lambda items, wire: getattr(wire, name).extend(items)
    if issubclass(hint, Table):
        return lambda table, wire: _fill_table(table, getattr(wire, name))
    return lambda value, wire: setattr(wire, name, value)


@cache
def _maker(kind: Any) -> Make:
    if issubclass(kind, Table):
        names = tuple(schema(kind))
        return lambda wire: kind.from_bytes({name: getattr(wire, name) for name in names})
    fields = [(name, _field_maker(hint)) for name, hint in _fields(kind)]
    return lambda wire: kind(**{name: make(getattr(wire, name)) for name, make in fields})


def maker(kind: type) -> Make:
    """What makes a cell type of its wire message."""
    return _maker(cast(Any, kind))


def _field_maker(hint: Any) -> Make:
    item = _struct_item(hint)
    if item is not None:
        make = maker(item)
        return lambda items: tuple([make(each) for each in items])
    if get_origin(hint) is tuple:
        return tuple
    return maker(hint) if issubclass(hint, Table) else lambda value: value


def _fields(kind: type) -> list[tuple[str, Any]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(field.name, hints[field.name]) for field in msgspec.structs.fields(kind)]


def _struct_item(hint: Any) -> type | None:
    """The item type of a tuple of structs."""
    item = get_args(hint)[0] if get_origin(hint) is tuple else None
    return item if isinstance(item, type) and issubclass(item, msgspec.Struct) else None
