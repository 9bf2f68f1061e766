"""When units arrive: pure functions to ascending seconds from the start of a run.

Whatever is random comes from the generator passed in, so equal seeds give equal arrivals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrivals of a Poisson process of `rate` per second within [0, seconds)."""
    _positive(rate, seconds)
    count = int(rng.poisson(rate * seconds))
    return np.sort(rng.uniform(0.0, seconds, count))


def constant(rate: float, seconds: float) -> NDArray[np.float64]:
    """One arrival every 1/rate seconds within [0, seconds), the first at 0."""
    _positive(rate, seconds)
    return np.arange(int(np.ceil(rate * seconds - 1e-9)), dtype=np.float64) / rate


def at_once(count: int) -> NDArray[np.float64]:
    """All at 0."""
    return np.zeros(count)


def sped_up(times_s: Sequence[float], speed: float) -> NDArray[np.float64]:
    """A trace's own times, the first at 0, `speed` times as fast; the order is the caller's."""
    if not 0 < speed < np.inf:
        raise ValueError(f"speed {speed} is no number above 0")
    times = np.asarray(times_s, dtype=np.float64)
    return (times - times.min()) / speed if len(times) else times


def _positive(rate: float, seconds: float) -> None:
    if not (0 < rate < np.inf and 0 < seconds < np.inf):
        raise ValueError(f"rate {rate} and seconds {seconds} must be numbers above 0")
