"""kube-scheduler's NodeResourcesFit with RequestedToCapacityRatio: any resources, any shape."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.classes import POD_SLOT, UNASKED, UNASKED_PREFIX, ClassSpec
from scheduler.framework.plugin import BadArgs, ScorePlugin, View
from scheduler.plugins.ratio.kernel import ratio

POINTS_MAX = 10
"""Of a shape, as in kube-scheduler's configuration."""
SCALE = 10
ALWAYS = (*UNASKED, "ephemeral-storage")
"""Resources that count for classes which do not ask for them, too."""


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A corner of the line."""

    utilization: Annotated[int, msgspec.Meta(ge=0, le=100)]
    """Percentage in use."""
    score: Annotated[int, msgspec.Meta(ge=0, le=POINTS_MAX)]


class Weighed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resource that counts."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    weight: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1


class RatioArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments, named as kube-scheduler names them."""

    shape: tuple[Point, ...]
    resources: tuple[Weighed, ...] = (Weighed("cpu"), Weighed("memory"))


class Ratio(ScorePlugin):
    """Scores by a line over the percentage in use, with the replica on the node."""

    name = "ratio"
    args_type = RatioArgs

    def __init__(self, args: RatioArgs) -> None:
        steps = [point.utilization for point in args.shape]
        if not steps:
            raise BadArgs("shape", "needs at least one point")
        if any(after <= before for before, after in pairwise(steps)):
            raise BadArgs("shape", "utilization has to grow from point to point")
        names = [resource.name for resource in args.resources]
        if not names or len(set(names)) < len(names) or POD_SLOT in names:
            raise BadArgs("resources", f"needs distinct names, and none is {POD_SLOT}")
        self._resources = args.resources
        self._line = np.array([_line(args.shape, at) for at in range(101)], np.int64)

    def score(
        self,
        view: View,
        spec: ClassSpec,
        feasible: NDArray[np.bool_],
        score: NDArray[np.int64],
    ) -> None:
        """Add 0 to 100 to each feasible node's score."""
        weight = np.array([resource.weight for resource in self._resources], np.int64)
        used = np.zeros((len(weight), len(view.names)), np.int64)
        capacity = np.zeros_like(used)
        demand, unasked = dict(spec.demand), dict(spec.unasked)
        for i, resource in enumerate(self._resources):
            row, amount = view.resources.get(resource.name), demand.get(resource.name, 0)
            if row is None or (not amount and resource.name not in ALWAYS):
                continue
            capacity[i] = view.allocatable[row]
            used[i] = capacity[i] - view.free[row] + amount + unasked.get(resource.name, 0)
            if resource.name in UNASKED:
                used[i] -= view.free[view.resources[UNASKED_PREFIX + resource.name]]
        ratio(used, capacity, weight, self._line, feasible, score)


def _line(shape: tuple[Point, ...], at: int) -> int:
    """Points at a percentage, cut towards zero between corners as kube-scheduler cuts them."""
    for before, after in zip((None, *shape), shape, strict=False):
        if at <= after.utilization:
            if before is None:
                return SCALE * after.score
            rise = SCALE * (after.score - before.score) * (at - before.utilization)
            cut = abs(rise) // (after.utilization - before.utilization)
            return SCALE * before.score + (cut if rise >= 0 else -cut)
    return SCALE * shape[-1].score
