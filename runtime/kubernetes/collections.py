"""What the binder follows in the API server: nodes, pods, PlacementRequests and PodGroups.

Each collection turns pages of a list, and later the events of its watch, into what the home tells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec

from cell.home import HomeGang, HomeUnit, ObjectView, RecordView, Relisted, Watched
from cell.node import NodeSpec
from runtime.fields import BadManifest
from runtime.kubernetes.api import Event, meta_of
from runtime.kubernetes.objects import Name, Pods, Seen, node_of
from runtime.kubernetes.placements import Placements
from runtime.kubernetes.podgroups import PODGROUPS, PodGroups
from runtime.kubernetes.records import LIST as REQUESTS
from runtime.log import Log

DELETED = "DELETED"


class Collection(ABC):
    """One collection. A list is `begin`, pages, `listed`; then `shown` takes events, in order."""

    path = ""
    lost = ""
    """What is not done where it is not served or not shown to us; "" where nothing works then."""

    @abstractmethod
    def begin(self) -> None:
        """A list begins."""

    @abstractmethod
    def page(self, items: list[msgspec.Raw]) -> None:
        """Take a page of it."""

    @abstractmethod
    def listed(self) -> Relisted:
        """Its part of all that there is."""

    @abstractmethod
    def shown(self, events: list[Event]) -> list[Watched]:
        """What events say."""


class Nodes(Collection):
    """A node that we do not understand is left out: it gets nothing."""

    path = "/api/v1/nodes"

    def __init__(self, log: Log) -> None:
        self._log = log
        self._nodes: list[NodeSpec] = []

    def begin(self) -> None:
        """See Collection."""
        self._nodes = []

    def page(self, items: list[msgspec.Raw]) -> None:
        """See Collection."""
        self._nodes += [spec for item in items if (spec := self._node(item)) is not None]

    def listed(self) -> Relisted:
        """See Collection."""
        nodes, self._nodes = self._nodes, []
        return Relisted(0, (), tuple(nodes), ())

    def shown(self, events: list[Event]) -> list[Watched]:
        """See Collection; one that is removed and comes back is two deltas."""
        deltas: list[Watched] = []
        for event in events:
            if event.type == DELETED:
                deltas.append(Watched(removed=(meta_of(event.object).name,)))
            elif (spec := self._node(event.object)) is not None:
                deltas.append(Watched(nodes=(spec,)))
        return deltas

    def _node(self, raw: msgspec.Raw) -> NodeSpec | None:
        try:
            return node_of(raw)
        except BadManifest as error:
            self._log.error("a node is left out", why=error)
            return None


class AllPods(Collection):
    """Ours, and all others that hold room."""

    path = "/api/v1/pods"

    def __init__(
        self,
        pods: Pods,
        on_seen: Callable[[Seen], None],
        on_listed: Callable[[set[Name]], None],
    ) -> None:
        self._pods = pods
        self._on_seen = on_seen
        self._on_listed = on_listed
        self._views: list[ObjectView] = []
        self._units: list[HomeUnit] = []
        self._names: set[Name] = set()

    def begin(self) -> None:
        """See Collection."""
        self._views, self._units, self._names = [], [], set()

    def page(self, items: list[msgspec.Raw]) -> None:
        """See Collection; of a gang's members those that have ended count, too."""
        for item in items:
            seen = self._take(item, is_deleted=False)
            self._names.add(seen.name)
            self._views.append(seen.view)
            if seen.unit is not None and (seen.unit.gang or not seen.unit.is_over):
                self._units.append(seen.unit)

    def listed(self) -> Relisted:
        """See Collection."""
        self._pods.forget_others(self._names)
        self._on_listed(self._names)
        listed = Relisted(0, tuple(self._views), (), (), tuple(self._units))
        self.begin()
        return listed

    def shown(self, events: list[Event]) -> list[Watched]:
        """See Collection."""
        seen = [self._take(e.object, is_deleted=e.type == DELETED) for e in events]
        units = tuple(each.unit for each in seen if each.unit is not None)
        return [Watched(tuple(each.view for each in seen), units=units)]

    def _take(self, raw: msgspec.Raw, *, is_deleted: bool) -> Seen:
        seen = self._pods.take(raw, is_deleted=is_deleted)
        self._on_seen(seen)
        return seen


class Requests(Collection):
    """Units without pods, and the records of gangs."""

    path = REQUESTS
    lost = "units without pods are not placed, nor are gangs"

    def __init__(self, placements: Placements) -> None:
        self._placements = placements
        self._items: list[msgspec.Raw] = []

    def begin(self) -> None:
        """See Collection."""
        self._items = []

    def page(self, items: list[msgspec.Raw]) -> None:
        """See Collection."""
        self._items += items

    def listed(self) -> Relisted:
        """See Collection."""
        units, records = self._placements.take_all(self._items)
        self._items = []
        return Relisted(0, (), (), records, units)

    def shown(self, events: list[Event]) -> list[Watched]:
        """See Collection; a gang's record is written by us, so it is no news."""
        taken = [self._placements.take(e.object, is_deleted=e.type == DELETED) for e in events]
        return [Watched(units=tuple(each for each in taken if isinstance(each, HomeUnit)))]


class AllPodGroups(Collection):
    """Gangs of pods."""

    path = PODGROUPS
    lost = "pods that name a PodGroup are not placed"

    def __init__(self, groups: PodGroups, log: Log) -> None:
        self._groups = groups
        self._log = log
        self._gangs: list[HomeGang] = []

    def begin(self) -> None:
        """See Collection."""
        self._groups.forget()
        self._gangs = []

    def page(self, items: list[msgspec.Raw]) -> None:
        """See Collection."""
        self._gangs += self._taken([(item, False) for item in items])

    def listed(self) -> Relisted:
        """See Collection."""
        gangs, self._gangs = self._gangs, []
        return Relisted(0, (), (), (), gangs=tuple(gangs))

    def shown(self, events: list[Event]) -> list[Watched]:
        """See Collection."""
        taken = self._taken([(event.object, event.type == DELETED) for event in events])
        return [Watched(gangs=tuple(taken))]

    def _taken(self, items: list[tuple[msgspec.Raw, bool]]) -> list[HomeGang]:
        """One that we do not understand is left out: its pods wait."""
        gangs: list[HomeGang] = []
        for item, is_deleted in items:
            try:
                gangs.append(self._groups.take(item, is_deleted=is_deleted))
            except (msgspec.MsgspecError, ValueError) as error:
                self._log.error("a PodGroup is left out", why=error)
        return gangs


def merged(call: int, parts: list[Relisted]) -> Relisted:
    """All parts as the answer to one call."""
    records: list[RecordView] = [record for part in parts for record in part.records]
    return Relisted(
        call,
        tuple(view for part in parts for view in part.objects),
        tuple(node for part in parts for node in part.nodes),
        tuple(records),
        tuple(unit for part in parts for unit in part.units),
        tuple(gang for part in parts for gang in part.gangs),
    )
