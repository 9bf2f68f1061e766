"""Which history a seed names: those from SECOND_HOME_FROM on play on the second home."""

from __future__ import annotations

from tests.simulation.second_home import SecondHome
from tests.simulation.simulation import Simulation

SECOND_HOME_FROM = 1_000_000
"""Seeds from here on play on the second home."""


def history_of(seed: int) -> Simulation:
    """The history of a seed, not yet run."""
    return SecondHome(seed) if seed >= SECOND_HOME_FROM else Simulation(seed)
