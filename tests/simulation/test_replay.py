"""A seed names one history: replayed, it is the same to the last event; and seeds differ."""

from tests.simulation.simulation import Simulation
from tests.simulation.story import story


def history(seed: int) -> tuple[int, str]:
    """How many events a seed gives, and the end of its story."""
    simulation = Simulation(seed)
    simulation.run()
    return simulation.world.events_given, story(simulation.world, None)


def test_a_seed_gives_the_same_history_twice() -> None:
    assert history(1) == history(1)


def test_two_seeds_give_two_histories() -> None:
    assert history(1) != history(2)
