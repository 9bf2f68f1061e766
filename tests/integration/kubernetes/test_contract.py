"""One contract, two API servers: the simulated lagging home must answer as the real one does.

Each question is a test with its expected answer, run against both; a server that answers otherwise
is found on its side. The real one is asked under a role that may do no more than the binder needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cell.home import (
    Code,
    GangRecord,
    HomeUnit,
    Member,
    ObjectState,
    RecordView,
    Relist,
    Replica,
)
from cell.unit import uid_of
from tests.controlplane.cluster import ControlPlane
from tests.controlplane.install import install
from tests.integration.kubernetes.servers import (
    RealServer,
    Server,
    SimulatedServer,
    evict,
    post,
    read,
    read_record,
    write,
)

ROLE = "contract-binder"
PATIENT_SECONDS = 10
"""A disk may take longer than the second that the binder gives a write."""
RULES = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"]},
    {
        "apiGroups": ["godel.dev"],
        "resources": ["placementrequests"],
        "verbs": ["get", "list", "watch", "create"],
    },
    {
        "apiGroups": ["godel.dev"],
        "resources": ["placementrequests/status"],
        "verbs": ["update"],
    },
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
]


@pytest.fixture(scope="session")
def kubeconfig(bare_control_plane: ControlPlane) -> str:
    """Somebody who may do what the binder does, and nothing else, on a cluster of two nodes."""
    plane = bare_control_plane
    install(plane)
    role: dict[str, Any] = {"metadata": {"name": ROLE}, "rules": RULES}
    plane.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    for name in ("a", "b"):
        plane.admin.create("/api/v1/nodes", {"metadata": {"name": name}})
    return str(plane.user(ROLE, ROLE))


@pytest.fixture(params=["simulated", "real"])
async def server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    """An API server with the nodes a and b; it may be slow, which is no answer to a question."""
    monkeypatch.setattr("runtime.kubernetes.home.WRITE_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr("runtime.kubernetes.home.ANSWER_SECONDS_MAX", 2 * PATIENT_SECONDS)
    if request.param == "simulated":
        simulated = SimulatedServer()
        await simulated.start()
        for name in ("a", "b"):
            await simulated.add_node(name)
        yield simulated
        return
    kubeconfig: str = request.getfixturevalue("kubeconfig")
    plane: ControlPlane = request.getfixturevalue("bare_control_plane")
    made = plane.admin.create("/api/v1/namespaces", {"metadata": {"generateName": "contract-"}})
    real = RealServer(plane.admin, made["metadata"]["name"], kubeconfig)
    await real.start()
    yield real
    print(real.log.getvalue())
    await real.stop()


async def test_pending_object_is_bound_and_shown(server: Server) -> None:
    view = await server.create("p")
    assert (view.state, view.node, view.is_ours) == (ObjectState.PENDING, "", True)
    assert await post(server, view, "a") is Code.OK
    bound = await server.shown(view.replica, lambda v: v.state is ObjectState.BOUND)
    assert (bound.node, bound.object, bound.klass) == ("a", view.object, view.klass)
    assert bound.version > view.version


@pytest.mark.parametrize("node", ["a", "b"])
async def test_bound_object_is_not_bound_again(server: Server, node: str) -> None:
    """Not even to the same node: our own success retried looks like somebody else's."""
    view = await server.create("p")
    await post(server, view, "a")
    assert await post(server, view, node) is Code.CONFLICT
    found = (await read(server, view.replica)).found
    assert found is not None
    assert (found.state, found.node) == (ObjectState.BOUND, "a")


async def test_object_that_somebody_else_bound_is_a_conflict(server: Server) -> None:
    view = await server.create("p")
    await server.bind(view, "b")
    assert await post(server, view, "a") is Code.CONFLICT
    bound = await server.shown(view.replica, lambda v: v.state is ObjectState.BOUND)
    assert bound.node == "b"


async def test_node_is_not_checked(server: Server) -> None:
    view = await server.create("p")
    assert await post(server, view, "nowhere") is Code.OK


async def test_uid_of_another_object_is_a_conflict(server: Server) -> None:
    view = await server.create("p")
    assert await post(server, view, "a", object_uid=view.object + 1) is Code.CONFLICT
    assert await evict(server, view, object_uid=view.object + 1) is Code.CONFLICT
    found = (await read(server, view.replica)).found
    assert found is not None
    assert found.state is ObjectState.PENDING


async def test_waiting_object_is_gone_at_once_when_evicted(server: Server) -> None:
    view = await server.create("p")
    assert await evict(server, view) is Code.OK
    await server.shown(view.replica, lambda v: v.state is ObjectState.DELETED)
    assert (await read(server, view.replica)).code is Code.GONE
    assert await post(server, view, "a") is Code.GONE
    assert await evict(server, view) is Code.GONE


async def test_bound_object_goes_through_its_termination(server: Server) -> None:
    view = await server.create("p")
    await post(server, view, "a")
    assert await evict(server, view) is Code.OK
    going = await server.shown(view.replica, lambda v: v.state is ObjectState.TERMINATING)
    assert going.node == "a"
    assert await post(server, view, "b") is Code.CONFLICT


