"""Named limits of a scheduler."""

from __future__ import annotations

import msgspec


class SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the core; `__main__` reads them from the service's file."""

    core_ms_max: int = 10
    """Estimated cost of one core call; the rest of a batch follows in the next."""
    plan_rows_max: int = 800
    """Rows of one Plan, unless a single unit has more."""
    class_slots_max: int = 256
    """Classes whose keys are kept, 5 bytes per node each; the longest unused gives way."""
    profiles: dict[str, dict[str, int]] = {}
    """Profiles beside the built-in ones: plugin names with weights (0 for filters)."""
