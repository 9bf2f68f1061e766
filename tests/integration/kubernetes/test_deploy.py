"""deploy/ on a real API server: it takes every object, the roles are as small as they say, and the
guide's commands do what it tells."""

from __future__ import annotations

import http
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controlplane.api import Api, Document, Refused
from tests.controlplane.build import programs
from tests.controlplane.cluster import EXTRAS, KWOK, ControlPlane
from tests.controlplane.install import (
    BASE,
    COMMAND_SECONDS_MAX,
    KINDS,
    NAMESPACE,
    account,
    apply,
    install,
    is_served,
    kubectl,
)
from tests.controlplane.nodes import add_nodes, ready_nodes
from tests.integration.kubernetes.pods import OURS, a_deployment
from tests.integration.kubernetes.services import as_shipped
from tests.waiting import until_blocking

ROOT = Path(__file__).resolve().parent.parent.parent.parent
GUIDE = ROOT / "docs" / "guides" / "kubernetes.md"
REQUESTS = "/apis/godel.dev/v1/namespaces/default/placementrequests"
GROUPS = "/apis/scheduling.godel.kubewharf.io/v1alpha1/namespaces/default/podgroups"
READY_SECONDS = 60.0
SEEN = {
    "phase": "Bound",
    "placed": 1,
    "members": [{"group": 0, "ordinal": 0, "node": "n"}],
    "message": "why",
}


