"""What pods and nodes of an API server mean to the binder: views with a state and a class.

Decoded as far as needed: a pod's head for each of its changes, its spec once. A pod that we do not
understand but that holds room is charged by its requests; one of ours that waits is refused, with
the field and the reason, until it is another one.
"""

from __future__ import annotations

import secrets
from uuid import UUID

import msgspec

from cell.classes import ClassSpec, decode, normalise
from cell.home import HomeGroup, HomeUnit, ObjectState, ObjectView, Replica
from cell.node import NodeSpec
from cell.unit import uid_of
from runtime.fields import BadManifest, Fields
from runtime.kubernetes.api import Meta
from runtime.kubernetes.podgroups import group_of
from runtime.node_manifest import node
from runtime.pod_class import Cluster, PodNeeds, held_class, pod_needs
from runtime.pod_volumes import claims_of


class _Meta(Meta):
    deletion_timestamp: str = ""
    generation: int = 0


class _Sized(msgspec.Struct, rename="camel"):
    resources: msgspec.Raw = msgspec.Raw(b"")
    allocated_resources: msgspec.Raw = msgspec.Raw(b"")


class _Status(_Sized):
    phase: str = ""
    conditions: msgspec.Raw = msgspec.Raw(b"[]")
    container_statuses: list[_Sized] = []
    init_container_statuses: list[_Sized] = []

    def sizes(self) -> tuple[bytes, ...]:
        """What is said of resources, of containers and of the whole."""
        every = (self, *self.container_statuses, *self.init_container_statuses)
        said = [bytes(raw) for each in every for raw in (each.resources, each.allocated_resources)]
        if _INFEASIBLE in bytes(self.conditions):
            said.append(_INFEASIBLE)
        return tuple(said)


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: msgspec.Raw
    status: _Status = msgspec.field(default_factory=_Status)


class _Named(msgspec.Struct):
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class _Labelled(msgspec.Struct):
    metadata: _Named


class _SpecHead(msgspec.Struct, rename="camel"):
    node_name: str = ""
    scheduler_name: str = ""
    scheduling_gates: list[msgspec.Raw] = []


_POD = msgspec.json.Decoder(_Pod)
_HEAD = msgspec.json.Decoder(_SpecHead)
_LABELLED = msgspec.json.Decoder(_Labelled)
_CONDITIONS = msgspec.json.Decoder(list[_Condition])
SCHEDULED = "PodScheduled"
UNSCHEDULABLE = "Unschedulable"
READING_KEY = "godel.dev/reading"
"""Annotation of a bound pod: which of the units it was, one after the other, was bound."""
_INFEASIBLE = b'"Infeasible"'
"""Reason of a resize that cannot be."""
_CLAIM_FIELDS = (b'"persistentVolumeClaim"', b'"ephemeral"')
_NAMESPACES_FIELD = b'"namespaceSelector"'
_DEMAND_UNKNOWN = ClassSpec()
LIVE = Cluster(is_live=True)
"""Of an API server's priority classes only what pods themselves say is known."""
Uid = tuple[int, int]


class Name(msgspec.Struct, frozen=True, order=True):
    """How a pod is addressed; another pod of the name has another uid."""

    namespace: str
    name: str
    uid: str

    @property
    def key(self) -> str:
        """The key of its unit."""
        return f"{self.namespace}/{self.name}/{self.uid}"

    @property
    def object(self) -> int:
        """Its uid as a number."""
        return UUID(self.uid).int


class Condition(msgspec.Struct, frozen=True):
    """What a pod says of its placing: whether PodScheduled is False, and for want of what."""

    is_false: bool = False
    message: str = ""
    """With reason Unschedulable; any other counts as none."""


class Seen(msgspec.Struct, frozen=True):
    """A pod as shown. `unit`: that of a pod of ours, over once it holds no room and wants none;
    `refusal` says why a pod cannot be placed though it is ours and waits; `condition` is there for
    pods that wait for us."""

    name: Name
    view: ObjectView
    unit: HomeUnit | None = None
    refusal: str = ""
    condition: Condition | None = None


class _Spec(msgspec.Struct, frozen=True):
    """What does not change in a pod's life; `unit` of one of ours that can be placed."""

    klass: bytes
    unit: HomeUnit | None = None
    refusal: str = ""


class _Reread(msgspec.Struct):
    """A pod whose class depends on its volumes, or on labels of namespaces: its claims, how it was
    last shown, how often it has been read as something else, and whether it must stay what it is by
    now."""

    claims: tuple[str, ...]
    raw: bytes
    readings: int = 0
    is_fixed: bool = False


