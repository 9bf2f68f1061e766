"""Requests of the Cluster API as node entries: register, cordon, remove.

Pure: the core commits what these return. An item that is refused is answered in band and disturbs
no other; asking for what is so already changes nothing and is acked.
"""

from __future__ import annotations

import msgspec
import numpy as np

from binder.ledger import Ledger
from binder.records import Journal, NodeEntry
from cell.messages import ITEMS_MAX, Acks, ClaimState, CordonNodes, RegisterNodes, RemoveNodes
from cell.node import NODE_RESOURCES_MAX, NODES_MAX, NodeSpec, normalise
from cell.reasons import Reason, Refusal, Status, Wake
from cell.requirements import BadSpec
from cell.unit import Verdict

NodeRequest = RegisterNodes | CordonNodes | RemoveNodes


class Asked(msgspec.Struct):
    """What a request comes to: entries to commit, what they wake, the answer."""

    entries: dict[int, NodeEntry]
    wakes: Wake = Wake.NONE
    refused: tuple[tuple[int, Refusal], ...] = ()


def answer_of(request: NodeRequest, asked: Asked) -> Acks:
    """The answer once the entries are durable."""
    return Acks(_count(request), asked.refused)


def too_many(request: NodeRequest) -> Refusal | None:
    """Why the request is refused whole, if it is."""
    count = _count(request)
    if count <= ITEMS_MAX:
        return None
    return Refusal(Status.RESOURCE_EXHAUSTED, "items", f"{count} items, limit {ITEMS_MAX}")


def ask(ledger: Ledger, request: NodeRequest) -> Asked:
    """Judge a request item by item."""
    asked = Asked({})
    names: dict[str, int] = {}
    resources: dict[str, None] = {}
    refusals: list[Refusal | None]
    match request:
        case RegisterNodes(nodes=nodes):
            refusals = [_register(ledger, node, asked, names, resources) for node in nodes]
        case CordonNodes(names=cordoned, is_cordoned=is_cordoned):
            refusals = [_cordon(ledger, n, asked, is_cordoned=is_cordoned) for n in cordoned]
        case RemoveNodes(names=removed):
            refusals = [_remove(ledger, name, asked) for name in removed]
    asked.refused = tuple((i, r) for i, r in enumerate(refusals) if r is not None)
    return asked


def failed_by(ledger: Ledger, entries: dict[int, NodeEntry]) -> Journal:
    """FAILED for each claim on nodes that are removed."""
    removed = [node for node, entry in entries.items() if entry.is_removed]
    if not removed:
        return Journal.empty()
    claims, units = ledger.claims, ledger.units
    is_hit = np.isin(claims.node, removed) & (claims.state != ClaimState.FREE)
    hit = np.flatnonzero(is_hit)
    unit = claims.unit[hit]
    order = np.lexsort(
        (claims.ordinal[hit], claims.group[hit], units.uid_lo[unit], units.uid_hi[unit])
    )
    hit, unit = hit[order], unit[order]
    return Journal.of(
        handle=units.handle[unit],
        uid_hi=units.uid_hi[unit],
        uid_lo=units.uid_lo[unit],
        revision=claims.revision[hit],
        attempt=claims.attempt[hit],
        verdict=Verdict.FAILED,
        reason=Reason.NODE_GONE,
        group=claims.group[hit],
        ordinal=claims.ordinal[hit],
        node=claims.node[hit],
        argument=0,
        klass=claims.klass[hit],
    )


def _count(request: NodeRequest) -> int:
    return len(request.nodes if isinstance(request, RegisterNodes) else request.names)


def _register(
    ledger: Ledger,
    item: NodeSpec,
    asked: Asked,
    names: dict[str, int],
    resources: dict[str, None],
) -> Refusal | None:
    try:
        spec = normalise(item)
    except BadSpec as error:
        return Refusal(Status.INVALID_ARGUMENT, error.field, error.reason)
    nodes = ledger.nodes
    added = [name for name in nodes.new_resources(spec) if name not in resources]
    if len(nodes.resources) + len(resources) + len(added) > NODE_RESOURCES_MAX:
        reason = f"the cluster would have more than {NODE_RESOURCES_MAX} resources"
        return Refusal(Status.RESOURCE_EXHAUSTED, "allocatable", reason)
    node = nodes.by_name.get(spec.name, names.get(spec.name, nodes.count + len(names)))
    if node >= NODES_MAX:
        return Refusal(Status.RESOURCE_EXHAUSTED, "name", f"limit of {NODES_MAX} nodes")
    resources.update(dict.fromkeys(added))
    if node >= nodes.count:
        names[spec.name] = node
    entry = asked.entries.get(node)
    if entry is None and node < nodes.count:
        entry = _present(ledger, node)
    if entry is not None and entry.spec == spec and not entry.is_removed:
        return None
    is_new = entry is None or entry.is_removed
    incarnation = entry.incarnation + is_new if entry else 1
    asked.entries[node] = NodeEntry(node, incarnation, spec)
    asked.wakes |= Wake.NODE_ADDED if is_new else Wake.NODE_CHANGED
    return None


def _cordon(ledger: Ledger, name: str, asked: Asked, *, is_cordoned: bool) -> Refusal | None:
    node = ledger.nodes.node_of(name)
    if node < 0:
        return _unknown(name)
    entry = _present(ledger, node)
    if entry.spec.unschedulable != is_cordoned:
        spec = msgspec.structs.replace(entry.spec, unschedulable=is_cordoned)
        asked.entries[node] = NodeEntry(node, entry.incarnation, spec)
        asked.wakes |= Wake.NONE if is_cordoned else Wake.NODE_CHANGED
    return None


def _remove(ledger: Ledger, name: str, asked: Asked) -> Refusal | None:
    node = ledger.nodes.by_name.get(name, -1)
    if node < 0:
        return _unknown(name)
    entry = _present(ledger, node)
    if not entry.is_removed:
        asked.entries[node] = NodeEntry(node, entry.incarnation, entry.spec, is_removed=True)
    return None


def _present(ledger: Ledger, node: int) -> NodeEntry:
    columns = ledger.nodes.columns
    return NodeEntry(
        node, int(columns.incarnation[node]), ledger.nodes.specs[node], not columns.present[node]
    )


def _unknown(name: str) -> Refusal:
    return Refusal(Status.NOT_FOUND, "name", f"no node {name!r}")
