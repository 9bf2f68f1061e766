"""Binds the volumes of a pod before the pod: chosen for its node, written, and waited for.

Called by the home before each Binding of a pod with claims, again and again until all of them are
bound. What must hold: a volume or claim is written only as it was read (its version says so), and a
pod is not read anew while its volumes are being bound for a node; if they cannot be, it is, and is
placed as a new unit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from cell.home import Code
from runtime.fields import Fields
from runtime.kubernetes.objects import Name
from runtime.pod_volumes import can_be_made
from runtime.storage import NODE_KEY, ClaimView, Storage, VolumeView, first_at, is_in

BOUND_SECONDS_MAX = 600.0
"""For this long a volume may be made, as with kube-scheduler."""
BY_US_KEY = "pv.kubernetes.io/bound-by-controller"

Write = Callable[[str, str, dict[str, Any]], Awaitable[tuple[Code, bytes]]]


class _Asked(msgspec.Struct):
    """What was chosen for a pod on a node."""

    node: str
    deadline: float
    made: set[str] = set()
    """Claims whose volumes are being made there."""
    chosen: set[str] = set()
    """Claims whose volumes were chosen there."""


class VolumeBinder:
    """See the module. `write` merges into an object."""

    def __init__(self, storage: Storage, write: Write) -> None:
        self._storage = storage
        self._write = write
        self._asked: dict[Name, _Asked] = {}

    def forget(self, name: Name) -> None:
        """The pod is bound, or gone."""
        self._asked.pop(name, None)

    async def bind(self, name: Name, claims: tuple[str, ...], node: str) -> Code:
        """OK: all volumes are bound. THROTTLED: not yet. CONFLICT: they cannot be bound there."""
        now = asyncio.get_running_loop().time()
        if name not in self._asked:
            # Who is gone is never asked for again.
            self._asked = {n: a for n, a in self._asked.items() if now <= a.deadline}
            self._asked[name] = _Asked(node, now + BOUND_SECONDS_MAX)
        asked = self._asked[name]
        found = [self._storage.claims.get(key) for key in claims]
        views = [each for each in found if each is not None]
        if len(views) < len(claims) or asked.node != node or now > asked.deadline:
            return self._give_up(name)
        unbound = [each for each in views if not each.is_bound]
        for claim in views:
            code = self._reach(claim, node)
            if code is Code.CONFLICT:
                return self._give_up(name)
            if code is not Code.OK:
                return code
        if not unbound:
            self.forget(name)
            return Code.OK
        taken: set[str] = set()
        for claim in sorted(unbound, key=lambda each: each.size or 0):
            code = await self._choose(asked, claim, taken)
            if code is Code.CONFLICT:
                return self._give_up(name)
            if code is not Code.OK:
                return Code.THROTTLED
        return Code.THROTTLED

    def _give_up(self, name: Name) -> Code:
        self.forget(name)
        return Code.CONFLICT

    def _reach(self, claim: ClaimView, node: str) -> Code:
        """Whether the node reaches the volume that the claim has, if it has one: two pods may have
        chosen for one claim."""
        volume = self._storage.volumes.get(claim.volume)
        if not claim.volume or volume is None:
            return Code.THROTTLED if claim.volume else Code.OK
        labels = self._storage.nodes.get(node, {})
        return Code.OK if is_in(volume.places, node, labels) else Code.CONFLICT

    async def _choose(self, asked: _Asked, claim: ClaimView, taken: set[str]) -> Code:
        """See to it that the claim has a volume on the node, or gets one."""
        if claim.volume:
            return Code.OK
        others = (each for each in self._asked.values() if claim.key in each.chosen)
        if any(each.node != asked.node for each in others):
            return Code.THROTTLED
        asked.chosen.add(claim.key)
        if claim.node or claim.key in asked.made:
            # Whoever makes volumes takes the node away from the claim when that has failed.
            return Code.OK if claim.node == asked.node else Code.CONFLICT
        labels = self._storage.nodes.get(asked.node, {})
        volume = first_at(self._storage.candidates(claim), asked.node, labels, taken)
        if volume is not None:
            taken.add(volume.name)
            return await self._claim(volume, claim)
        if not can_be_made(self._storage, claim, asked.node, labels):
            return Code.CONFLICT
        code = await self._put(_claim_path(claim), claim.version, {NODE_KEY: asked.node})
        if code is Code.OK:
            asked.made.add(claim.key)
        return code

    async def _claim(self, volume: VolumeView, claim: ClaimView) -> Code:
        """Give the volume to the claim; who controls volumes does the rest."""
        if volume.claim == (claim.key, claim.uid):
            return Code.OK
        namespace, name = claim.key.split("/", 1)
        ref = {
            **{"apiVersion": "v1", "kind": "PersistentVolumeClaim"},
            **{"namespace": namespace, "name": name, "uid": claim.uid},
            "resourceVersion": claim.version,
        }
        notes = {} if volume.claim else {BY_US_KEY: "yes"}
        path = f"/api/v1/persistentvolumes/{volume.name}"
        return await self._put(path, volume.version, notes, {"claimRef": ref})

    async def _put(
        self,
        path: str,
        version: str,
        annotations: Mapping[str, str],
        spec: Mapping[str, Any] | None = None,
    ) -> Code:
        """Change an object unless it is another by now; what is answered is how it is."""
        metadata = {"resourceVersion": version, "annotations": dict(annotations)}
        body: dict[str, Any] = {"metadata": metadata}
        if spec is not None:
            body["spec"] = dict(spec)
        code, answer = await self._write("PATCH", path, body)
        if code is Code.OK:
            self._storage.put(Fields(msgspec.json.decode(answer)))
        return code


def _claim_path(claim: ClaimView) -> str:
    namespace, name = claim.key.split("/", 1)
    return f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