class Pods:
    """All pods that exist, as far as later changes need them.

    A pod that waits is another unit, and another replica, once its volumes or namespaces let it be
    read as another class: its key has the reading behind it, which names this `life`, since a key
    that has ended is never used again. The Binding writes the reading into the pod.
    """

    def __init__(
        self, scheduler_name: str, cluster: Cluster = LIVE, life: str | None = None
    ) -> None:
        self._scheduler_name = scheduler_name
        self._cluster = cluster
        self._life = secrets.token_hex(4) if life is None else life
        self._readings: dict[Name, str] = {}
        self._sizes: dict[Name, tuple[int, tuple[bytes, ...]]] = {}
        """Of pods on nodes: the spec's generation, and what the status says of resources."""
        self._specs: dict[Name, _Spec] = {}
        self._reread: dict[Name, _Reread] = {}
        self.by_replica: dict[Replica, Name] = {}

    def take(self, raw: msgspec.Raw | bytes, *, is_deleted: bool = False) -> Seen:
        """A pod as listed, read or watched. Raises msgspec.MsgspecError on what is no pod."""
        pod = _POD.decode(raw)
        head = _HEAD.decode(pod.spec)
        name = Name(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)
        self._note_claims(name, raw, head)
        spec = self._spec(name, raw, head)
        if head.node_name and not is_deleted:
            spec = self._resized(name, pod, raw, spec)
        state = ObjectState.DELETED if is_deleted else _state(pod, head)
        view = ObjectView(
            replica=self.replica(name),
            object=name.object,
            version=pod.metadata.version,
            state=state,
            node=head.node_name,
            klass=spec.klass,
            is_ours=spec.unit is not None,
        )
        if is_deleted:
            self.by_replica.pop(view.replica, None)
            self._forget(name)
        unit = spec.unit
        if unit is not None and _is_over(state, head):
            unit = msgspec.structs.replace(unit, is_over=True)
        if state is not ObjectState.PENDING or not self._is_ours(head):
            return Seen(name, view, unit)
        return Seen(name, view, unit, spec.refusal, _condition(pod.status))

    def claims(self, name: Name) -> tuple[str, ...]:
        """Keys of the claims that a pod uses, while it waits."""
        found = self._reread.get(name)
        return found.claims if found else ()

    def fix(self, name: Name) -> None:
        """A pod stays what it is, whatever becomes of its volumes, until it is renewed."""
        if name in self._reread:
            self._reread[name].is_fixed = True

    def renewed(self, keys: set[str] | None = None) -> list[Seen]:
        """Pods that wait and are to be read as another class by now, of some claims or of any: each
        one's end, and what it is."""
        found: list[Seen] = []
        for name, each in list(self._reread.items()):
            if not each.is_fixed and (keys is None or not keys.isdisjoint(each.claims)):
                found += self._renew(name, each)
        return found

    def renew(self, name: Name) -> list[Seen]:
        """The same of one pod, which is another unit from now on even if its class is the same."""
        each = self._reread.get(name)
        return [] if each is None else self._renew(name, each, is_forced=True)

    def _renew(self, name: Name, each: _Reread, *, is_forced: bool = False) -> list[Seen]:
        before = self._specs.get(name)
        raw = each.raw
        spec = _read_spec(name, raw, self.key(name), self._cluster, is_ours=True)
        if before is None or (spec == before and not is_forced):
            return []
        last = self.take(raw)
        if last.view.state is not ObjectState.PENDING:
            return []
        gone = msgspec.structs.replace(
            last.view, state=ObjectState.DELETED, version=last.view.version + 1
        )
        unit = before.unit
        if unit is not None:
            unit = msgspec.structs.replace(unit, is_over=True)
        self.by_replica.pop(gone.replica, None)
        del self._specs[name]
        each.readings, each.is_fixed = each.readings + 1, False
        self._readings[name] = f"{self._life}.{each.readings}"
        return [Seen(name, gone, unit), self.take(raw)]

    def _note_claims(self, name: Name, raw: msgspec.Raw | bytes, head: _SpecHead) -> None:
        """Keep a pod of ours that is read again with its volumes, while it waits."""
        known = self._reread.get(name)
        if head.node_name or not self._is_ours(head):
            if known is not None:
                known.is_fixed = True
            elif name not in self._readings and (reading := _reading(raw)):
                self._readings[name] = reading
        elif known is not None:
            known.raw = bytes(raw)
        elif (claims := _claims(name, raw)) or _NAMESPACES_FIELD in bytes(raw):
            self._reread[name] = _Reread(claims, bytes(raw))
            self._readings[name] = f"{self._life}.0"

    def _forget(self, name: Name) -> None:
        for known in (self._specs, self._reread, self._readings, self._sizes):
            known.pop(name, None)

    def reading(self, name: Name) -> str:
        """What tells a pod's unit from others that it was; "" where it was never another."""
        return self._readings.get(name, "")

    def replica(self, name: Name) -> Replica:
        """What the binder calls a pod."""
        return Replica(*uid_of(self.key(name)))

    def key(self, name: Name) -> str:
        """The key of a pod's unit."""
        reading = self.reading(name)
        return f"{name.key}/{reading}" if reading else name.key

    def of_unit(self, uid: Uid) -> tuple[Name, ...]:
        """The pods that stand for a unit."""
        name = self.by_replica.get(Replica(*uid))
        return () if name is None else (name,)

    def unit_of(self, name: Name) -> Uid:
        """The unit for which a pod stands."""
        replica = self.replica(name)
        return replica.uid_hi, replica.uid_lo

    def forget_others(self, kept: set[Name]) -> None:
        """A list has shown that there are only these."""
        for name in self._specs.keys() - kept:
            self.by_replica.pop(self.replica(name), None)
            self._forget(name)

    def _spec(self, name: Name, raw: msgspec.Raw | bytes, head: _SpecHead) -> _Spec:
        """The pod's spec, read once (unless it is resized in place); that of a pod with gates may
        change until the last one is gone, and nobody is to place it before."""
        found = self._specs.get(name)
        if found is None:
            replica = self.replica(name)
            is_ours = self._is_ours(head)
            found = _read_spec(name, raw, self.key(name), self._cluster, is_ours=is_ours)
            self.by_replica[replica] = name
            if not head.scheduling_gates:
                self._specs[name] = found
        return found

    def _resized(self, name: Name, pod: _Pod, raw: msgspec.Raw | bytes, spec: _Spec) -> _Spec:
        """The spec of a pod on a node with what it takes by now."""
        size, before = (pod.metadata.generation, pod.status.sizes()), self._sizes.get(name)
        self._sizes[name] = size
        if size == before or (before is None and not any(size[1])):
            return spec
        try:
            taken = held_class(msgspec.json.decode(raw), self._cluster)
        except BadManifest:
            return spec
        klass = msgspec.structs.replace(
            decode(spec.klass), demand=taken.demand, unasked=taken.unasked
        )
        self._specs[name] = spec = msgspec.structs.replace(spec, klass=klass.encoded())
        return spec

    def _is_ours(self, head: _SpecHead) -> bool:
        return head.scheduler_name == self._scheduler_name and not head.scheduling_gates


