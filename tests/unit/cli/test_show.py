"""Tables and durations for people, messages for scripts."""

from dataclasses import dataclass

import pytest

from godel.v1 import cluster_pb2, placement_pb2, types_pb2
from runtime.cli.show import age, counted, enum_name, pairs, plain, table


def test_columns_are_aligned_and_numbers_stand_right() -> None:
    text = table(("NAME", "COUNT", "WHY"), [("a", 5, ""), ("long", 1000, "x y")])
    assert text.splitlines() == ["NAME  COUNT  WHY", "a         5", "long   1000  x y"]


def test_a_table_without_rows_is_its_header() -> None:
    assert table(("A", "B"), []) == "A  B"


def test_pairs_leave_out_what_is_empty() -> None:
    assert pairs((("a", 1), ("why", ""), ("long", "x"))) == "a     1\nlong  x"


@dataclass(frozen=True)
class Age:
    us: float
    want: str


AGES = [
    Age(0, "0.0ms"),
    Age(1500, "1.5ms"),
    Age(1_500_000, "1.5s"),
    Age(59_900_000, "59s"),
    Age(119_000_000, "119s"),
    Age(120_000_000, "2m"),
    Age(7_200_000_000, "2h"),
    Age(200_000_000_000, "2d"),
    Age(-5000, "0.0ms"),
]


@pytest.mark.parametrize("case", AGES, ids=lambda case: str(case.us))
def test_durations_are_in_one_unit(case: Age) -> None:
    assert age(case.us) == case.want


def test_counts_have_their_noun() -> None:
    assert [counted(n, "unit") for n in (0, 1, 1000)] == ["0 units", "1 unit", "1,000 units"]


def test_a_message_has_all_its_fields_with_numbers_as_numbers() -> None:
    shown = plain(cluster_pb2.NodeView(name="n", generation=1 << 60, allocatable={"b": 2, "a": 1}))
    assert shown["generation"] == 1 << 60
    assert list(shown["allocatable"]) == ["a", "b"]
    assert shown["is_cordoned"] is False
    assert shown["used"] == {}


def test_absent_messages_are_left_out_and_present_ones_shown() -> None:
    spec = types_pb2.ClassSpec()
    assert "affinity" not in plain(spec)
    spec.affinity.terms.add().labels.add(key="a", operator=types_pb2.OPERATOR_NOT_IN, values=["b"])
    assert plain(spec)["affinity"]["terms"][0]["labels"] == [
        {"key": "a", "operator": "NOT_IN", "values": ["b"]}
    ]


def test_an_optional_number_is_shown_when_it_is_given() -> None:
    assert "min" not in plain(types_pb2.Group())
    assert plain(types_pb2.Group(min=0))["min"] == 0


def test_bytes_and_enums() -> None:
    phase = types_pb2.Phase.DESCRIPTOR
    assert [enum_name(phase, number) for number in (4, 99)] == ["READY", "99"]
    assert plain(placement_pb2.ReplicaView(phase=types_pb2.PHASE_BOUND))["phase"] == "BOUND"
