"""`godel what-if`: files in, placements or feasible nodes out, no service asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.conftest import Godel

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
WEB = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}


def a_node(name: str, cpu: int = 4, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels}
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": 10}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "status": {"allocatable": allocatable},
    }


def a_pod(name: str, cpu: int = 1, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    metadata = {"name": name, "labels": {"app": "web"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], **spec},
    }


def apart() -> dict[str, Any]:
    return {"podAntiAffinity": {REQUIRED: [WEB]}}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def made(name: str, *objects: dict[str, Any]) -> str:
        path = tmp_path / name
        path.write_text(yaml.safe_dump_all(objects))
        return str(path)

    return made


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_each_pod_sees_those_before_it(godel: Godel, write: Any) -> None:
    nodes = [a_node("n1", zone="a"), a_node("n2", zone="b")]
    pods = [a_pod(f"p{i}", affinity=apart()) for i in range(3)]
    ran = godel("what-if", "-f", write("c.yaml", *nodes, *pods), "-o", "json")
    found = lines(ran.out)
    assert ran.code == 1
    assert {line["node"] for line in found[:2]} == {"n1", "n2"}
    assert found[2]["node"] == ""
    assert found[2]["reasons"] == {n: ["pod anti-affinity is not met"] for n in ("n1", "n2")}


def test_feasible_nodes_are_judged_against_the_same_state(godel: Godel, write: Any) -> None:
    nodes = [a_node("n1", zone="a"), a_node("n2", cpu=1, zone="b")]
    running = a_pod("r", nodeName="n1")
    pods = [a_pod("p1", affinity=apart()), a_pod("p2", cpu=2)]
    ran = godel(
        "what-if", "--feasible", "-f", write("c.yaml", *nodes, running, *pods), "-o", "json"
    )
    one, other = lines(ran.out)
    assert (one["feasible"], other["feasible"]) == (["n2"], ["n1"])
    assert other["scores"]["n1"]["total"] > 0
    assert ran.code == 0


def test_higher_priorities_come_first(godel: Godel, write: Any) -> None:
    pods = [a_pod("low", cpu=3), a_pod("high", cpu=3, priority=5)]
    out = godel("what-if", "-f", write("c.yaml", a_node("n1"), *pods), "-o", "json").out
    assert [(line["pod"], line["node"]) for line in lines(out)] == [
        ("default/high", "n1"),
        ("default/low", ""),
    ]


def test_several_files_are_one_cluster_or_each_its_own(godel: Godel, write: Any) -> None:
    one, other = write("a.yaml", a_node("n1"), a_pod("p")), write("b.yaml", a_pod("q", cpu=4))
    both = lines(godel("what-if", "-f", one, "-f", other, "-o", "json").out)
    assert [line["node"] for line in both] == ["n1", ""]
    assert [Path(line["file"]).name for line in both] == ["a.yaml", "b.yaml"]
    alone = lines(godel("what-if", "--each", "-f", one, "-f", other, "-o", "json").out)
    assert [(line["node"], line["reasons"]) for line in alone] == [("n1", {}), ("", {})]


def test_a_pod_that_cannot_be_honoured_says_so_and_hides_nobody(godel: Godel, write: Any) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x"}}
    claimed = a_pod("c", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}])
    ran = godel(
        "what-if", "-f", write("c.yaml", a_node("n1"), claim, claimed, a_pod("p")), "-o", "json"
    )
    refused, placed = lines(ran.out)
    assert "claim default/x is not bound to a volume yet" in refused["reasons"]["n1"][0]
    assert placed["node"] == "n1"


def test_a_gang_is_placed_whole_or_not_at_all(godel: Godel, write: Any) -> None:
    unit = {
        "apiVersion": "godel.dev/v1",
        "kind": "Unit",
        "metadata": {"name": "g"},
        "spec": {"groups": [{"count": 3, "demand": {"cpu": 2}}]},
    }
    ran = godel("what-if", "-f", write("c.yaml", a_node("n1"), unit))
    assert ran.code == 1
    assert ran.out.splitlines()[1].split() == ["g/0", "-"]


def test_workloads_are_read_with_the_whole_cluster(godel: Godel, write: Any) -> None:
    """A priority class of another file, and labels of namespaces."""
    rank = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 9,
    }
    template = a_pod("t", cpu=3, priorityClassName="high")
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 1, "template": template},
    }
    files = [write("a.yaml", a_node("n1"), a_pod("p", cpu=3), deployment), write("b.yaml", rank)]
    ran = godel("what-if", "-f", files[0], "-f", files[1], "-o", "json")
    assert [line["node"] for line in lines(ran.out)] == ["n1", ""]
    assert lines(ran.out)[0]["pod"] == "default/d-0/0"


def test_bad_files_are_told_by_their_field(godel: Godel, write: Any) -> None:
    broken = a_node("n1")
    broken["status"]["allocatable"]["cpu"] = "many"
    ran = godel("what-if", "-f", write("c.yaml", broken))
    assert ran.code == 2
    assert "status.allocatable[cpu]" in ran.err