@pytest.fixture(scope="module")
def installed(bare_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Api:
    """The base and its Secrets, applied twice, on an API server where nothing acts on them."""
    folder = tmp_path_factory.mktemp("certs")
    secrets = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "certs", str(folder), "--secrets"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    apply(bare_control_plane, "-f", str(BASE / "namespace.yaml"))
    objects = len(built(bare_control_plane))
    for _ in range(2):
        apply(bare_control_plane, "-f", "-", sent=secrets)
        assert len(apply(bare_control_plane, "-k", str(BASE))) == objects
    api = bare_control_plane.admin
    until_blocking("our kinds are served", lambda: all(is_served(api, path) for path in KINDS))
    return api


def built(cluster: ControlPlane) -> list[Document]:
    """The base as kustomize makes it."""
    return list(yaml.safe_load_all(kubectl(cluster.kubeconfig, "kustomize", str(BASE))))


def test_the_overlay_adds_certificates_for_every_secret(bare_control_plane: ControlPlane) -> None:
    overlay = kubectl(
        bare_control_plane.kubeconfig, "kustomize", str(BASE.parent / "overlays/cert-manager")
    )
    objects = list(yaml.safe_load_all(overlay))
    assert len(objects) > len(built(bare_control_plane))
    made = {o["spec"]["secretName"] for o in objects if o["kind"] == "Certificate"}
    for each in objects:
        template = each.get("spec", {}).get("template", {}).get("spec", {})
        for volume in template.get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["secretName"] in made
        if each["kind"] != "Namespace" and each["apiVersion"].startswith("cert-manager"):
            assert each["metadata"]["namespace"] == NAMESPACE


def test_its_pods_pass_the_restricted_standard(
    installed: Api, bare_control_plane: ControlPlane
) -> None:
    assert (
        installed.get(f"/api/v1/namespaces/{NAMESPACE}")["metadata"]["labels"][
            "pod-security.kubernetes.io/enforce"
        ]
        == "restricted"
    )
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All"
    workloads = [o for o in built(bare_control_plane) if "template" in o.get("spec", {})]
    assert len(workloads) == 3
    for each in workloads:
        template = each["spec"]["template"]
        template["metadata"]["generateName"] = "dry-"
        installed.create(pods, template)
        del template["spec"]["containers"][0]["securityContext"]["capabilities"]
        with pytest.raises(Refused, match="unrestricted capabilities"):
            installed.create(pods, template)


@dataclass(frozen=True)
class Ask:
    """What an account may do, or may not."""

    verbs: str
    resource: str
    group: str = ""
    namespace: str = "default"
    account: str = "godel-binder"
    want: bool = True


GODEL = "scheduling.godel.kubewharf.io"
ASKED = [
    Ask("get list watch", "nodes"),
    Ask("get list watch delete", "pods"),
    Ask("create", "pods/binding"),
    Ask("patch", "pods/status"),
    Ask("create patch", "events"),
    Ask("create patch", "events", "events.k8s.io"),
    Ask("get create update", "leases", "coordination.k8s.io", NAMESPACE),
    Ask("get list watch", "podgroups", GODEL),
    Ask("patch", "podgroups/status", GODEL),
    Ask("get list watch create update delete", "placementrequests", "godel.dev"),
    Ask("update patch", "placementrequests/status", "godel.dev"),
    Ask("create update patch", "pods", want=False),
    Ask("create", "pods/eviction pods/exec", want=False),
    Ask("update patch delete", "nodes nodes/status", want=False),
    Ask("get list watch", "secrets configmaps", namespace=NAMESPACE, want=False),
    Ask("get create update", "leases", "coordination.k8s.io", "kube-system", want=False),
    Ask("update patch delete", "podgroups", GODEL, want=False),
    Ask("get create delete", "placementrequests", "godel.dev", NAMESPACE, "godel-dispatcher"),
    Ask("update", "placementrequests/status", "godel.dev", NAMESPACE, "godel-dispatcher", False),
    Ask("create", "placementrequests", "godel.dev", account="godel-dispatcher", want=False),
    Ask("get list watch", "pods nodes", account="godel-dispatcher", want=False),
    Ask("get list watch", "pods nodes", account="godel-scheduler", want=False),
]


@pytest.mark.parametrize("ask", ASKED, ids=lambda a: f"{a.account} {a.verbs} {a.resource} {a.want}")
def test_an_account_may_do_what_it_needs_and_no_more(ask: Ask, installed: Api) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:{ask.account}"
    for resource in ask.resource.split():
        name, _, sub = resource.partition("/")
        for verb in ask.verbs.split():
            attributes = {
                "verb": verb,
                "group": ask.group,
                "resource": name,
                "subresource": sub,
                "namespace": ask.namespace,
            }
            review = installed.create(
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                {"spec": {"user": user, "resourceAttributes": attributes}},
            )
            assert review["status"]["allowed"] is ask.want, (verb, resource)


def test_a_kubeconfig_of_the_shipped_account_is_that_account(
    installed: Api, bare_control_plane: ControlPlane
) -> None:
    install(bare_control_plane)
    for _ in range(2):
        with Api(account(bare_control_plane, "godel-binder")) as binder:
            assert "items" in binder.get("/api/v1/pods")
            with pytest.raises(Refused, match=r"cannot list resource .*secrets"):
                binder.get("/api/v1/secrets")


def a_request(name: str, **group: Any) -> Document:
    groups = [{"class": {"demand": {"cpu": 1}}, **group}]
    return {
        "apiVersion": "godel.dev/v1",
        "kind": "PlacementRequest",
        "metadata": {"name": name},
        "spec": {"priority": 3, "groups": groups},
    }


def test_a_request_keeps_its_class_and_its_status_is_written_apart(installed: Api) -> None:
    made = installed.create(REQUESTS, a_request("gang", role="web", count=3, min=2, pin="n"))
    assert made["spec"]["groups"][0]["class"] == {"demand": {"cpu": 1}}
    member = {"group": 0, "ordinal": 1, "object": "uid", "node": "n"}
    status = {
        "phase": "Placing",
        "revision": 1,
        "unit": "team/gang",
        "attempt": str((1 << 64) - 1),
        "handle": (1 << 32) - 1,
        "placed": 1,
        "minima": [{"group": 0, "count": 2}],
        "members": [member],
        "message": "waits",
    }
    ignored = installed.merge(f"{REQUESTS}/gang", {"status": status})
    assert "status" not in ignored
    written = installed.merge(f"{REQUESTS}/gang/status", {"status": status, "spec": {}})
    assert written["status"] == status
    assert written["spec"] == made["spec"]
    assert written["metadata"]["generation"] == made["metadata"]["generation"]


@pytest.mark.parametrize(
    ("group", "want"),
    [
        ({"count": 2, "min": 3}, "min is above count"),
        ({"min": 2}, "min is above count"),
        ({"count": 0}, "should be greater than or equal to 1"),
        ({"role": 3}, "must be of type string"),
    ],
    ids=str,
)
def test_a_request_that_cannot_work_is_refused(
    group: dict[str, Any], want: str, installed: Api
) -> None:
    with pytest.raises(Refused, match=want) as refused:
        installed.create(REQUESTS, a_request("bad", **group))
    assert refused.value.status == http.HTTPStatus.UNPROCESSABLE_ENTITY


def test_people_see_phase_nodes_and_message(
    installed: Api, bare_control_plane: ControlPlane
) -> None:
    installed.create(REQUESTS, a_request("seen"))
    installed.merge(f"{REQUESTS}/seen/status", {"status": SEEN})
    head, row = kubectl(bare_control_plane.kubeconfig, "get", "pr", "seen").splitlines()
    assert head.split() == ["NAME", "PHASE", "PLACED", "NODE", "AGE", "MESSAGE"]
    assert [row.split()[i] for i in (0, 1, 2, 3, 5)] == ["seen", "Bound", "1", "n", "why"]


def test_a_unit_is_not_changed(installed: Api) -> None:
    installed.create(REQUESTS, a_request("fixed"))
    with pytest.raises(Refused, match="deleted and made anew"):
        installed.merge(f"{REQUESTS}/fixed", {"spec": {"priority": 7}})
    installed.merge(f"{REQUESTS}/fixed", {"metadata": {"labels": {"team": "a"}}})


def test_a_pod_group_has_the_published_fields(
    installed: Api, bare_control_plane: ControlPlane
) -> None:
    spec = {
        "minMember": 2,
        "scheduleTimeoutSeconds": 30,
        "priorityClassName": "high",
        "affinity": {"podGroupAffinity": {"required": [{"topologyKey": "rack"}]}},
    }
    made = installed.create(
        GROUPS,
        {
            "apiVersion": f"{GODEL}/v1alpha1",
            "kind": "PodGroup",
            "spec": spec,
            "metadata": {"name": "gang"},
        },
    )
    assert made["spec"] == spec
    status = {"phase": "Scheduled", "running": 2, "scheduleStartTime": "2026-01-01T00:00:00Z"}
    written = installed.merge(f"{GROUPS}/gang/status", {"status": status})
    assert written["status"] == status
    with pytest.raises(Refused, match="Unsupported value"):
        installed.merge(f"{GROUPS}/gang/status", {"status": {"phase": "Lost"}})
    head = kubectl(bare_control_plane.kubeconfig, "get", "podgroups").splitlines()[0]
    assert head.split() == ["NAME", "MIN", "PHASE", "AGE"]


def steps(heading: str) -> str:
    """The commands below a heading of the guide."""
    below = GUIDE.read_text().split(f"## {heading}\n", 1)[1]
    found = re.search(r"^```\n(.*?)^```$", below, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found.group(1)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the guide's commands are run in: a clone's deploy/."""
    shutil.copytree(ROOT / "deploy", tmp_path / "clone" / "deploy")
    return tmp_path / "clone"


@pytest.fixture
def with_nodes(own_control_plane: ControlPlane) -> ControlPlane:
    """A control plane with nodes, which a test changes."""
    own_control_plane.start(*EXTRAS)
    add_nodes(own_control_plane.admin, 2)
    own_control_plane.processes.until(
        KWOK, lambda: len(ready_nodes(own_control_plane.admin)) == 2, READY_SECONDS
    )
    return own_control_plane


def follow(guide: str, clone: Path, cluster: ControlPlane) -> None:
    """Run commands of the guide as a person would."""
    tools = clone / "bin"
    tools.mkdir(exist_ok=True)
    for name, path in (("kubectl", programs()["kubectl"]), ("godel", godel())):
        (tools / name).unlink(missing_ok=True)
        (tools / name).symlink_to(path)
    ran = subprocess.run(
        ["sh", "-euc", guide],
        cwd=clone,
        env={
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "KUBECONFIG": str(cluster.kubeconfig),
            "REPOSITORY": "example.test/team",
        },
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def godel() -> Path:
    """The command of the environment that runs the tests."""
    return Path(sys.executable).with_name("godel")


async def test_the_guide_installs_moves_a_deployment_over_and_back(
    clone: Path, with_nodes: ControlPlane
) -> None:
    """The install's own pods run no image here; the services are processes, as its account."""
    api = with_nodes.admin
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    api.create(deployments, a_deployment("web", 3))
    follow(steps("Install"), clone, with_nodes)
    pods = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {
        "example.test/team/godel-scheduler:0.1.0"
    }
    assert len(pods) == 6
    async with as_shipped(with_nodes).running():
        follow(steps("Move one Deployment over"), clone, with_nodes)
        until_blocking("our pods run", lambda: len(running(api, OURS)) == 3)
        until_blocking("no other runs", lambda: running(api, "default-scheduler") == [])
        follow(steps("Move back"), clone, with_nodes)
        assert api.get(f"{deployments}/web")["status"]["availableReplicas"] == 3
        until_blocking("none of ours runs", lambda: running(api, OURS) == [])


def running(api: Api, scheduler: str) -> list[str]:
    """Pods of a scheduler that run."""
    return [
        pod["metadata"]["name"]
        for pod in api.get("/api/v1/namespaces/default/pods")["items"]
        if pod["spec"]["schedulerName"] == scheduler and pod["status"].get("phase") == "Running"
    ]
