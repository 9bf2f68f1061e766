"""Plugins take whole columns: arrays over nodes in, one array out, so that a loop can fill it.

A hard rule clears bits, a score adds integers. What a plugin says of a node depends on that node's
own entries and the class only: answers are kept per class and asked again for the nodes that
changed, so a view may hold all nodes or a few. A score whose formula is compiled into the placing
kernel names its place there (`fused`); a profile with any other plugin costs a call of its hooks
per replica.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from cell.classes import ClassSpec
from cell.fit.static import StaticNodes

SCORE_MAX = 100
"""What one plugin gives at most, before its weight."""
VALUE_MAX = (1 << 15) - 1
"""Largest value that is normalised."""

Values = NDArray[np.int16]


class View(msgspec.Struct, frozen=True):
    """Nodes as plugins may read them, never write; entry i of each array is of the same node."""

    resources: dict[str, int]
    """Row of each resource in the arrays below."""
    free: NDArray[np.int64]
    """[resource, node]: allocatable - used - assumed."""
    allocatable: NDArray[np.int64]
    """[resource, node]"""
    names: NDArray[np.int32]
    """[node]: ids into `texts`, -1 for an index never used."""
    texts: list[str]


class BadArgs(ValueError):
    """Arguments of a plugin that cannot be used; `field` is the path of the culprit."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")


class Plugin(ABC):
    """Base of all kinds; one instance serves every class of a profile."""

    name: ClassVar[str]
    args_type: ClassVar[type[msgspec.Struct] | None] = None
    """What its constructor takes, for a plugin with arguments; it may raise BadArgs."""


class FilterPlugin(Plugin):
    """A hard rule beside those of `cell.fit`. The binder does not know it: it only narrows."""

    @abstractmethod
    def filter(self, view: View, spec: ClassSpec, feasible: NDArray[np.bool_]) -> None:
        """Clear the bits of nodes that the class must not use; bool [node]."""


class StaticScorePlugin(Plugin):
    """A preference that reads specs of nodes and the class alone, to be normalised: the largest
    value among the nodes that the static rules allow gets SCORE_MAX.

    It is kept per class and asked again for nodes whose spec changed.
    """

    is_reversed: ClassVar[bool] = False
    """Whether the largest value is the worst."""

    @abstractmethod
    def values(self, nodes: StaticNodes, spec: ClassSpec, rows: NDArray[np.int64]) -> Values:
        """Per row a value from 0 to VALUE_MAX."""


class WishPlugin(Plugin):
    """A preference about other replicas, compiled into the placing kernel (`cell.fit.weighing`)."""

    wished: ClassVar[int]
    """Index of its weight there."""


class ScorePlugin(Plugin):
    """A preference."""

    fused: ClassVar[int | None] = None
    """Index of its weight in the placing kernel, if compiled into it."""

    def is_about(self, spec: ClassSpec) -> bool:
        """Whether it has anything to say of a class; if not it gives 0 everywhere."""
        return True

    @abstractmethod
    def score(
        self,
        view: View,
        spec: ClassSpec,
        feasible: NDArray[np.bool_],
        score: NDArray[np.int64],
    ) -> None:
        """Add 0 to SCORE_MAX to each feasible node's score; int64 [node]."""
