"""Named limits and times of the dispatcher, one Struct for its config file."""

from __future__ import annotations

import msgspec

from cell.settings import Natural, Positive


class DispatcherConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the dispatcher may hold, and how long it waits."""

    units_max: Positive = 1_000_000
    """Units that are not finished; beyond it Submit is answered RESOURCE_EXHAUSTED."""
    replicas_max: Positive = 4_000_000
    """Replicas of all units kept, finished ones included."""
    finished_max: Positive = 100_000
    """Finished units that are remembered; then the oldest key is free again."""
    classes_max: Positive = 65_536
    """Classes kept before those that no unit has are dropped."""
    names_max: Positive = 1 << 21
    """Names (nodes, pins, roles) kept before those in no use are dropped."""
    retry_after_ms: Positive = 1_000
    """Hint to clients that were refused for lack of room here."""
    backoff_ms_min: Positive = 10
    """Wait after the first conflict of a unit; it doubles with each further one."""
    backoff_ms_max: Positive = 2_000
    parked_retry_ms_max: Positive = 10_000
    """A parked unit is tried again after this time even if nothing woke it: the net below."""
    wake_echo_ms: Natural = 30
    """A wake is repeated after this time when a scheduler refused units before it heard of it."""
    wave_min: Positive = 8
    """Units of a parked shape that one wake lets try; the number doubles while all find room."""
    wave_max: Positive = 800
    woken_max: Positive = 4_096
    """Woken units that may be trying at once."""
    shapes_per_call_max: Positive = 1_024
    """Parked shapes looked at for wakes in one call of the core."""
    news_ms: Natural = 100
    """Watchers are told that a unit waits or is being placed once it has lasted so long."""
    ack_ms: Natural = 10
    """Outcomes are acked to the binder at latest after this time."""
    ack_rows_max: Positive = 8_192
    """... or once so many are not acked."""
    flight_ms_max: Positive = 60_000
    """An assignment that nobody answered for so long is void: the net below lost answers."""
    gang_timeout_ms_max: Positive = 86_400_000
    """Longest time a gang may wait for its members."""
    gangs_max: Positive = 100_000
    """Gangs that may be incomplete at once."""
