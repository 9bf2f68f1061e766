"""Every limit that an operator may set: least and greatest value, and the name of a wrong one."""

from __future__ import annotations

import msgspec
import pytest

from binder.config import BinderConfig
from dispatcher.config import DispatcherConfig
from runtime.cluster_api import ClusterLimits
from runtime.config import ApiLimits, BadConfig, LinkLimits, section
from runtime.feed import FeedLimits
from runtime.placement_api import PlacementLimits
from scheduler.config import SchedulerConfig
from sharding.spec import Limits
from tests.tidy.sources import ROOT

STRUCTS = (
    DispatcherConfig,
    BinderConfig,
    SchedulerConfig,
    Limits,
    ApiLimits,
    PlacementLimits,
    ClusterLimits,
    FeedLimits,
    LinkLimits,
)
GUIDE = ROOT / "docs" / "guides" / "settings.md"
DELAYS = {"news_ms", "ack_ms", "wake_echo_ms", "delta_ms", "steady_ms"}
LEAST = {"class_slots_max": 16, **dict.fromkeys(DELAYS, 0)}
GREATEST = {
    (PlacementLimits, "items_max"): 10_000,
    (ClusterLimits, "items_max"): 10_000,
    (Limits, "call_items_max"): 10_000,
    (Limits, "columns_max"): 16,
    (Limits, "replicas_per_row_max"): 4096,
    (Limits, "name_bytes_max"): 231,
}
NUMBERS = [
    (kind, field.name)
    for kind in STRUCTS
    for field in msgspec.structs.fields(kind)
    if field.name != "profiles"
]


def named(each: object) -> str:
    """A case by its type and field."""
    return getattr(each, "__name__", str(each))


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=named)
def test_a_limit_below_the_least_is_refused_by_its_name(
    kind: type[msgspec.Struct], name: str
) -> None:
    least = LEAST.get(name, 1)
    assert getattr(section(kind, {name: least}), name) == least
    with pytest.raises(BadConfig, match=rf">= {least}.*limits\.{name}"):
        section(kind, {name: least - 1})


@pytest.mark.parametrize(("kind", "name"), GREATEST, ids=named)
def test_a_limit_above_what_the_cell_takes_is_refused(
    kind: type[msgspec.Struct], name: str
) -> None:
    most = GREATEST[kind, name]
    assert getattr(section(kind, {name: most}), name) == most
    with pytest.raises(BadConfig, match=rf"<= {most}.*limits\.{name}"):
        section(kind, {name: most + 1})


def test_the_guide_names_every_limit() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert [name for _, name in NUMBERS if f".{name}`" not in text] == []