def _reading(raw: msgspec.Raw | bytes) -> str:
    if READING_KEY.encode() not in bytes(raw):
        return ""
    return _LABELLED.decode(raw).metadata.annotations.get(READING_KEY, "")


def _claims(name: Name, raw: msgspec.Raw | bytes) -> tuple[str, ...]:
    if not any(field in bytes(raw) for field in _CLAIM_FIELDS):
        return ()
    pod = Fields(msgspec.json.decode(raw))
    try:
        return claims_of(pod.fields("metadata"), pod.fields("spec"), name.namespace)
    except BadManifest:
        return ()


def _read_spec(
    name: Name, raw: msgspec.Raw | bytes, key: str, cluster: Cluster, *, is_ours: bool
) -> _Spec:
    pod, refusal = msgspec.json.decode(raw), ""
    if is_ours:
        try:
            needs = pod_needs(pod, cluster=cluster, is_admitted=True)
            return _Spec(needs.klass.encoded(), _unit(key, needs, _gang(name, raw)))
        except BadManifest as error:
            refusal = str(error)
    try:
        held = held_class(pod, cluster)
    except BadManifest as error:
        # It has been admitted, so what we cannot read is rare; it takes a slot at least.
        return _Spec(normalise(_DEMAND_UNKNOWN).encoded(), None, refusal or str(error))
    return _Spec(held.encoded(), None, refusal)


def _gang(name: Name, raw: msgspec.Raw | bytes) -> str:
    """The key of the pod's gang, "" for none. Raises BadManifest."""
    named = _LABELLED.decode(raw).metadata
    group = group_of(named.annotations, named.labels)
    return f"{name.namespace}/{group}" if group else ""


def _unit(key: str, needs: PodNeeds, gang: str) -> HomeUnit:
    """A pod by itself: one replica."""
    uid = uid_of(key)
    group = HomeGroup(needs.klass.encoded(), pin=needs.pin)
    return HomeUnit(*uid, key, priority=needs.priority, groups=(group,), gang=gang)


def _condition(status: _Status) -> Condition:
    for each in _CONDITIONS.decode(status.conditions):
        if each.type == SCHEDULED:
            is_false = each.status == "False"
            is_told = is_false and each.reason == UNSCHEDULABLE
            return Condition(is_false, each.message if is_told else "")
    return Condition()


def _is_over(state: ObjectState, head: _SpecHead) -> bool:
    if state is ObjectState.TERMINATING:
        return not head.node_name
    return state not in (ObjectState.PENDING, ObjectState.BOUND)


def _state(pod: _Pod, head: _SpecHead) -> ObjectState:
    """Room is free at a terminal phase, not at the deletion timestamp."""
    if pod.status.phase == "Succeeded":
        return ObjectState.DONE
    if pod.status.phase == "Failed":
        return ObjectState.FAILED
    if pod.metadata.deletion_timestamp:
        return ObjectState.TERMINATING
    return ObjectState.BOUND if head.node_name else ObjectState.PENDING


def node_of(raw: msgspec.Raw | bytes) -> NodeSpec:
    """A node as listed or watched; entries of lists do not name their kind. Raises BadManifest."""
    return node(Fields({**msgspec.json.decode(raw), "apiVersion": "v1", "kind": "Node"}, ""))