async def test_unknown_name_is_gone(server: Server) -> None:
    assert (await read(server, Replica(1 << 40, 1))).code is Code.GONE


async def test_list_shows_what_is_there(server: Server) -> None:
    kept, dropped = await server.create("kept"), await server.create("dropped")
    await post(server, kept, "a")
    await evict(server, dropped)
    await server.shown(dropped.replica, lambda v: v.state is ObjectState.DELETED)
    listed = await server.ask(Relist)
    states = {view.replica: (view.state, view.node) for view in listed.objects}
    assert states[kept.replica] == (ObjectState.BOUND, "a")
    assert dropped.replica not in states
    assert {"a", "b"} <= {node.name for node in listed.nodes}


async def test_nodes_come_and_go_in_the_watch(server: Server) -> None:
    await server.add_node("passing")
    await server.drop_node("passing")
    listed = await server.ask(Relist)
    assert "passing" not in {node.name for node in listed.nodes}


def a_record(key: str, *nodes: str, attempt: int = 1) -> GangRecord:
    """A record of a gang of so many replicas."""
    members = tuple(Member(0, i, i + 1, node) for i, node in enumerate(nodes))
    return GangRecord(*uid_of(key), 1, attempt, 7, ((0, len(nodes)),), members, key)


async def test_record_is_read_as_it_was_written(server: Server) -> None:
    key = await server.add_gang("whole")
    record = a_record(key, "a", "b", attempt=(1 << 64) - 1)
    assert (await read_record(server, key)).kept == RecordView(0, None)
    written = await write(server, key, 0, record)
    assert written.code is Code.OK
    kept = RecordView(written.version, record)
    assert (await read_record(server, key)).kept == kept
    assert kept in (await server.ask(Relist)).records


async def test_record_is_written_only_over_what_was_seen(server: Server) -> None:
    key = await server.add_gang("guarded")
    first = await write(server, key, 0, a_record(key, "a"))
    assert first.code is Code.OK
    assert (await write(server, key, 0, a_record(key, "b"))).code is Code.CONFLICT
    second = await write(server, key, first.version, a_record(key, "b"))
    assert second.code is Code.OK
    assert second.version > first.version
    assert (await write(server, key, first.version, None)).code is Code.CONFLICT
    kept = (await read_record(server, key)).kept
    assert kept == RecordView(second.version, a_record(key, "b"))


async def test_record_that_was_removed_leaves_its_version(server: Server) -> None:
    key = await server.add_gang("removed")
    first = await write(server, key, 0, a_record(key, "a"))
    assert first.code is Code.OK
    removed = await write(server, key, first.version, None)
    assert removed.code is Code.OK
    assert (await read_record(server, key)).kept == RecordView(removed.version, None)
    assert key not in {view.record.key for view in (await server.ask(Relist)).records}
    assert (await write(server, key, 0, a_record(key, "b"))).code is Code.CONFLICT
    assert (await write(server, key, removed.version, a_record(key, "b"))).code is Code.OK


async def test_unit_without_objects_is_shown_with_its_record(server: Server) -> None:
    unit = await server.add_unit("unit")
    assert unit.kept is not None
    assert unit.kept.record is None
    record = a_placement(unit, "a", "b")
    written = await write(server, unit.key, unit.kept.version, record)
    assert written.code is Code.OK
    shown = await server.unit_shown(
        unit, lambda u: u.kept is not None and u.kept.record is not None
    )
    assert shown.kept == RecordView(written.version, record)
    assert (await read_record(server, unit.key)).kept == shown.kept
    listed = await server.ask(Relist)
    assert shown in listed.units
    assert shown.kept not in listed.records


async def test_unit_that_was_touched_is_written_over_its_new_version(server: Server) -> None:
    unit = await server.add_unit("touched")
    assert unit.kept is not None
    await server.touch_unit(unit)
    record = a_placement(unit, "a", "b")
    assert (await write(server, unit.key, unit.kept.version, record)).code is Code.CONFLICT
    kept = (await read_record(server, unit.key)).kept
    assert kept is not None
    assert kept.record is None
    assert (await write(server, unit.key, kept.version, record)).code is Code.OK


async def test_unit_that_was_deleted_is_gone(server: Server) -> None:
    unit = await server.add_unit("over")
    assert unit.kept is not None
    await server.drop_unit(unit)
    await server.unit_shown(unit, lambda u: u.is_over)
    record = a_placement(unit, "a", "b")
    assert (await write(server, unit.key, unit.kept.version, record)).code is Code.GONE
    assert (await read_record(server, unit.key)).code is Code.GONE


def a_placement(unit: HomeUnit, *nodes: str) -> GangRecord:
    """A record of a unit without objects."""
    members = tuple(Member(0, i, 0, node) for i, node in enumerate(nodes))
    return GangRecord(unit.uid_hi, unit.uid_lo, 1, 3, 0, (), members, unit.key)
