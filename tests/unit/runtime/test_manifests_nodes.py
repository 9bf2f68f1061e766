"""From Kubernetes nodes to ours."""

from dataclasses import dataclass

import pytest

from cell.node import Taint
from runtime.documents import documents
from runtime.fields import BadManifest
from runtime.node_manifest import nodes

NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
spec: {unschedulable: true, taints: [{key: gpu, value: "yes", effect: NoSchedule}]}
status:
  capacity: {cpu: 4, memory: 8Gi}
  allocatable: {cpu: 3900m, memory: 7Gi, nvidia.com/gpu: 2, pods: 50}
"""


def test_a_node_with_what_pods_may_have() -> None:
    (node,) = nodes(documents(NODE, "f"))
    assert dict(node.allocatable) == {
        "cpu": 3900,
        "memory": 7 << 30,
        "nvidia.com/gpu": 2,
        "pods": 50,
    }
    assert dict(node.labels) == {"zone": "a"}
    assert node.taints == (Taint("gpu", "yes", "NoSchedule"),)
    assert node.unschedulable


def test_capacity_counts_where_nothing_is_allocatable() -> None:
    text = "{apiVersion: v1, kind: Node, metadata: {name: n}, status: {capacity: {cpu: 4}}}"
    (node,) = nodes(documents(text, "f"))
    assert dict(node.allocatable) == {"cpu": 4000, "pods": 110}
    assert not node.unschedulable


def test_a_list_of_nodes() -> None:
    item = "{apiVersion: v1, kind: Node, metadata: {name: n%d}}"
    items = ", ".join(item % i for i in range(3))
    found = nodes(documents(f"{{apiVersion: v1, kind: NodeList, items: [{items}]}}", "f"))
    assert [node.name for node in found] == ["n0", "n1", "n2"]


@dataclass(frozen=True)
class Bad:
    name: str
    text: str
    want: str


BAD = [
    Bad("another kind", NODE.replace("Node", "Pod"), "f: document 1: kind: v1 Pod is not v1 Node"),
    Bad("no name", NODE.replace("name: n1,", ""), "f: document 1: metadata.name: "),
    Bad(
        "a bad taint", NODE.replace("NoSchedule", "Never"), "f: document 1: spec.taints[0].effect: "
    ),
    Bad("a bad amount", NODE.replace("7Gi", "7Gb"), "f: document 1: status.allocatable[memory]: "),
    Bad("a huge amount", NODE.replace("7Gi", "7Ei"), "f: document 1: status.allocatable[memory]: "),
    Bad(
        "a node twice",
        f"{NODE}---{NODE}",
        "f: document 2: metadata.name: n1 stands in f: document 1",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_fault_names_its_place_and_field(case: Bad) -> None:
    with pytest.raises(BadManifest) as caught:
        nodes(documents(case.text, "f"))
    assert str(caught.value).startswith(case.want)
