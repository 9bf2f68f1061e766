"""Named limits of a scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from cell.settings import Positive
from cell.unit import GROUPS_MAX


class PluginConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plugin of a profile; a number alone is its weight."""

    weight: Annotated[int, msgspec.Meta(ge=0)] = 0
    """0 for filters."""
    args: dict[str, Any] = {}
    """Named by the plugin."""


Plugins = Mapping[str, int | PluginConfig]
"""The plugins of a profile."""


class SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the core; `__main__` reads them from the service's file."""

    core_ms_max: Positive = 10
    """Estimated cost of one core call; the rest of a batch follows in the next."""
    plan_rows_max: Positive = 800
    """Rows of one Plan, unless a single unit has more."""
    class_slots_max: Annotated[int, msgspec.Meta(ge=GROUPS_MAX)] = 512
    """Classes whose keys are kept, 6 bytes per node each; the longest unused gives way. One unit's
    have to fit."""
    profiles: Mapping[str, Plugins] = {}
    """Profiles beside the built-in ones: plugin names with weights (0 for filters), or with weight
    and arguments."""
