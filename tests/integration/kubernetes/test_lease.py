"""The election on a real API server: takeover, release, fencing, and what may be in its way."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from runtime.clock import Clock
from runtime.kubernetes.access import Access
from runtime.kubernetes.api import Api, Reply, Unknown
from runtime.kubernetes.lease import LEASE_NAME, Leader, Lease
from runtime.log import Log
from tests.controlplane.cluster import ControlPlane
from tests.controlplane.identities import RBAC_PATH
from tests.waiting import until

TAKEOVER_SECONDS = 5.0
AWAY_SECONDS = 10.0
WAIT_SECONDS = 20.0
ROUNDS = 6
ROLE = "lease-candidate"
VERBS = ("get", "create", "update")
ROOT = Path(__file__).parents[3]
Candidate = Callable[..., Awaitable[Lease]]


def a_role(plane: ControlPlane, name: str, *verbs: str) -> str:
    """A new ClusterRole of these verbs for Leases; its name."""
    role: dict[str, Any] = {"metadata": {"name": name}, "rules": rules(*verbs)}
    plane.admin.create(f"{RBAC_PATH}/clusterroles", role)
    return name


def rules(*verbs: str) -> list[dict[str, Any]]:
    return [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": list(verbs)},
    ]


def a_namespace(plane: ControlPlane) -> str:
    made = plane.admin.create("/api/v1/namespaces", {"metadata": {"generateName": "lease-"}})
    return str(made["metadata"]["name"])


def lease_path(space: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{space}/leases/{LEASE_NAME}"


@pytest.fixture(scope="session")
def kubeconfig(bare_control_plane: ControlPlane) -> Path:
    """Somebody who may do what a candidate needs, and nothing else."""
    return bare_control_plane.user(ROLE, a_role(bare_control_plane, ROLE, *VERBS))


@pytest.fixture
def space(bare_control_plane: ControlPlane) -> str:
    """A namespace of its own, without a Lease."""
    return a_namespace(bare_control_plane)


@pytest.fixture
async def candidate() -> AsyncIterator[Candidate]:
    """Makes candidates, each with connections of its own: (kubeconfig, namespace, identity)."""
    apis: list[Api] = []

    async def make(
        kubeconfig: Path, space: str, identity: str, kind: type[Api] = Api, log: Log | None = None
    ) -> Lease:
        api = kind(Access(str(kubeconfig)))
        await api.open()
        apis.append(api)
        addresses = {"link_address": f"{identity}:1", "client_address": f"{identity}:2"}
        log = log or Log(identity)
        return Lease(api, space, LEASE_NAME, identity, Clock(), log, **addresses)

    yield make
    for api in apis:
        await api.close()


async def won(lease: Lease) -> int:
    async with asyncio.timeout(WAIT_SECONDS):
        return await lease.acquire()


@contextlib.asynccontextmanager
async def renewing(lease: Lease) -> AsyncIterator[None]:
    """Renew meanwhile."""
    task = asyncio.ensure_future(lease.hold())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def seen(is_it: Callable[[], bool]) -> None:
    await until("the candidates see it", is_it, WAIT_SECONDS)


async def test_killed_holder_is_followed_in_time(
    kubeconfig: Path, space: str, candidate: Candidate
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.kubernetes.lease_holder",
        str(kubeconfig),
        space,
        "first",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    term = int(await process.stdout.readline())
    standby = await candidate(kubeconfig, space, "second")
    waiting = asyncio.ensure_future(standby.acquire())
    await seen(lambda: standby.leader.identity == "first")
    process.kill()
    async with asyncio.timeout(TAKEOVER_SECONDS):
        assert await waiting == term + 1
    assert standby.is_held()
    await process.wait()


async def test_released_lease_is_taken_at_once(
    kubeconfig: Path, space: str, candidate: Candidate
) -> None:
    first = await candidate(kubeconfig, space, "first")
    second = await candidate(kubeconfig, space, "second")
    term = await won(first)
    async with renewing(first):
        waiting = asyncio.ensure_future(second.acquire())
        await seen(lambda: second.leader == Leader("first", "first:1", "first:2"))
        assert not waiting.done()
        await first.release()
    assert not first.is_held()
    async with asyncio.timeout(1.5):  # a retry, not the duration and a write
        assert await waiting == term + 1
    await second.release()
    assert second.leader == Leader()


async def test_never_do_two_hold(kubeconfig: Path, space: str, candidate: Candidate) -> None:
    """Candidates that stop renewing, release, or lose the Lease by its deletion, in any order."""
    leases = [await candidate(kubeconfig, space, f"c{i}") for i in range(3)]
    terms: list[int] = []
    random = Random(1)

    async def live(lease: Lease) -> None:
        while True:
            terms.append(await lease.acquire())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.0, 1.0)):
                    await lease.hold()
            if random.random() < 0.5:
                await lease.release()

    lives = [asyncio.ensure_future(live(lease)) for lease in leases]
    async with asyncio.timeout(60):
        while len(terms) < ROUNDS:
            assert sum(lease.is_held() for lease in leases) <= 1
            await asyncio.sleep(0.001)
    for task in lives:
        task.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    assert terms == sorted(set(terms))


class AnswersLost(Api):
    """Every second update is done and its answer lost."""

    numbers = count()

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        *rest: Any,
        **named: Any,
    ) -> Reply:
        reply = await super().call(method, path, body, params, *rest, **named)
        if method == "PUT" and reply.status == 200 and next(self.numbers) % 2:
            raise Unknown("the answer is lost")
        return reply


async def test_renewal_whose_answer_was_lost_does_not_lose_the_lease(
    bare_control_plane: ControlPlane, kubeconfig: Path, space: str, candidate: Candidate
) -> None:
    lease = await candidate(kubeconfig, space, "first", AnswersLost)
    term = await won(lease)
    path = lease_path(space)
    versions = {bare_control_plane.admin.get(path)["metadata"]["resourceVersion"]}
    async with renewing(lease), asyncio.timeout(WAIT_SECONDS):
        while len(versions) < 10:
            versions.add(bare_control_plane.admin.get(path)["metadata"]["resourceVersion"])
            assert lease.is_held()
            await asyncio.sleep(0.02)
    assert (lease.term, lease.leader.identity) == (term, "first")
    await lease.release()
    assert lease.leader == Leader()


async def test_deleted_lease_does_not_give_out_old_terms(
    bare_control_plane: ControlPlane, kubeconfig: Path, space: str, candidate: Candidate
) -> None:
    first = await candidate(kubeconfig, space, "first")
    before = Clock().now_us() // 60_000_000
    term = await won(first)
    assert term >= before
    holding = asyncio.ensure_future(first.hold())
    bare_control_plane.admin.delete(lease_path(space))
    async with asyncio.timeout(2):
        await holding
    assert not first.is_held()
    with pytest.raises(Exception, match="404"):
        bare_control_plane.admin.get(lease_path(space))
    assert await won(first) > term
    second = await candidate(kubeconfig, space, "second")
    await first.release()
    bare_control_plane.admin.delete(lease_path(space))
    assert await won(second) >= before


async def test_api_server_that_was_killed_costs_the_lease_and_gives_it_again(
    own_control_plane: ControlPlane, candidate: Candidate
) -> None:
    plane = own_control_plane
    plane.start()
    lease = await candidate(plane.user(ROLE, a_role(plane, ROLE, *VERBS)), "default", "first")
    term = await won(lease)
    holding = asyncio.ensure_future(lease.hold())
    plane.kill_api_server()
    async with asyncio.timeout(3):
        await holding
    assert not lease.is_held()
    again = asyncio.ensure_future(lease.acquire())
    await asyncio.sleep(AWAY_SECONDS)
    assert not again.done()
    await asyncio.to_thread(plane.start_api_server)
    async with asyncio.timeout(TAKEOVER_SECONDS):
        assert await again == term + 1


async def test_permission_that_is_missing_is_named_and_waited_for(
    own_control_plane: ControlPlane, candidate: Candidate
) -> None:
    plane = own_control_plane
    plane.start()
    kubeconfig = plane.user(ROLE, a_role(plane, ROLE, "get", "create"))
    said = io.StringIO()
    lease = await candidate(kubeconfig, "default", "first", Api, Log("first", said))
    path, _, name = lease_path("default").rpartition("/")
    plane.admin.create(path, {"metadata": {"name": name}})
    waiting = asyncio.ensure_future(lease.acquire())
    await seen(lambda: "cannot update resource" in said.getvalue())
    assert "leases" in said.getvalue()
    assert not waiting.done()
    plane.admin.merge(f"{RBAC_PATH}/clusterroles/{ROLE}", {"rules": rules(*VERBS)})
    async with asyncio.timeout(WAIT_SECONDS):
        assert await waiting > 0
    assert said.getvalue().count("cannot update resource") == 1
    await lease.release()
