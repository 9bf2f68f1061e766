"""What the binder follows in the API server: nodes, pods, PlacementRequests and PodGroups.

Each collection turns pages of a list, and later the events of its watch, into what the home tells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping

import msgspec

from cell.home import HomeGang, HomeUnit, ObjectView, RecordView, Relisted, Watched
from cell.node import NodeSpec
from runtime.fields import BadManifest, Fields
from runtime.kubernetes.api import Event, meta_of
from runtime.kubernetes.objects import Name, Pods, Seen, node_of
from runtime.kubernetes.placements import Placements
from runtime.kubernetes.podgroups import PODGROUPS, PodGroups
from runtime.kubernetes.records import LIST as REQUESTS
from runtime.log import Log
from runtime.node_manifest import attaching
from runtime.storage import Storage

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

    def __init__(self, log: Log, storage: Storage, on_change: Callable[[], list[Watched]]) -> None:
        self._log = log
        self._storage = storage
        self._on_change = on_change
        self._nodes: list[NodeSpec] = []
        self._labels: dict[str, Mapping[str, str]] = {}
        self._known: dict[str, NodeSpec] = {}
        """As the API server has them, without what they can attach."""
        storage.nodes = self._labels

    def begin(self) -> None:
        """See Collection."""
        self._nodes = []

    def page(self, items: list[msgspec.Raw]) -> None:
        """See Collection."""
        self._nodes += [spec for item in items if (spec := self._node(item)) is not None]

    def again(self, names: Iterable[str]) -> list[Watched]:
        """Nodes whose other objects have changed."""
        known = [self._known[name] for name in names if name in self._known]
        return [Watched(nodes=(attaching(spec, self._storage, ()),)) for spec in known]

    def listed(self) -> Relisted:
        """See Collection."""
        nodes, self._nodes = self._nodes, []
        for name in self._known.keys() - {node.name for node in nodes}:
            del self._known[name], self._labels[name]
        return Relisted(0, (), tuple(nodes), ())

    def shown(self, events: list[Event]) -> list[Watched]:
        """See Collection; one that is removed and comes back is two deltas."""
        deltas: list[Watched] = []
        before = dict(self._labels)
        for event in events:
            if event.type == DELETED:
                name = meta_of(event.object).name
                self._labels.pop(name, None)
                self._known.pop(name, None)
                deltas.append(Watched(removed=(name,)))
            elif (spec := self._node(event.object)) is not None:
                deltas.append(Watched(nodes=(spec,)))
        return deltas + (self._on_change() if self._labels != before else [])

    def _node(self, raw: msgspec.Raw) -> NodeSpec | None:
        try:
            spec = node_of(raw)
            self._known[spec.name], self._labels[spec.name] = spec, dict(spec.labels)
            return attaching(spec, self._storage, ())
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

    def renewed(self, seen: list[Seen]) -> list[Watched]:
        """Pods that are others by now, each one's end before what it is."""
        for each in seen:
            self._on_seen(each)
        units = tuple(each.unit for each in seen if each.unit is not None)
        return [Watched(tuple(each.view for each in seen), units=units)] if seen else []

    def shown(self, events: list[Event]) -> list[Watched]:
        """See Collection."""
        seen = [self._take(e.object, is_deleted=e.type == DELETED) for e in events]
        units = tuple(each.unit for each in seen if each.unit is not None)
        return [Watched(tuple(each.view for each in seen), units=units)]

    def _take(self, raw: msgspec.Raw, *, is_deleted: bool) -> Seen:
        seen = self._pods.take(raw, is_deleted=is_deleted)
        self._on_seen(seen)
        return seen


class Context(Collection):
    """What pods are read with: listed before them, and known as it was until a list is whole, since
    pods are bound meanwhile."""

    def __init__(self) -> None:
        self._items: list[msgspec.Raw] = []

    def begin(self) -> None:
        """See Collection."""
        self._items = []

    def page(self, items: list[msgspec.Raw]) -> None:
        """See Collection."""
        self._items += items

    def listed(self) -> Relisted:
        """See Collection; it tells nothing itself."""
        self._clear()
        for item in self._items:
            self._put(item)
        self._items = []
        return Relisted(0, (), (), ())

    @abstractmethod
    def _clear(self) -> None:
        """Forget all that is known."""

    @abstractmethod
    def _put(self, raw: msgspec.Raw) -> None:
        """Take an object as it is now."""


class NamespaceLabels(Context):
    """Labels of namespaces, which selectors of pods read."""

    path = "/api/v1/namespaces"
    lost = "pods that select namespaces by their labels are not placed"

    def __init__(
        self, labels: dict[str, Mapping[str, str]], on_change: Callable[[], list[Watched]]
    ) -> None:
        self._labels = labels
        self._on_change = on_change
        super().__init__()

    def _clear(self) -> None:
        self._labels.clear()

    def shown(self, events: list[Event]) -> list[Watched]:
        """See Collection."""
        before = dict(self._labels)
        for event in events:
            if event.type == DELETED:
                self._labels.pop(meta_of(event.object).name, None)
            else:
                self._put(event.object)
        return self._on_change() if self._labels != before else []

    def _put(self, raw: msgspec.Raw) -> None:
        metadata = msgspec.json.decode(raw)["metadata"]
        self._labels[metadata["name"]] = metadata.get("labels") or {}


class StorageObjects(Context):
    """One kind of what says where volumes are; `on_change` is told of claims by their keys, of
    nodes by their names, and of all else by None."""

    lost = "pods that need volumes are not placed"

    def __init__(
        self,
        kind: str,
        path: str,
        storage: Storage,
        on_change: Callable[[str, set[str] | None], list[Watched]],
        log: Log,
    ) -> None:
        self.path = path
        self._kind = kind
        self._storage = storage
        self._on_change = on_change
        self._log = log
        super().__init__()

    def _clear(self) -> None:
        self._storage.clear(self._kind)

    def shown(self, events: list[Event]) -> list[Watched]:
        """See Collection."""
        names: set[str] = set()
        for event in events:
            meta = meta_of(event.object)
            key = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
            before = self._storage.known(self._kind, key)
            if event.type == DELETED:
                self._storage.remove(self._kind, meta.name, meta.namespace)
            else:
                self._put(event.object)
            if self._storage.known(self._kind, key) != before:
                names.add(key)
        if not names:
            return []
        is_named = self._kind in ("PersistentVolumeClaim", "CSINode")
        return self._on_change(self._kind, names if is_named else None)

    def _put(self, raw: msgspec.Raw) -> None:
        """One that we do not understand counts as none: pods that need it wait, and say so."""
        content = {**msgspec.json.decode(raw), "kind": self._kind}
        try:
            self._storage.put(Fields(content))
        except BadManifest as error:
            meta = meta_of(raw)
            self._storage.remove(self._kind, meta.name, meta.namespace)
            self._log.error("an object is left out", kind=self._kind, name=meta.name, why=error)


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
