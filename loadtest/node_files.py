"""Which nodes to simulate: a number of like nodes, an OpenB CSV file, or a YAML file.

A YAML file has one field, `nodes`, a list of {name, count, allocatable, labels, taints, cordoned};
amounts are quantities as Kubernetes writes them, and `count: 3` with `name: gpu-` makes gpu-0000 to
gpu-0002.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cell.node import NODES_MAX
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
    """The nodes of a YAML file. Raises BadNodes."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        nodes = from_document(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, BadManifest) as error:
        raise BadNodes(f"{path}: {error}") from None
    return nodes


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
