"""Tables: bytes and back, and what bad bytes are told."""

import numpy as np
import pytest

from cell import record
from cell.columns import BadTable, schema
from cell.messages import Assign, LinkMessage, NodeSpecs, NodeUse, State
from cell.unit import Assignments, UnitBatch


def an_assignment(**columns: object) -> Assignments:
    row = dict.fromkeys(schema(Assignments), 0) | {"handle": [7], "count": 1, "min": 1, "pin": -1}
    return Assignments.of(**(row | columns))


def test_a_table_survives_its_bytes() -> None:
    table = an_assignment(handle=[1, 2, 3], uid_hi=2**64 - 1)
    again = Assignments.from_bytes(table.to_bytes())
    assert again.rows() == table.rows()
    assert again.uid_hi.dtype == np.dtype("<u8")


def test_unknown_columns_are_ignored_and_missing_ones_are_told() -> None:
    raw = an_assignment().to_bytes() | {"colour": b"xyz"}
    assert len(Assignments.from_bytes(raw)) == 1
    del raw["pin"]
    with pytest.raises(BadTable, match=r"Assignments\.pin: 0 rows, others 1"):
        Assignments.from_bytes(raw)


def test_a_torn_column_is_told_by_name() -> None:
    raw = an_assignment().to_bytes()
    raw["attempt"] = raw["attempt"][:-1]
    with pytest.raises(BadTable, match=r"Assignments\.attempt: 7 bytes, items of 8"):
        Assignments.from_bytes(raw)


def test_ragged_columns_may_differ_in_length() -> None:
    use = NodeUse.of(node=[1], generation=[5], used=[3, 4, 5])
    again = NodeUse.from_bytes(use.to_bytes())
    assert len(again) == 1
    assert again.used.tolist() == [3, 4, 5]


def test_concat_and_take_keep_the_order() -> None:
    both = Assignments.concat([an_assignment(handle=[1, 2]), an_assignment(handle=[3])])
    assert both.handle.tolist() == [1, 2, 3]
    assert both.take([2, 0]).handle.tolist() == [3, 1]
    assert len(Assignments.concat([])) == 0


def test_a_message_survives_a_record() -> None:
    message = Assign(term=3, rows=an_assignment(), pins=("n1",))
    again = record.decoder(LinkMessage).decode(record.encode(message))
    assert isinstance(again, Assign)
    assert (again.term, again.pins, again.rows.rows()) == (3, ("n1",), message.rows.rows())


def test_an_empty_state_survives_a_record() -> None:
    state = State(1, 2, 3, NodeSpecs.empty(), NodeUse.empty(), strings=("a",))
    again = record.decoder(LinkMessage).decode(record.encode(state))
    assert isinstance(again, State)
    assert (again.watermark, again.strings, len(again.specs)) == (3, ("a",), 0)


def test_the_schema_keeps_the_order_of_the_class() -> None:
    assert list(schema(UnitBatch)) == ["uid_hi", "uid_lo", "priority", "groups"]
