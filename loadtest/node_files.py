"""Which nodes to simulate: a number of like nodes, an OpenB CSV file, or a YAML file.

A YAML file has Kubernetes Node objects, or one field, `nodes`: a list of {name, count, allocatable,
labels, taints, cordoned}; amounts are quantities as Kubernetes writes them, and `count: 3` with
`name: gpu-` makes gpu-0000 to gpu-0002.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cell.node import NODES_MAX, NodeSpec
from godel.v1 import cluster_pb2
from loadtest import openb
from runtime.fields import BadManifest, Fields
from runtime.quantities import BadQuantity, parse, units

GIB = 1 << 30
LIKE_NODE = {"cpu": 32_000, "memory": 128 * GIB, "pods": 110}
"""Allocatable of each node when only their number is given."""
_FIELDS = ("name", "count", "allocatable", "labels", "taints", "cordoned")
_TAINT_FIELDS = ("key", "value", "effect")


class BadNodes(ValueError):
    """Nodes that cannot be read; the text names file and field."""


def nodes_of(text: str) -> list[cluster_pb2.Node]:
    """The nodes of a command line's `--nodes N|FILE`. Raises BadNodes."""
    if text.isascii() and text.isdecimal():
        count = int(text)
        if count > NODES_MAX:
            raise BadNodes(f"{count} nodes, limit {NODES_MAX}")
        return [cluster_pb2.Node(name=f"node-{i:05}", allocatable=LIKE_NODE) for i in range(count)]
    path = Path(text)
    if path.suffix == ".csv":
        try:
            return [openb.node_message(node) for node in openb.read_nodes(path)]
        except openb.BadTrace as error:
            raise BadNodes(str(error)) from None
    return read_yaml(path)


def read_yaml(path: Path) -> list[cluster_pb2.Node]:
    """The nodes of a YAML or JSON file. Raises BadNodes."""
    from runtime import node_manifest
    from runtime.documents import BadDocument, read_all

    try:
        documents = read_all([str(path)])
        if len(documents) == 1 and _is_own(documents[0].content):
            return from_document(documents[0].content)
        return [_message(spec) for spec in node_manifest.nodes(documents)]
    except (BadManifest, BadDocument) as error:
        text = str(error)
        raise BadNodes(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _is_own(content: Any) -> bool:
    return isinstance(content, dict) and "nodes" in content


def _message(spec: NodeSpec) -> cluster_pb2.Node:
    return cluster_pb2.Node(
        name=spec.name,
        allocatable=dict(spec.allocatable),
        labels=dict(spec.labels),
        taints=[
            cluster_pb2.Taint(key=taint.key, value=taint.value, effect=taint.effect)
            for taint in spec.taints
        ],
        is_cordoned=spec.unschedulable,
    )


def from_document(content: Any) -> list[cluster_pb2.Node]:
    """The nodes of a parsed YAML document. Raises BadManifest."""
    document = Fields(content)
    document.refuse_unknown(("nodes",))
    nodes: list[cluster_pb2.Node] = []
    for item in document.each("nodes"):
        nodes += _nodes(item)
    names: set[str] = set()
    for node in nodes:
        if node.name in names:
            raise BadManifest("nodes", f"{node.name} is there twice")
        names.add(node.name)
    return nodes


def _nodes(item: Fields) -> list[cluster_pb2.Node]:
    item.refuse_unknown(_FIELDS)
    name = item.text("name")
    if not name:
        raise BadManifest(item.at("name"), "is empty")
    node = cluster_pb2.Node(
        allocatable=_amounts(item.fields("allocatable")),
        labels=dict(item.pairs("labels")),
        taints=[_taint(taint) for taint in item.each("taints")],
        is_cordoned=item.flag("cordoned"),
    )
    if "count" not in item:
        node.name = name
        return [node]
    made = []
    for i in range(item.integer("count", 1, 1, NODES_MAX)):
        each = cluster_pb2.Node(name=f"{name}{i:04}")
        each.MergeFrom(node)
        made.append(each)
    return made


def _amounts(fields: Fields) -> dict[str, int]:
    amounts = {}
    for name in fields:
        try:
            amounts[name] = units(name, parse(fields.raw(name)))
        except BadQuantity as error:
            raise BadManifest(fields.at(name), str(error)) from None
    return amounts or dict(LIKE_NODE)


def _taint(fields: Fields) -> cluster_pb2.Taint:
    fields.refuse_unknown(_TAINT_FIELDS)
    return cluster_pb2.Taint(
        key=fields.text("key"), value=fields.text("value"), effect=fields.text("effect")
    )
