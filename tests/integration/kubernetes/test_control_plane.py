"""The control plane is real: what later tests rest on."""

from __future__ import annotations

import http
from collections import Counter
from pathlib import Path

import pytest

from tests.controlplane.api import Api, Away, Refused
from tests.controlplane.build import programs
from tests.controlplane.cluster import ControlPlane
from tests.controlplane.nodes import node
from tests.controlplane.processes import Ended
from tests.integration.kubernetes.pods import a_deployment, a_pod, bind, phase
from tests.waiting import until_blocking


def test_a_bound_pod_runs_and_a_deleted_one_goes(
    control_plane: ControlPlane, namespace: str
) -> None:
    api, path = control_plane.admin, f"/api/v1/namespaces/{namespace}/pods"
    pod = api.create(path, a_pod("lone"))
    assert phase(api, namespace, "lone") == "Pending"
    bind(api, pod, "node-0001")
    until_blocking("the pod runs", lambda: phase(api, namespace, "lone") == "Running")
    assert api.get(f"{path}/lone")["spec"]["nodeName"] == "node-0001"
    api.delete(f"{path}/lone")
    until_blocking("the pod is gone", lambda: api.get(path)["items"] == [])


def test_a_binding_for_another_incarnation_is_refused(
    control_plane: ControlPlane, namespace: str
) -> None:
    api, path = control_plane.admin, f"/api/v1/namespaces/{namespace}/pods"
    first = api.create(path, a_pod("twice"))
    api.delete(f"{path}/twice?gracePeriodSeconds=0")
    api.create(path, a_pod("twice"))
    with pytest.raises(Refused) as refused:
        bind(api, first, "node-0001")
    assert refused.value.status == http.HTTPStatus.CONFLICT


def test_a_deployment_is_placed_by_kube_scheduler(
    control_plane: ControlPlane, namespace: str
) -> None:
    api = control_plane.admin
    api.create(f"/apis/apps/v1/namespaces/{namespace}/deployments", a_deployment("web", 6))

    def are_available() -> bool:
        web = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/web")
        return bool(web["status"].get("availableReplicas") == 6)

    until_blocking("all replicas are available", are_available)
    pods = api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert sum(Counter(pod["spec"]["nodeName"] for pod in pods).values()) == 6


def test_the_pods_of_a_job_complete(control_plane: ControlPlane, namespace: str) -> None:
    api, path = control_plane.admin, f"/apis/batch/v1/namespaces/{namespace}/jobs"
    template = a_deployment("once", 1)["spec"]["template"]
    template["spec"]["restartPolicy"] = "Never"
    spec = {"completions": 2, "parallelism": 2, "template": template}
    api.create(path, {"metadata": {"name": "once"}, "spec": spec})
    until_blocking("it succeeds", lambda: api.get(f"{path}/once")["status"].get("succeeded") == 2)


@pytest.mark.parametrize("kind", ["user", "service account"])
def test_an_identity_may_do_what_its_role_says_and_nothing_else(
    control_plane: ControlPlane, namespace: str, kind: str
) -> None:
    if kind == "user":
        kubeconfig = control_plane.user(f"{namespace}-reader", "view")
    else:
        kubeconfig = control_plane.service_account(namespace, "reader", "view")
    path = f"/api/v1/namespaces/{namespace}/pods"
    with Api(kubeconfig) as reader:
        assert reader.get(path)["items"] == []
        with pytest.raises(Refused) as refused:
            reader.create(path, a_pod("forbidden"))
    assert refused.value.status == http.HTTPStatus.FORBIDDEN


def test_a_killed_api_server_keeps_its_objects(own_control_plane: ControlPlane) -> None:
    own_control_plane.start()
    api = own_control_plane.admin
    made = api.create("/api/v1/nodes", node(0))
    pod = api.create("/api/v1/namespaces/default/pods", a_pod("kept"))
    bind(api, pod, "node-0000")
    own_control_plane.kill_api_server()
    with pytest.raises(Away):
        api.get("/api/v1/nodes")
    own_control_plane.start_api_server()
    assert api.get("/api/v1/nodes/node-0000")["metadata"]["uid"] == made["metadata"]["uid"]
    kept = api.get("/api/v1/namespaces/default/pods/kept")
    assert kept["spec"]["nodeName"] == "node-0000"


def test_an_api_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    broken = ControlPlane(tmp_path, programs(), api_flags=("--no-such-flag",))
    with broken, pytest.raises(Ended, match="unknown flag: --no-such-flag"):
        broken.start()
