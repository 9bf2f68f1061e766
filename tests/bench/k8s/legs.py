"""The legs of a round: each makes its pods, has them bound by somebody, and is measured."""

from __future__ import annotations

from tests.bench.k8s.ground import CREATORS, Ground, Measured
from tests.bench.k8s.services import OURS, THEIRS, kube_scheduler, ours, probe

NULL_CONNECTIONS = 32


async def raw(ground: Ground, pods: int, connections: int) -> Measured:
    """Bindings alone, by the binder's client."""
    async with ground.leg(pods) as leg:
        await leg.create(OURS)
        order = leg.order("raw", OURS, connections)
        async with leg.watched() as watcher, ground.client(order) as client:
            await client.until("ready")
            await client.go()
            return await leg.drained(watcher, {"client": [client.cpu]})


async def kube(ground: Ground, pods: int) -> Measured:
    """kube-scheduler finds the backlog when it starts."""
    async with ground.leg(pods) as leg:
        await leg.create(THEIRS)
        async with leg.watched() as watcher:
            with kube_scheduler(ground) as processes:
                return await leg.drained(watcher, processes)


async def drain(ground: Ground, pods: int, *, success_events: bool = False) -> Measured:
    """Our services find the backlog when they start; perhaps with an event for each pod bound."""
    async with ground.leg(pods) as leg:
        await leg.create(OURS)
        started = ours(ground, success_events=success_events)
        async with leg.watched() as watcher, started as processes:
            return await leg.drained(watcher, processes)


async def null_client(ground: Ground, pods: int, rate: float = 0.0, seed: int = 0) -> Measured:
    """A client that binds each pod as soon as it has created it."""
    async with ground.leg(pods) as leg:
        order = leg.order("null", OURS, NULL_CONNECTIONS, rate, seed)
        async with leg.watched() as watcher, ground.client(order) as client:
            await client.until("ready")
            return await leg.bound(watcher, client, {})


async def created_bound(ground: Ground, pods: int, rate: float = 0.0, seed: int = 0) -> Measured:
    """A client creates and our services, which run already, bind."""
    async with ours(ground) as processes:
        await probe(ground)
        async with ground.leg(pods) as leg:
            order = leg.order("create", OURS, CREATORS, rate, seed)
            async with leg.watched() as watcher, ground.client(order) as client:
                await client.until("ready")
                return await leg.bound(watcher, client, processes)
