"""Whoever follows the ledger has what the ledger has, whatever happened in between."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from cell.unit import uid_of
from godel.v1 import cluster_pb2
from runtime.placement_client import PlacementClient
from tests.integration.cluster import Cluster, Replica, claims_of
from tests.integration.embedded import Embedded
from tests.integration.load import Load, Progress, settled
from tests.waiting import until


class Follower:
    """The ledger as one watch shows it."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.claims: dict[Replica, str] = {}
        self.generations: list[int] = []

    async def run(self) -> None:
        async for reply in self._call:
            self.generations.append(reply.generation)
            states = np.frombuffer(reply.state, "<u1").tolist()
            for (replica, node), state in zip(claims_of(reply), states, strict=True):
                if state == cluster_pb2.CLAIM_STATE_FREE:
                    self.claims.pop(replica, None)
                else:
                    self.claims[replica] = node


@pytest.mark.parametrize("is_early", [True, False], ids=["from the start", "in the middle"])
async def test_a_follower_ends_with_the_same_claims_as_a_new_snapshot(
    embedded: Embedded, cluster: Cluster, placement: PlacementClient, is_early: bool
) -> None:
    names = await cluster.register(100)
    load, progress = Load("load/", 5_000, 250), Progress()
    submitting = asyncio.create_task(load.submit(placement, progress))
    await progress.reached(0.0 if is_early else 0.5)
    call = cluster.stub.WatchLedger(cluster_pb2.WatchLedgerRequest(is_snapshot_wanted=True))
    follower = Follower(call)
    following = asyncio.create_task(follower.run())
    await submitting
    await settled(placement)
    gone = [key for i, key in enumerate(load.replicas) if i % 3 == 0]
    assert not (await placement.cancel(gone)).refused
    await cluster.stub.Remove(cluster_pb2.RemoveRequest(names=names[:10]), timeout=30.0)
    freed = {uid_of(key) for key in gone}

    async def is_level() -> bool:
        claims = await cluster.claims()
        is_free = freed.isdisjoint(uid for uid, _, _ in claims)
        return is_free and follower.claims == claims

    await until("the follower has what the ledger has", is_level)
    assert follower.claims
    assert set(names[:10]).isdisjoint(follower.claims.values())
    assert follower.generations == sorted(follower.generations)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
