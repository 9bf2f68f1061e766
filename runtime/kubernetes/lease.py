"""Leader election on one Lease: who may write to the API server, and under which term.

Used by the binder: `acquire`, then `hold` until it is lost; every write asks `is_held` just before
it is sent. Give it an Api of its own, so that a renewal does not queue behind writes. What must
hold: no two processes hold at a time, whatever is lost or late; a term is given out once, and only
grows. Both rest on updates guarded by the resource version, and on each process's own clock alone:
a holder counts from when its last renewal was sent, a candidate from when it saw the Lease change
last, and the candidate's wait is longer by the time that a write may take in the server.

`kubernetes.aio.leaderelection` has no term and no release, and counts by the wall clock from the
answer on, not from the sending.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import msgspec

from runtime.clock import Clock
from runtime.kubernetes.api import Api, NotSent, Reply, Unknown, micro_time, said
from runtime.log import Log

LEASE_NAME = "godel-binder"
DURATION_SECONDS = 2
RENEW_SECONDS = 0.3
RETRY_SECONDS = (0.2, 0.4)
"""Between two looks of a candidate, and after a renewal that failed; drawn at random."""
WRITE_SECONDS = 1
"""The server gives up a write after this time: a new holder waits it out beyond the duration."""
RELEASE_TRIES = 3
TERM_MAX = (1 << 28) - 1
"""Terms of a Lease start at the minutes since 1970 (3e7 now), so that one which was deleted and
made again does not give out old terms; the dispatcher's terms are made of them."""
DONE = (200, 201)
LOST = (404, 409)
"""Of a write: the Lease is not what was seen last."""
LINK_ANNOTATION = "godel.dev/link-address"
CLIENT_ANNOTATION = "godel.dev/client-address"
GRANT_ANNOTATION = "godel.dev/dispatcher-term"
_US = 1_000_000
_UNSEEN = "unseen"
_ABSENT = ""

Document = dict[str, Any]


class Leader(msgspec.Struct, frozen=True):
    """Who holds the Lease, as last seen; an empty identity when nobody does."""

    identity: str = ""
    link_address: str = ""
    client_address: str = ""


