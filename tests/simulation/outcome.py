"""One seed from start to end: what it came to, and the story if a rule did not hold.

A module of its own, because a spawned worker cannot import a `__main__`.
"""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What a seed came to; `report` is empty when it passed."""

    seed: int
    title: str = ""
    events: int = 0
    rule: str = ""
    report: str = ""
    faults: Counter[str] = field(default_factory=Counter)


def outcome_of(seed: int) -> Outcome:
    """Run one seed. An exception out of a core is a finding: a bug is a crash."""
    from tests.simulation.histories import history_of
    from tests.simulation.story import story
    from tests.simulation.world import Broken

    simulation = history_of(seed)
    world = simulation.world
    outcome = Outcome(seed, simulation.title)
    try:
        simulation.run()
    except Broken as broken:
        outcome.rule = broken.rule
        outcome.report = f"{story(world, broken.subject)}\nseed {seed}: {broken}"
        if broken.subject is not None:
            outcome.report += f" (unit {broken.subject})"
    except Exception:
        outcome.rule = "no core crashes"
        outcome.report = f"{story(world, None)}\nseed {seed}:\n{traceback.format_exc()}"
    outcome.events, outcome.faults = world.events_given, world.faults
    return outcome
