"""What users see, as messages of the Placement API: views, summaries, refusals and changes.

Called by `placement_api` and `watch`. The parts of one message are published changes in order;
their indices of nodes and resources are shifted, so that one message has one list of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cell.columns import schema
from cell.messages import NO_NODE, ChangeRows, Changes, Summary, UnitView
from cell.reasons import Reason, Refusal
from cell.unit import Phase
from godel.v1 import placement_pb2, types_pb2

PHASES = {name: int(phase) for phase in Phase for name in (phase.name, phase.name.capitalize())}


def refused_items(items: Iterable[tuple[int, Refusal]]) -> list[types_pb2.Refused]:
    """Refusals by index."""
    return [
        types_pb2.Refused(
            index=index,
            code=int(refusal.status),
            field=refusal.field,
            reason=refusal.reason,
            retry_after_ms=refusal.retry_after_ms,
        )
        for index, refusal in items
    ]


def unit_view(view: UnitView) -> placement_pb2.UnitView:
    """One unit."""
    made = placement_pb2.UnitView(
        key=view.key,
        uid=view.uid,
        revision=view.revision,
        priority=view.priority,
        word=view.word,
        phases=view.phases,
        why=view.why,
        wakes=view.wakes,
        submitted_at_us=view.submitted_at_us,
        bound_at_us=view.bound_at_us,
        attempts=view.attempts,
    )
    for replica in view.replicas:
        made.replicas.add(
            group=replica.group,
            ordinal=replica.ordinal,
            phase=PHASES[replica.phase],
            node=replica.node,
        )
    return made


def summary(counts: Summary) -> placement_pb2.Summary:
    """Counts over all units."""
    return placement_pb2.Summary(words=counts.words, why=counts.why)


def pages(views: Sequence[UnitView], rows_max: int) -> Iterator[list[placement_pb2.UnitView]]:
    """Units in parts of at most `rows_max` units and replicas, unless one unit has more."""
    page: list[placement_pb2.UnitView] = []
    rows = 0
    for view in views:
        size = 1 + len(view.replicas)
        if page and rows + size > rows_max:
            yield page
            page, rows = [], 0
        page.append(unit_view(view))
        rows += size
    if page:
        yield page


def with_prefix(changes: Changes, prefix: str, low: str, high: str) -> Changes | None:
    """The changes of units with the prefix; `low` and `high` are the least and greatest key."""
    if low.startswith(prefix) and high.startswith(prefix):
        return changes
    if high < prefix or (low > prefix and not low.startswith(prefix)):
        return None
    rows = [i for i, key in enumerate(changes.keys) if key.startswith(prefix)]
    return narrowed(changes, np.array(rows, np.int64)) if rows else None


def split(changes: Changes, rows_max: int) -> Iterator[Changes]:
    """The changes in parts of at most `rows_max`."""
    count = len(changes.keys)
    if count <= rows_max:
        yield changes
        return
    for start in range(0, count, rows_max):
        yield narrowed(changes, np.arange(start, min(start + rows_max, count)))


def narrowed(changes: Changes, places: NDArray[np.int64]) -> Changes:
    """The rows at `places`, with the names that they use."""
    columns = dict(vars(changes.rows.take(places)))
    node, argument = columns["node"], columns["argument"]
    is_named = columns["reason"] == Reason.INSUFFICIENT_RESOURCE
    nodes, columns["node"] = _used(changes.nodes, node, node != NO_NODE)
    resources, columns["argument"] = _used(changes.resources, argument, is_named)
    keys = tuple([changes.keys[i] for i in places.tolist()])
    return Changes(keys, ChangeRows(**columns), nodes, resources, changes.at_us)


def packed_reply(parts: Sequence[Changes]) -> placement_pb2.WatchReply:
    """Changes as columns."""
    reply = placement_pb2.WatchReply(at_us=max([part.at_us for part in parts]))
    rows, nodes, resources = _joined(parts)
    packed = reply.packed
    for part in parts:
        packed.keys.extend(part.keys)
    packed.nodes.extend(nodes)
    packed.resources.extend(resources)
    for name, column in rows.to_bytes().items():
        setattr(packed, name, column)
    return reply


def row_reply(parts: Sequence[Changes]) -> placement_pb2.WatchReply:
    """Changes as rows."""
    reply = placement_pb2.WatchReply(at_us=max([part.at_us for part in parts]))
    add = reply.changes.add
    for part in parts:
        columns = [getattr(part.rows, name).tolist() for name in schema(ChangeRows)]
        nodes = part.nodes
        for key, revision, group, ordinal, phase, node, reason, argument in zip(
            part.keys, *columns, strict=True
        ):
            change = add(
                key=key,
                revision=revision,
                group=group,
                ordinal=ordinal,
                phase=phase,
                node="" if node == NO_NODE else nodes[node],
            )
            if reason:
                change.reason = reason
                if reason == Reason.INSUFFICIENT_RESOURCE:
                    change.resource = part.resources[argument]
                else:
                    change.argument = argument
    return reply


def _used(
    names: tuple[str, ...], index: NDArray[np.int64], is_index: NDArray[np.bool_]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names used, and the column with indices into them."""
    if not names:
        return names, index
    used, place = np.unique(index[is_index], return_inverse=True)
    moved = index.copy()
    moved[is_index] = place
    return tuple([names[i] for i in used.tolist()]), moved


def _joined(parts: Sequence[Changes]) -> tuple[ChangeRows, list[str], list[str]]:
    """All rows over one list of nodes and one of resources."""
    if len(parts) == 1:
        return parts[0].rows, list(parts[0].nodes), list(parts[0].resources)
    rows = ChangeRows.concat([part.rows for part in parts])
    lengths = [len(part.keys) for part in parts]
    nodes = _shift(rows.node, rows.node != NO_NODE, [part.nodes for part in parts], lengths)
    is_named = rows.reason == Reason.INSUFFICIENT_RESOURCE
    resources = _shift(rows.argument, is_named, [part.resources for part in parts], lengths)
    return rows, nodes, resources


def _shift(
    column: NDArray[np.int64] | NDArray[np.uint32],
    is_index: NDArray[np.bool_],
    names: list[tuple[str, ...]],
    lengths: list[int],
) -> list[str]:
    """Add to each part's indices the number of names before it; returns all names."""
    bases = np.cumsum([0, *(len(part) for part in names[:-1])])
    np.add(column, np.repeat(bases, lengths), out=column, where=is_index, casting="unsafe")
    return list(chain.from_iterable(names))
