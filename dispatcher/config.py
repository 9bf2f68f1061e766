"""Named limits and times of the dispatcher, one Struct for its config file."""

from __future__ import annotations

import msgspec


class DispatcherConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the dispatcher may hold, and how long it waits."""

    units_max: int = 1_000_000
    """Units that are not finished; beyond it Submit is answered RESOURCE_EXHAUSTED."""
    replicas_max: int = 4_000_000
    """Replicas of all units kept, finished ones included."""
    finished_max: int = 100_000
    """Finished units that are remembered; then the oldest key is free again."""
    classes_max: int = 65_536
    """Classes kept before those that no unit has are dropped."""
    names_max: int = 1 << 21
    """Names (nodes, pins, roles) kept before those in no use are dropped."""
    retry_after_ms: int = 1_000
    """Hint to clients that were refused for lack of room here."""
    backoff_ms_min: int = 10
    """Wait after the first conflict of a unit; it doubles with each further one."""
    backoff_ms_max: int = 2_000
    parked_retry_ms_max: int = 10_000
    """A parked unit is tried again after this time even if nothing woke it: the net below."""
    wake_echo_ms: int = 30
    """A wake is repeated after this time when a scheduler refused units before it heard of it."""
    wave_min: int = 8
    """Units of a parked shape that one wake lets try; the number doubles while all find room."""
    wave_max: int = 800
    woken_max: int = 4_096
    """Woken units that may be trying at once."""
    shapes_per_call_max: int = 1_024
    """Parked shapes looked at for wakes in one call of the core."""
    news_ms: int = 100
    """Watchers are told that a unit waits or is being placed once it has lasted so long."""
    ack_ms: int = 10
    """Outcomes are acked to the binder at latest after this time."""
    ack_rows_max: int = 8_192
    """... or once so many are not acked."""
    flight_ms_max: int = 60_000
    """An assignment that nobody answered for so long is void: the net below lost answers."""
    gang_timeout_ms_max: int = 86_400_000
    """Longest time a gang may wait for its members."""
    gangs_max: int = 100_000
    """Gangs that may be incomplete at once."""
