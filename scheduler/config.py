"""Named limits of a scheduler."""

from __future__ import annotations

import msgspec

from cell.unit import GROUPS_MAX


class SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the core; `__main__` reads them from the service's file."""

    core_ms_max: int = 10
    """Estimated cost of one core call; the rest of a batch follows in the next."""
    plan_rows_max: int = 800
    """Rows of one Plan, unless a single unit has more."""
    class_slots_max: int = 512
    """Classes whose keys are kept, 5 bytes per node each; the longest unused gives way."""
    profiles: dict[str, dict[str, int]] = {}
    """Profiles beside the built-in ones: plugin names with weights (0 for filters)."""

    def __post_init__(self) -> None:
        if self.core_ms_max < 1 or self.plan_rows_max < 1:
            raise ValueError("core_ms_max and plan_rows_max must be above 0")
        if self.class_slots_max < GROUPS_MAX:
            raise ValueError(f"class_slots_max must be at least {GROUPS_MAX}, one unit's classes")
