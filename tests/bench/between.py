"""Classes that say something of others, and who is there already: 20 terms, 100,000 replicas."""

import numpy as np

from cell.between import Between, PodTerm, Spread
from cell.classes import ClassSpec
from cell.requirements import Operator, Requirement
from tests.bench.tables import Residents

PLACED = 10
"""The first classes are placed; two more are only there: those that others avoid, and others."""
NOISY, OTHER = 10, 11


def _selects(app: int) -> tuple[Requirement, ...]:
    return (Requirement("app", Operator.IN, (f"app-{app}",)),)


def _term(key: str, app: int) -> tuple[PodTerm, ...]:
    return (PodTerm(key, _selects(app), ("default",)),)


def classes() -> list[ClassSpec]:
    """Ten are spread over zones; four of them want hosts of their own, three be where another is,
    three not be beside the noisy."""
    made = []
    for app in range(PLACED + 2):
        said = Between(
            "default",
            (("app", f"app-{app}"),),
            affinity=_term("zone", app - 4) if 4 <= app < 7 else (),
            anti_affinity=_term("host", app)
            if app < 4
            else _term("host", NOISY)
            if 7 <= app < 10
            else (),
            spread=(Spread("zone", 5, _selects(app)),) if app < PLACED else (),
        )
        demand = (("cpu", 100 + 10 * app), ("memory", (128 + 8 * app) << 20))
        made.append(ClassSpec(demand=demand, between=said))
    return made


def residents(nodes: int) -> Residents:
    """Ten replicas per node and 100 of the noisy; those that want hosts of their own have half."""
    counts = [nodes // 2] * 4 + [nodes * 12 // 10] * 6 + [100, nodes * 8 // 10]
    klass = np.repeat(np.arange(len(counts)), counts)
    return np.concatenate([np.arange(count) % nodes for count in counts]), klass
