"""PodGroups: what they mean to the binder, and how their status says how a gang stands.

The kind is that of the published Gödel, with its phases: Pending (too few pods), PreScheduling (it
waits for room), Scheduled and Timeout, both final. Pods name their group by an annotation, a label,
or both. Their number and what they do is counted in the status as far as it is asked for.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from cell.home import GangPhase, GangState, HomeGang
from runtime.fields import BadManifest
from runtime.kubernetes.api import Meta
from runtime.kubernetes.records import Place
from runtime.pod_class import GROUP_KEY

GROUP_VERSION = "scheduling.godel.kubewharf.io/v1alpha1"
PODGROUPS = f"/apis/{GROUP_VERSION}/podgroups"
TIMEOUT_SECONDS = 300
"""Unless the group says otherwise, from its creation."""
RECORD_PREFIX = "podgroup."
"""Of the name of the PlacementRequest that keeps a group's record."""
NAME_CHARS_MAX = 253
PHASES = {
    GangPhase.PENDING: "Pending",
    GangPhase.PRE_SCHEDULING: "PreScheduling",
    GangPhase.SCHEDULED: "Scheduled",
    GangPhase.TIMEOUT: "Timeout",
}
_PHASES = {word: phase for phase, word in PHASES.items()} | {
    "Running": GangPhase.SCHEDULED,
    "Finished": GangPhase.SCHEDULED,
    "Failed": GangPhase.SCHEDULED,
}
"""Of the phases that only others write, these say that it was bound."""
_MUSTS = ("required", "nodeSelector")
_US = 1_000_000


class _Meta(Meta):
    creation_timestamp: str = ""


class _Affinity(msgspec.Struct, rename="camel"):
    pod_group_affinity: dict[str, Any] = {}
    pod_group_anti_affinity: dict[str, Any] = {}


class _Spec(msgspec.Struct, rename="camel"):
    min_member: int = 1
    schedule_timeout_seconds: int | None = None
    affinity: _Affinity = msgspec.field(default_factory=_Affinity)

    @property
    def refusal(self) -> str:
        """The field that says where its pods may run and is not honoured; wishes may be ignored."""
        path = "spec.affinity.podGroupAffinity"
        asked = self.affinity.pod_group_affinity
        found = [f"{path}.{name}" for name in _MUSTS if asked.get(name)]
        if self.affinity.pod_group_anti_affinity:
            found.append("spec.affinity.podGroupAntiAffinity")
        return f"{found[0]} is not supported" if found else ""


class _Condition(msgspec.Struct, rename="camel", omit_defaults=True):
    type: str
    phase: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class _Status(msgspec.Struct, rename="camel"):
    phase: str = ""
    conditions: list[_Condition] = []


class _PodGroup(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_PODGROUP = msgspec.json.Decoder(_PodGroup)


def group_of(annotations: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """The name of a pod's group; "" for none. Raises BadManifest where it names two."""
    named = {found for m in (annotations, labels) if (found := m.get(GROUP_KEY, ""))}
    if len(named) > 1:
        path = f"metadata.labels[{GROUP_KEY}]"
        raise BadManifest(path, "names another group than the annotation")
    return named.pop() if named else ""


class PodGroups:
    """All that there are, by their key."""

    def __init__(self) -> None:
        self._groups: dict[str, _PodGroup] = {}

    def take(self, raw: msgspec.Raw | bytes, *, is_deleted: bool = False) -> HomeGang:
        """A PodGroup as listed or watched."""
        group = _PODGROUP.decode(raw)
        meta, spec = group.metadata, group.spec
        key = f"{meta.namespace}/{meta.name}"
        if is_deleted:
            self._groups.pop(key, None)
        else:
            self._groups[key] = group
        seconds = spec.schedule_timeout_seconds
        waits_us = (TIMEOUT_SECONDS if seconds is None else seconds) * _US
        return HomeGang(
            key,
            uid=_number(meta.uid),
            min=spec.min_member,
            deadline_us=_us_of(meta.creation_timestamp) + waits_us,
            phase=_PHASES.get(group.status.phase, GangPhase.PENDING),
            refusal=spec.refusal,
            is_over=is_deleted,
        )

    def forget(self) -> None:
        """A new list begins."""
        self._groups.clear()

    def _group(self, key: str, uid: int) -> _PodGroup | None:
        """The group of that key, unless it is another one by now."""
        group = self._groups.get(key)
        return group if group is not None and _number(group.metadata.uid) == uid else None

    def place(self, key: str, uid: int, unit: str) -> Place | None:
        """Where the record of what is formed of a group's pods is kept; None: it is no more."""
        group = self._group(key, uid)
        if group is None:
            return None
        meta = group.metadata
        owner = {
            "apiVersion": GROUP_VERSION,
            "kind": "PodGroup",
            "name": meta.name,
            "uid": meta.uid,
        }
        name = RECORD_PREFIX + meta.name
        if len(name) > NAME_CHARS_MAX:
            name = RECORD_PREFIX + meta.uid
        return Place(meta.namespace, name, unit, owner=owner)

    def status_path(self, key: str) -> str:
        """Where a group's status is written."""
        namespace, _, name = key.partition("/")
        return f"/apis/{GROUP_VERSION}/namespaces/{namespace}/podgroups/{name}/status"

    def patch(self, state: GangState) -> dict[str, Any] | None:
        """What a merge into the group's status says of how it stands; None where it says so."""
        group = self._group(state.key, state.uid)
        if group is None:
            return None
        phase = PHASES[state.phase]
        message = f"{state.ready} of {state.wanted} pods can be placed"
        conditions = [c for c in group.status.conditions if c.type != phase]
        before = [c for c in group.status.conditions if c.type == phase]
        is_same = group.status.phase == phase
        if is_same and before and before[0].message == message:
            return None
        since = before[0].last_transition_time if is_same and before else None
        condition = _Condition(phase, phase, "True", phase, message, since or _now())
        said: dict[str, Any] = msgspec.to_builtins(_Status(phase, [*conditions, condition]))
        return {"metadata": {"uid": group.metadata.uid}, "status": said}

    def wrote(self, key: str, patch: dict[str, Any]) -> None:
        """A merge was taken: the watch will show it."""
        group = self._groups.get(key)
        if group is not None:
            group.status = msgspec.convert(patch["status"], _Status)


def _number(uid: str) -> int:
    return UUID(uid).int


def _us_of(timestamp: str) -> int:
    """Microseconds since the epoch of a timestamp as Kubernetes writes them: UTC, in seconds."""
    return calendar.timegm(time.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ")) * _US


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
