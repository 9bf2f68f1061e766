"""What deploy/ promises as text: nothing is left out, and its parts name each other rightly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from binder.__main__ import Settings as BinderSettings
from dispatcher.__main__ import Settings as DispatcherSettings
from runtime.cli.main import COMMANDS
from runtime.config import ServiceConfig, load
from runtime.issuing import names_of
from runtime.tls import FILES
from scheduler.__main__ import Settings as SchedulerSettings

DEPLOY = Path(__file__).resolve().parent.parent.parent.parent / "deploy"
BASE = DEPLOY / "base"
SERVICES = ("binder", "dispatcher", "scheduler")
KINDS: dict[str, type[ServiceConfig]] = {
    "binder": BinderSettings,
    "dispatcher": DispatcherSettings,
    "scheduler": SchedulerSettings,
}

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    return list(yaml.safe_load_all(path.read_text()))


def workload(service: str) -> Document:
    (found,) = documents(BASE / f"{service}.yaml")
    return dict(found)


def pod(service: str) -> Document:
    found: Document = workload(service)["spec"]["template"]["spec"]
    return found


def container(service: str) -> Document:
    (found,) = pod(service)["containers"]
    return dict(found)


def settings(service: str) -> ServiceConfig:
    """The settings as the service reads them."""
    return load(KINDS[service], str(BASE / "settings" / f"{service}.yaml"), {}, {})


KUSTOMIZATIONS = sorted(DEPLOY.rglob("kustomization.yaml"))


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_a_kustomization_lists_every_file_beside_it(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    listed = set(content["resources"])
    for generated in content.get("configMapGenerator", []):
        listed |= set(generated["files"])
    found = set()
    for each in sorted(path.parent.rglob("*.yaml")):
        if each.parent != path.parent and (each.parent / "kustomization.yaml").exists():
            found.add(each.parent.relative_to(path.parent).as_posix())
        elif each != path:
            found.add(each.relative_to(path.parent).as_posix())
    assert {name for name in listed if not name.startswith("..")} == found
    assert all((path.parent / name).exists() for name in listed)


@pytest.mark.parametrize("service", SERVICES)
def test_settings_are_what_the_service_reads(service: str) -> None:
    made = settings(service)
    mounts = {m["name"]: m["mountPath"] for m in container(service)["volumeMounts"]}
    assert made.state.startswith(f"{mounts['scratch']}/")
    for name in FILES:
        assert getattr(made.tls.link, name).startswith(f"{mounts['tls']}/")
    config = f"{mounts['settings']}/{service}.yaml"
    assert config in " ".join(container(service)["args"])
    volumes = {volume["name"]: volume for volume in pod(service)["volumes"]}
    assert volumes["settings"]["configMap"]["name"] == f"godel-{service}"
    assert volumes["tls"]["secret"]["secretName"] == f"godel-{service}-tls"


def test_the_links_meet() -> None:
    services = {each["metadata"]["name"]: each for each in documents(BASE / "services.yaml")}
    made = {service: settings(service) for service in SERVICES}
    for dialing, dialled in [
        ("dispatcher", "binder"),
        ("scheduler", "binder"),
        ("scheduler", "dispatcher"),
    ]:
        host, port = getattr(made[dialing], dialled).split(":")
        target = services[host]["spec"]
        assert target["clusterIP"] == "None"
        assert target["selector"] == workload(dialled)["spec"]["selector"]["matchLabels"]
        assert str(target["ports"][0]["port"]) == port
        assert made[dialled].link.endswith(f":{port}")
        assert dialing in made[dialled].tls.link.peers


def test_schedulers_share_the_nodes_and_have_names_in_the_certificate() -> None:
    replicas = workload("scheduler")["spec"]["replicas"]
    arguments = container("scheduler")["args"]
    assert f"--partitions={replicas}" in arguments
    assert {f"scheduler-{i}" for i in range(replicas)} <= set(names_of(16)["scheduler"])
    certificates = documents(DEPLOY / "overlays" / "cert-manager" / "certificates.yaml")
    names = {each["metadata"]["name"]: each["spec"].get("dnsNames") for each in certificates}
    assert names["godel-scheduler"] == list(names_of(replicas)["scheduler"])
    for service in ("binder", "client", "dispatcher"):
        assert tuple(names[f"godel-{service}"]) == names_of(1)[service]


@pytest.mark.parametrize("service", SERVICES)
def test_probes_ask_the_socket_of_the_service(service: str) -> None:
    made = settings(service)
    socket = made.client if made.client.startswith("unix:") else ""
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        command = container(service)[probe]["exec"]["command"]
        assert command[:2] == ["godel", "health"]
        # Variables are not expanded in probes, so the address is written out.
        assert command[-1] == (socket or f"unix:{made.state}/{made.name}.sock")
    assert container(service)["args"][0] in COMMANDS
    assert "--alive" in container(service)["livenessProbe"]["exec"]["command"]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_runs_as_root_or_writes_its_image(service: str) -> None:
    assert pod(service)["securityContext"]["runAsNonRoot"] is True
    assert pod(service)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container(service)["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_only_who_asks_the_api_server_is_given_a_token() -> None:
    accounts = {each["metadata"]["name"]: each for each in documents(BASE / "accounts.yaml")}
    with_token = [
        name
        for name, account in accounts.items()
        if account.get("automountServiceAccountToken") is not False
    ]
    assert with_token == ["godel-binder", "godel-dispatcher"]
    assert [pod(service)["serviceAccountName"] for service in SERVICES] == sorted(accounts)


def test_the_image_is_built_for_pythons_that_the_project_takes() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    version = tuple(map(int, text.split("ARG PYTHON=")[1].split()[0].split(".")))
    assert version >= (3, 11)
