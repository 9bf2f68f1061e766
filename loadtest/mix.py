"""Mixed workloads: weighted kinds of units (singles of several classes, gangs, priorities).

A mix is data: built in under a name, or a YAML file with the fields of `Kind`. `draw` is pure: the
generator and the arrival times are passed in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from godel.v1 import types_pb2
from loadtest.workload import NO_END, Workload

MIB = 1 << 20
GIB = 1 << 30
CLASSES_OF_SINGLES = 50
DURATION_SPREAD = 0.5
"""Run times are uniform within this share of the mean, to either side."""


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of unit; of all units its share is `weight` by the sum of weights."""

    demand: dict[str, int]
    """Amount per resource and replica."""
    weight: float = 1.0
    count: int = 1
    """Replicas of a unit."""
    min: int = 0
    """Replicas without which nothing is placed; 0: all."""
    priorities: tuple[int, ...] = (0,)
    """One is drawn for each unit."""
    selector: dict[str, str] = {}
    """Labels the node must have."""
    runs_s: float = 0.0
    """Mean seconds from bound to done; 0: it stays."""


Mix = tuple[Kind, ...]


class BadMix(ValueError):
    """A mix that cannot be drawn from; the text names file and field."""


def _singles() -> Mix:
    return tuple(
        Kind({"cpu": 100 + 10 * i, "memory": (128 + 8 * i) * MIB})
        for i in range(CLASSES_OF_SINGLES)
    )


MIXES: dict[str, Mix] = {
    "mixed": (
        Kind({"cpu": 250, "memory": 512 * MIB}, weight=30, priorities=(0, 0, 0, 100)),
        Kind({"cpu": 500, "memory": GIB}, weight=25, priorities=(0, 100)),
        Kind({"cpu": 1000, "memory": 2 * GIB}, weight=20),
        Kind({"cpu": 1000, "memory": 8 * GIB}, weight=8),
        Kind({"cpu": 2000, "memory": 4 * GIB}, weight=8),
        Kind({"cpu": 4000, "memory": 8 * GIB}, weight=4, priorities=(0, 1000)),
        Kind({"cpu": 1000, "memory": 2 * GIB}, weight=3, count=10, priorities=(100,)),
        Kind({"cpu": 2000, "memory": 8 * GIB}, weight=1, count=16, priorities=(100, 1000)),
        Kind({"cpu": 500, "memory": GIB}, weight=1, count=8, min=4, priorities=(0,)),
    ),
    "singles": _singles(),
    "gangs": tuple(msgspec.structs.replace(kind, count=10) for kind in _singles()),
}
"""Built-in mixes by name."""


def draw(
    mix: Mix, at_s: NDArray[np.float64], rng: np.random.Generator, prefix: str = ""
) -> Workload:
    """One unit of a drawn kind per arrival, with keys `<prefix><number>`."""
    n = len(at_s)
    weights = np.array([kind.weight for kind in mix], dtype=np.float64)
    drawn = rng.choice(len(mix), size=n, p=weights / weights.sum())
    classes, klass_of_kind = _classes(mix)
    counts = np.array([kind.count for kind in mix], dtype=np.uint32)
    minima = np.array([kind.min or kind.count for kind in mix], dtype=np.uint32)
    return Workload(
        classes=classes,
        keys=tuple([f"{prefix}{i:07}" for i in range(n)]),
        at_s=at_s,
        klass=klass_of_kind[drawn],
        count=counts[drawn],
        min=minima[drawn],
        priority=_priorities(mix, drawn, rng),
        runs_s=_durations(mix, drawn, rng),
    )


def _classes(mix: Mix) -> tuple[tuple[types_pb2.ClassSpec, ...], NDArray[np.uint32]]:
    """Distinct classes in order of first use, and the class of each kind."""
    numbers: dict[bytes, int] = {}
    classes: list[types_pb2.ClassSpec] = []
    klass = []
    for kind in mix:
        spec = types_pb2.ClassSpec(demand=kind.demand, selector=kind.selector)
        key = spec.SerializeToString(deterministic=True)
        if key not in numbers:
            numbers[key] = len(classes)
            classes.append(spec)
        klass.append(numbers[key])
    return tuple(classes), np.array(klass, dtype=np.uint32)


def _priorities(mix: Mix, drawn: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int32]:
    width = max(len(kind.priorities) for kind in mix)
    table = np.zeros((len(mix), width), dtype=np.int32)
    lengths = np.array([len(kind.priorities) for kind in mix])
    for i, kind in enumerate(mix):
        table[i, : len(kind.priorities)] = kind.priorities
    choice = (rng.random(len(drawn)) * lengths[drawn]).astype(np.int64)
    drawn_priorities: NDArray[np.int32] = table[drawn, choice]
    return drawn_priorities


def _durations(mix: Mix, drawn: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    means = np.array([kind.runs_s or NO_END for kind in mix])
    if np.isinf(means).all():
        return np.empty(0)
    spread = rng.uniform(1 - DURATION_SPREAD, 1 + DURATION_SPREAD, len(drawn))
    return means[drawn] * spread


def named_or_read(name: str) -> Mix:
    """A built-in mix, or the one in a YAML file. Raises BadMix."""
    if name in MIXES:
        return MIXES[name]
    import yaml

    try:
        content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(MIXES))
        raise BadMix(f"{name}: neither a file nor one of {known}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadMix(f"{name}: {error}") from None
    return checked(name, content)


def checked(name: str, content: Any) -> Mix:
    """The mix of a parsed file: a list of kinds. Raises BadMix."""
    try:
        mix = msgspec.convert(content, Mix)
    except msgspec.ValidationError as error:
        raise BadMix(f"{name}: {error}") from None
    if not mix:
        raise BadMix(f"{name}: names no kind")
    for i, kind in enumerate(mix):
        for field, is_bad in (
            ("weight", kind.weight <= 0),
            ("count", kind.count < 1),
            ("min", not 0 <= kind.min <= kind.count),
            ("priorities", not kind.priorities),
            ("runs_s", kind.runs_s < 0),
        ):
            if is_bad:
                raise BadMix(f"{name}: [{i}].{field}: {getattr(kind, field)} is out of range")
    return mix
