"""Arrivals: ascending, within the run, the seed's, and as many as the rate says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import at_once, constant, poisson, sped_up

rates = st.floats(0.5, 500)
lengths = st.floats(0.1, 20)
seeds = st.integers(0, 2**32 - 1)


@given(rates, lengths, seeds)
def test_poisson_arrivals_ascend_within_the_run(rate: float, seconds: float, seed: int) -> None:
    at_s = poisson(rate, seconds, np.random.default_rng(seed))

    assert (np.diff(at_s) >= 0).all()
    assert ((at_s >= 0) & (at_s < seconds)).all()
    assert abs(len(at_s) - rate * seconds) <= 8 * np.sqrt(rate * seconds) + 8
    assert at_s.tolist() == poisson(rate, seconds, np.random.default_rng(seed)).tolist()


@given(rates, lengths)
def test_constant_arrivals_are_evenly_spaced(rate: float, seconds: float) -> None:
    at_s = constant(rate, seconds)

    assert at_s[0] == 0
    assert abs(len(at_s) - rate * seconds) <= 1
    assert at_s[-1] < seconds
    assert np.allclose(np.diff(at_s), 1 / rate)


@given(st.lists(st.integers(0, 10**8), max_size=50).map(sorted), st.floats(0.1, 1e6))
def test_a_trace_begins_at_zero_and_keeps_its_proportions(times: list[int], speed: float) -> None:
    at_s = sped_up([float(time) for time in times], speed)

    assert len(at_s) == len(times)
    if times:
        assert at_s[0] == 0
        assert np.allclose(at_s * speed, np.array(times) - times[0])


@given(st.integers(0, 1000))
def test_at_once_is_at_zero(count: int) -> None:
    assert at_once(count).tolist() == [0.0] * count


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_number_above_zero_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        sped_up([0.0, 1.0], bad)
    for rate, seconds in ((bad, 1.0), (1.0, bad)):
        with pytest.raises(ValueError, match="above 0"):
            poisson(rate, seconds, np.random.default_rng(0))
        with pytest.raises(ValueError, match="above 0"):
            constant(rate, seconds)
