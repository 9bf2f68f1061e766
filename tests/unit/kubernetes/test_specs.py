"""Specs of PlacementRequests: what is read is what was written; names are valid and tell keys."""

from __future__ import annotations

import re

import msgspec
import pytest

from cell.classes import ClassSpec, Toleration, normalise
from cell.requirements import Operator, Requirement, Term
from cell.unit import GroupSpec, UnitSpec
from runtime.kubernetes.specs import spec_of, unit_of
from runtime.kubernetes.submitting import name_of

RICH = normalise(
    ClassSpec(
        demand=(("cpu", 1500), ("memory", 3 << 30), ("gpu", 250), ("vendor.example/fpga", 2)),
        selector=(("zone", "east"), ("empty", "")),
        affinity=(
            Term(labels=(Requirement("disk", Operator.IN, ("ssd", "nvme")),)),
            Term(fields=(Requirement("metadata.name", Operator.NOT_IN, ("n1",)),)),
        ),
        tolerations=(
            Toleration("spot", "Exists"),
            Toleration("team", value="a", effect="NoExecute"),
        ),
        profile="packed",
    )
)
NOWHERE = normalise(ClassSpec(affinity=()))


@pytest.mark.parametrize(
    "groups",
    [
        (GroupSpec(normalise(ClassSpec())),),
        (GroupSpec(RICH, "worker", 8, 0, "n1"), GroupSpec(NOWHERE, count=3, min=2)),
    ],
    ids=["the least", "all fields"],
)
def test_what_is_read_is_what_was_written(groups: tuple[GroupSpec, ...]) -> None:
    made = UnitSpec("team/unit", groups, priority=-7)
    document = msgspec.json.decode(msgspec.json.encode(spec_of(made)))
    assert unit_of("team/unit", document) == made


@pytest.mark.parametrize("key", ["web-0", "Team/Ünit_1", "/", "ß" * 120, "a" * 253, "...", "-x-"])
def test_name_of_any_key_is_valid(key: str) -> None:
    name = name_of(key)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 63


def test_keys_that_look_alike_have_names_of_their_own() -> None:
    keys = ["a/b", "a-b", "A-b", "a_b", "x" * 50 + "1", "x" * 50 + "2"]
    assert len({name_of(key) for key in keys}) == len(keys)