class Lease:
    """One process's part in the election; see the module. `identity` is of this process life."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        log: Log,
        *,
        link_address: str = "",
        client_address: str = "",
    ) -> None:
        self._api = api
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._leases}/{name}"
        self._name = {"namespace": namespace, "name": name}
        self._self = Leader(identity, link_address, client_address)
        self._clock = clock
        self._log = log
        self._document: Document = {}
        """The Lease as last seen."""
        self._version = _UNSEEN
        """Its resource version; _ABSENT when there was none."""
        self._since_us = 0
        """When that version was seen first."""
        self._held_until_us = 0
        self._term_max_seen = 0
        self._granted = ""
        self._is_due = asyncio.Event()
        self._complaints: dict[str, str] = {}
        self.term = 0
        """The last that was won."""

    @property
    def leader(self) -> Leader:
        """Who leads, as last seen: this process, or the one that a standby saw."""
        holder = self._spec().get("holderIdentity") or ""
        if not holder:
            return Leader()
        notes = self._notes()
        return Leader(holder, notes.get(LINK_ANNOTATION, ""), notes.get(CLIENT_ANNOTATION, ""))

    @property
    def granted(self) -> int:
        """The dispatcher's term that was granted last, by whomever; 0 for none."""
        text = self._notes().get(GRANT_ANNOTATION, "")
        return int(text) if text.isdecimal() else 0

    def note_grant(self, term: int) -> None:
        """Have successors know a dispatcher's term, by a renewal that is sent at once."""
        self._granted = str(term)
        self._is_due.set()

    def is_held(self) -> bool:
        """Whether a write that is sent now is the holder's."""
        return self._clock.now_us() < self._held_until_us

    async def acquire(self) -> int:
        """Wait as a standby until the Lease is won; returns the term, higher than any before."""
        self._held_until_us = 0
        self._granted = ""
        while True:
            if await self._look() and self._is_free() and await self._take():
                self._log.say("the lease is won", identity=self._self.identity, term=self.term)
                return self.term
            await asyncio.sleep(self._pause())

    async def hold(self) -> None:
        """Renew what was won; returns when it is lost."""
        pause = RENEW_SECONDS
        while self.is_held():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_due.wait(), min(pause, self._left()))
            self._is_due.clear()
            sent_us = self._clock.now_us()
            is_renewed = self.is_held() and await self._renew()
            spent = (self._clock.now_us() - sent_us) / _US
            pause = max(RENEW_SECONDS - spent, 0) if is_renewed else random.uniform(*RETRY_SECONDS)
        self._held_until_us = 0
        self._log.say("the lease is lost", identity=self._self.identity, term=self.term)

    async def release(self) -> None:
        """Give the Lease up, so that a standby takes over at once; for after the last write."""
        if not self.is_held():
            return
        self._held_until_us = 0
        for _ in range(RELEASE_TRIES):
            if await self._put("", self.term) in DONE:
                self._log.say("the lease is released", term=self.term)
                return
            if await self._look() and not self._is_ours():
                return

    # What a candidate does

    def _is_free(self) -> bool:
        """Whether nobody can hold what was seen last, nor have a write in the server."""
        if self._version != _ABSENT and not self._spec().get("holderIdentity"):
            return True
        return self._age() >= DURATION_SECONDS + WRITE_SECONDS

    def _pause(self) -> float:
        """Until the next look: a retry's, or less when what was seen is old enough before."""
        pause = random.uniform(*RETRY_SECONDS)
        left = DURATION_SECONDS + WRITE_SECONDS - self._age()
        return min(pause, left) if left > 0 else pause

    def _age(self) -> float:
        return (self._clock.now_us() - self._since_us) / _US

    async def _take(self) -> bool:
        now_us = self._clock.now_us()
        term = (self._spec().get("leaseTransitions") or now_us // (60 * _US)) + 1
        term = max(term, self._term_max_seen + 1)
        if term > TERM_MAX:
            self._complain("", f"{self._path}: leaseTransitions is too high for a term")
            return False
        if await self._put(self._self.identity, term) not in DONE:
            return False
        self.term = term
        self._held_until_us = now_us + DURATION_SECONDS * _US
        return self.is_held()

    # What the holder does

    async def _renew(self) -> bool:
        sent_us = self._clock.now_us()
        status = await self._put(self._self.identity, self.term)
        if status == 409 and await self._look() and self._is_ours():
            # An earlier renewal was taken and its answer lost.
            sent_us = self._clock.now_us()
            status = await self._put(self._self.identity, self.term)
        if status in DONE:
            if self.is_held():  # else it was lost meanwhile, and stays so
                self._held_until_us = sent_us + DURATION_SECONDS * _US
            return True
        if status in LOST and await self._look() and not self._is_ours():
            self._held_until_us = 0
        return False

    def _is_ours(self) -> bool:
        spec = self._spec()
        return (
            spec.get("holderIdentity") == self._self.identity
            and spec.get("leaseTransitions") == self.term
        )

    def _left(self) -> float:
        return max(self._held_until_us - self._clock.now_us(), 0) / _US

    # Requests

    def _spec(self) -> Document:
        return self._document.get("spec") or {}

    def _notes(self) -> dict[str, str]:
        return self._document.get("metadata", {}).get("annotations") or {}

    async def _look(self) -> bool:
        """Read the Lease; whether it was answered, be it that there is none."""
        reply = await self._ask("GET", self._path, None)
        if reply is None:
            return False
        if reply.status == 404:
            self._see({}, _ABSENT)
            return True
        return self._is_taken(reply, "GET")

    async def _put(self, holder: str, term: int) -> int:
        """Write the Lease over the version that was seen last; the status, 0 without an answer."""
        is_new = self._version == _ABSENT
        method, path = ("POST", self._leases) if is_new else ("PUT", self._path)
        reply = await self._ask(method, path, self._written(holder, term))
        if reply is not None:
            self._is_taken(reply, method)
        return reply.status if reply is not None else 0

    def _written(self, holder: str, term: int) -> Document:
        """The Lease as it shall be; what others wrote into it stays, and the uid above all: without
        it, an update of a Lease that was deleted creates it."""
        document = self._document or {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": self._name,
        }
        time = micro_time(self._clock.now_us())
        spec = {**self._spec(), "holderIdentity": holder, "leaseTransitions": term}
        if not holder or not self._is_ours():
            spec["acquireTime"] = time
        spec |= {"renewTime": time, "leaseDurationSeconds": DURATION_SECONDS}
        notes = {
            LINK_ANNOTATION: self._self.link_address if holder else "",
            CLIENT_ANNOTATION: self._self.client_address if holder else "",
        }
        if self._granted:
            notes[GRANT_ANNOTATION] = self._granted
        metadata = {**document["metadata"], "annotations": {**self._notes(), **notes}}
        return {**document, "metadata": metadata, "spec": spec}

    async def _ask(self, method: str, path: str, body: Document | None) -> Reply | None:
        """One request, which ends before the Lease does when it is held; None without an answer."""
        params = {"timeout": f"{WRITE_SECONDS}s"}
        seconds_max = min(WRITE_SECONDS, self._left()) if self.is_held() else WRITE_SECONDS
        encoded = None if body is None else msgspec.json.encode(body)
        try:
            async with asyncio.timeout(seconds_max):
                return await self._api.call(method, path, encoded, params)
        except (NotSent, Unknown, TimeoutError) as error:
            self._complain(method, f"{method} {self._path}: {error or 'no answer'}")
            return None

    def _is_taken(self, reply: Reply, method: str) -> bool:
        """Keep what a reply shows of the Lease, or say why there is none."""
        if reply.status in DONE:
            document = msgspec.json.decode(reply.body, type=Document)
            self._see(document, document["metadata"]["resourceVersion"])
            self._complaints.pop(method, None)
            return True
        if reply.status not in LOST:
            self._complain(method, f"{method} {self._path}: {reply.status} {said(reply)}")
        return False

    def _see(self, document: Document, version: str) -> None:
        self._document = document
        self._term_max_seen = max(self._term_max_seen, self._spec().get("leaseTransitions") or 0)
        if version != self._version:
            self._version = version
            self._since_us = self._clock.now_us()

    def _complain(self, method: str, why: str) -> None:
        """Say what is in the way of a method, once until it is another thing or over."""
        if why != self._complaints.get(method):
            self._complaints[method] = why
            self._log.error("the lease cannot be had", why=why)
