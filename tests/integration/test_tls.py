"""A cell whose services meet over mutual TLS with the settings of deploy/, used by `godel`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.embedded import Embedded
from tests.waiting import until

SERVICES = ("binder", "dispatcher", "scheduler-0")
PORTS = ("dispatcher", "dispatcher-link", "binder", "binder-link")
SETTINGS = Path(__file__).resolve().parent.parent.parent / "deploy" / "base" / "settings"
OTHER_HOME = ("home", "kubernetes")
NODE = """
apiVersion: v1
kind: Node
metadata: {name: n0}
status: {allocatable: {cpu: "4", memory: 8Gi, pods: "100"}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec: {containers: [{name: c, resources: {requests: {cpu: "1"}}}]}
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line."""
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Secured(Embedded):
    """An embedded home whose listeners are on ports of the machine, with certificates."""

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__()
        self._ports = ports
        self.renew()
        for service in ("dispatcher", "binder", "scheduler"):
            (self.state / f"{service}.yaml").write_text(self._settings(service))
        (self.state / "sharding.yaml").write_text(self._controller())

    def renew(self) -> None:
        """Certificates of a new authority."""
        for file in ("ca.crt", "ca.key"):
            (self.state / "certs" / file).unlink(missing_ok=True)
        command("certs", str(self.state / "certs")).check_returncode()

    def _settings(self, service: str) -> str:
        """What deploy/ ships, for one machine: other places, ports, and the embedded home."""
        text = (SETTINGS / f"{service}.yaml").read_text()
        for name, port in self._ports.items():
            role, _, kind = name.partition("-")
            if kind:
                text = text.replace(f"godel-{role}-links:7001", f"127.0.0.1:{port}")
            if role == service:
                text = text.replace(f"[::]:{7001 if kind else 7000}", f"[::]:{port}")
        text = text.replace("/etc/godel/tls", str(self.state / "certs" / service))
        text = text.replace("/var/godel/state", str(self.state))
        kept = yaml.safe_load(text)
        return yaml.safe_dump({name: kept[name] for name in kept if name not in OTHER_HOME})

    def _controller(self) -> str:
        """The rolling controller dials the listener for clients."""
        directory = self.state / "certs" / "sharding"
        files = {
            "certificate": f"{directory}/tls.crt",
            "key": f"{directory}/tls.key",
            "authority": f"{directory}/ca.crt",
        }
        target = f"127.0.0.1:{self._ports['dispatcher']}"
        return yaml.safe_dump({"dispatcher": target, "tls": {"client": files}})

    def address(self, service: str) -> str:
        """See Embedded; the socket that probes ask."""
        return super().address(service.partition("-")[0])

    def command(self, service: str) -> list[str]:
        """See Embedded; with the settings."""
        file = self.state / f"{service.partition('-')[0]}.yaml"
        return [*super().command(service), "--config", str(file)]

    def write(self, name: str, text: str) -> str:
        """A file in the state directory."""
        path = self.state / name
        path.write_text(text)
        return str(path)

    def godel(
        self, *arguments: str, service: str = "dispatcher", name: str = "client"
    ) -> subprocess.CompletedProcess[str]:
        """A command that goes to a service's port, with the certificate of `name`."""
        certificates = str(self.state / "certs" / name)
        places = (f"--{service}", f"127.0.0.1:{self._ports[service]}", "--tls", certificates)
        return command(*arguments, *places, "--timeout", "30")

    def load(self) -> subprocess.CompletedProcess[str]:
        """`godel load`, which calls dispatcher and binder."""
        places = [f"--{name}=127.0.0.1:{self._ports[name]}" for name in ("dispatcher", "binder")]
        certificates = str(self.state / "certs" / "client")
        return command("load", "--rate=20", "--seconds=1", *places, "--tls", certificates)

    def place(self, name: str) -> None:
        """Submit a pod over the network and wait until it is bound."""
        submitted = self.godel("submit", "-f", self.write("pod.yaml", POD % name))
        assert submitted.returncode == 0, submitted.stderr
        bound = self.godel("watch", "--prefix", f"default/{name}", "--for", "bound")
        assert bound.returncode == 0, bound.stderr


@pytest.fixture
def secured(unused_tcp_port_factory: object) -> Iterator[Secured]:
    """Nothing runs yet."""
    assert callable(unused_tcp_port_factory)
    home = Secured({name: unused_tcp_port_factory() for name in PORTS})
    yield home
    home.remove()


async def test_a_cell_works_over_mutual_tls_and_takes_new_certificates(secured: Secured) -> None:
    secured.start(*SERVICES)
    await secured.serving(*SERVICES)
    node = secured.write("node.yaml", NODE)
    registered = secured.godel("nodes", "register", "-f", node, service="binder")
    assert registered.returncode == 0, registered.stderr
    secured.place("first")

    refused = secured.godel("get", name="scheduler")
    assert refused.returncode == 1
    assert "PERMISSION_DENIED: peer scheduler," in refused.stderr
    assert "a peer is not listed" in secured.log("dispatcher")

    secured.renew()
    secured.place("under-the-old-links")
    secured.kill("scheduler-0")
    secured.start("scheduler-0")
    await secured.serving("scheduler-0")
    secured.place("under-new-links")


async def test_the_controller_and_a_load_go_through_the_same_listeners(secured: Secured) -> None:
    services = (*SERVICES, "sharding")
    secured.start(*services)
    await secured.serving(*services)
    registered = secured.godel(
        *("nodes", "register", "-f", secured.write("node.yaml", NODE)), service="binder"
    )
    assert registered.returncode == 0, registered.stderr
    loaded = secured.load()
    assert loaded.returncode == 0, loaded.stderr

    async def is_found() -> bool:
        return "dispatcher found" in secured.log("sharding")

    await until("the controller has a session", is_found)


async def test_health_of_a_service_on_the_network_is_on_its_socket(secured: Secured) -> None:
    secured.start("binder")
    await secured.serving("binder")
    for flags in ([], ["--alive"]):
        ran = command("health", *flags, secured.address("binder"))
        assert (ran.returncode, ran.stdout) == (0, "SERVING\n")
