"""`godel nodes`: list by default, register in batches, cordon and remove by name."""

from pathlib import Path

import pytest

from godel.v1 import cluster_pb2
from tests.unit.cli.canned import CannedCell
from tests.unit.cli.conftest import Godel


def a_node(name: str, *, is_cordoned: bool = False) -> cluster_pb2.NodeView:
    """A node of 4 cores, 1.5 of them used."""
    return cluster_pb2.NodeView(
        name=name,
        incarnation=1,
        generation=9,
        is_cordoned=is_cordoned,
        allocatable={"cpu": 4000, "memory": 8 << 30, "pods": 110, "example.com/x": 3},
        used={"cpu": 1500, "pods": 2},
        claims=2,
    )


def manifests(*names: str) -> str:
    """Node objects."""
    return "---\n".join(
        f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n"
        "status: {allocatable: {cpu: 4, memory: 8Gi}}\n"
        for name in names
    )


@pytest.mark.parametrize("arguments", [(), ("list",), ("--prefix", "n")], ids=str)
def test_nodes_are_listed_by_default(
    godel: Godel, cell: CannedCell, arguments: tuple[str, ...]
) -> None:
    cell.cluster.nodes = [a_node("n1"), a_node("n2", is_cordoned=True)]
    ran = godel("nodes", *arguments)
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["NODE", "STATUS", "CPU", "MEMORY", "PODS"],
        ["n1", "ready", "1.5/4", "0/8Gi", "2/110"],
        ["n2", "cordoned", "1.5/4", "0/8Gi", "2/110"],
    ]


def test_wide_shows_all_resources(godel: Godel, cell: CannedCell) -> None:
    cell.cluster.nodes = [a_node("n1")]
    out = godel("nodes", "-o", "wide").out
    assert "EXAMPLE.COM/X" in out
    assert "0/3" in out


def test_nodes_as_json(godel: Godel, cell: CannedCell) -> None:
    cell.cluster.nodes = [a_node("n1"), a_node("m1")]
    (node,) = godel("nodes", "list", "--prefix", "n", "-o", "json").json()["nodes"]
    assert (node["name"], node["is_cordoned"], node["generation"]) == ("n1", False, 9)
    assert node["used"] == {"cpu": 1500, "pods": 2}


def test_nodes_are_registered_in_batches(godel: Godel, cell: CannedCell, tmp_path: Path) -> None:
    (tmp_path / "nodes.yaml").write_text(manifests(*(f"n{i}" for i in range(1200))))
    ran = godel("nodes", "register", "-f", str(tmp_path))
    assert (ran.code, ran.out) == (0, "registered 1,200 nodes\n")
    assert [len(each.nodes) for each in cell.cluster.requests] == [1000, 200]
    first = cell.cluster.requests[0].nodes[0]
    assert first.allocatable == {"cpu": 4000, "memory": 8 << 30, "pods": 110}


def test_refused_nodes_are_listed_by_name(godel: Godel, cell: CannedCell, tmp_path: Path) -> None:
    (tmp_path / "nodes.yaml").write_text(manifests("n1", "bad2"))
    ran = godel("nodes", "register", "-f", str(tmp_path))
    assert (ran.code, ran.out) == (1, "registered 1 node\n")
    assert ran.err.splitlines()[1].split() == ["bad2", "RESOURCE_EXHAUSTED", "key", "full"]


def test_a_bad_file_registers_nothing(godel: Godel, cell: CannedCell, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(manifests("n1"))
    (tmp_path / "b.yaml").write_text(manifests("n1"))
    ran = godel("nodes", "register", "-f", str(tmp_path))
    assert ran.code == 2
    assert "n1 stands in" in ran.err
    assert cell.cluster.requests == []


def test_nodes_are_cordoned_uncordoned_and_removed(godel: Godel, cell: CannedCell) -> None:
    cell.cluster.nodes = [a_node("n1"), a_node("n2")]
    assert godel("nodes", "cordon", "n1", "node/n2").out == "cordoned 2 nodes\n"
    assert godel("nodes", "uncordon", "n1").out == "uncordoned 1 node\n"
    assert godel("nodes", "remove", "n1", "-o", "name").out == "node/n1\n"
    cordon, uncordon, remove = cell.cluster.requests
    assert (list(cordon.names), cordon.is_cordoned) == (["n1", "n2"], True)
    assert (list(uncordon.names), uncordon.is_cordoned) == (["n1"], False)
    assert list(remove.names) == ["n1"]


def test_an_unknown_node_is_not_found(godel: Godel, cell: CannedCell) -> None:
    ran = godel("nodes", "remove", "none")
    assert ran.code == 5
    assert "no such node" in ran.err
