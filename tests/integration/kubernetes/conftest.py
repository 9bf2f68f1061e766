"""Fixtures: a control plane that a session shares, and one that a test has to itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.controlplane.build import BuildFailed, programs
from tests.controlplane.cluster import CONTROLLER_MANAGER, EXTRAS, KWOK, ControlPlane
from tests.controlplane.nodes import add_nodes, ready_nodes
from tests.integration.kubernetes.services import Services, as_shipped

NODES = 3
READY_SECONDS = 60.0
FIXTURES = {"control_plane", "bare_control_plane", "own_control_plane"}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test: a test's time-out is no measure for a compiler."""
    wanted = any(FIXTURES & set(getattr(item, "fixturenames", ())) for item in session.items)
    if wanted and not session.config.option.collectonly:
        with suppress(BuildFailed):  # the tests that need it try again, and fail with the reason
            programs()


@contextmanager
def _control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A control plane with nothing started; its logs are shown when a test failed meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="godel-cp-"))
    failed_before = request.session.testsfailed
    try:
        with ControlPlane(folder, programs()) as cluster:
            yield cluster
    finally:
        if request.session.testsfailed > failed_before:
            for path in sorted(folder.glob("*.log")):
                print(f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """All programs and NODES nodes, for tests that disturb nobody; each has its own namespace."""
    with _control_plane(request) as cluster:
        cluster.start(*EXTRAS)
        add_nodes(cluster.admin, NODES)
        cluster.processes.until(
            KWOK, lambda: len(ready_nodes(cluster.admin)) == NODES, READY_SECONDS
        )
        yield cluster


@pytest.fixture(scope="session")
def bare_control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """etcd and the API server alone: what is bound stays as it is, for there is no kubelet."""
    with _control_plane(request) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def own_control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A control plane that a test starts, and may break."""
    with _control_plane(request) as cluster:
        yield cluster


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the shared control plane; its end is begun after the test, not awaited."""
    prefix = request.function.__name__.replace("_", "-")[:40].strip("-")
    body = {"metadata": {"generateName": f"{prefix}-"}}
    api = control_plane.admin
    name = api.create("/api/v1/namespaces", body)["metadata"]["name"]
    path = f"/api/v1/namespaces/{name}"

    def takes_pods() -> bool:
        accounts = api.get(f"{path}/serviceaccounts")["items"]
        return any(account["metadata"]["name"] == "default" for account in accounts)

    control_plane.processes.until(CONTROLLER_MANAGER, takes_pods, READY_SECONDS)
    yield name
    api.delete(path)


@pytest.fixture
async def services(control_plane: ControlPlane) -> AsyncIterator[Services]:
    """Running services on the shared control plane, as the accounts that deploy/ ships."""
    async with as_shipped(control_plane).running() as found:
        yield found
