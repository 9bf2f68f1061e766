"""Which nodes are simulated."""

from pathlib import Path

import pytest

from loadtest.node_files import BadNodes, nodes_of

OWN = """\
nodes:
- name: gpu-
  count: 2
  allocatable: {cpu: 64, memory: 512Gi, gpu: 1500m}
  labels: {rack: r1}
  taints: [{key: gpu, effect: NoSchedule}]
- name: lone
  cordoned: true
"""
KUBERNETES = """\
apiVersion: v1
kind: Node
metadata: {name: a, labels: {x: y}}
status: {allocatable: {cpu: "2", memory: 1Ki, pods: "5"}}
"""


def test_a_number_makes_like_nodes() -> None:
    nodes = nodes_of("3")

    assert [node.name for node in nodes] == ["node-00000", "node-00001", "node-00002"]
    assert len({str(node.allocatable) for node in nodes}) == 1


def test_our_own_file_has_counts_labels_taints_and_cordons(tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(OWN)

    first, second, lone = nodes_of(str(path))

    assert (first.name, second.name, lone.name) == ("gpu-0000", "gpu-0001", "lone")
    assert dict(second.allocatable) == {"cpu": 64_000, "memory": 512 << 30, "gpu": 1500}
    assert dict(first.labels) == {"rack": "r1"}
    assert [(t.key, t.value, t.effect) for t in first.taints] == [("gpu", "", "NoSchedule")]
    assert lone.is_cordoned


def test_kubernetes_nodes_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(KUBERNETES)

    (node,) = nodes_of(str(path))

    assert node.name == "a"
    assert dict(node.allocatable) == {"cpu": 2000, "memory": 1024, "pods": 5}
    assert node.labels["x"] == "y"


def test_a_csv_file_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("sn,cpu_milli,memory_mib,gpu,model\na,1,2,3,G2\n")

    (node,) = nodes_of(str(path))

    assert dict(node.allocatable) == {"cpu": 1, "memory": 2 << 20, "gpu": 3000}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("nodes: [{name: a}, {name: a}]", "a is there twice"),
        ("nodes: [{count: 2}]", "nodes[0].name: is empty"),
        ("nodes: [{name: a, cpus: 2}]", "nodes[0].cpus"),
        ("nodes: [{name: a, allocatable: {cpu: much}}]", "nodes[0].allocatable.cpu: 'much'"),
        ("nodes: {", "document 1"),
        ("other: 1", "kind"),
    ],
)
def test_a_bad_file_names_file_and_field(text: str, want: str, tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(text)

    with pytest.raises(BadNodes) as caught:
        nodes_of(str(path))

    assert str(caught.value).startswith(str(path))
    assert want in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadNodes, match="none"):
        nodes_of(str(tmp_path / "none.yaml"))
