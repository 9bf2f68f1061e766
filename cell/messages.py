"""What components say to each other: link messages, public requests, answers, and published
changes.

Link messages travel in `link.Frame`; requests in `effects.Request`. Indices of classes, nodes,
strings and resources hold within one session: each stream has its own dictionaries, sent before
first use.
"""

from __future__ import annotations

import msgspec

from cell.classes import ClassSpec
from cell.columns import I32, I64, U8, U16, U32, U64, Table
from cell.node import NodeSpec
from cell.reasons import Refusal
from cell.unit import (
    Assignments,
    Commands,
    GroupBatch,
    GroupSpec,
    NoFits,
    Place,
    PlanRows,
    Settlements,
    Shortfalls,
    UnitBatch,
)

ASSIGN_ROWS_MAX = 800
"""Rows of one Assign, unless a single unit has more groups' rows (GROUPS_MAX)."""
ASSIGN_CREDITS = 2
"""Assign messages a scheduler may owe answers for."""
SNAPSHOT_NODES_MAX = 4096
"""Nodes in one State message of a snapshot."""
EXPLAIN_ROWS_MAX = 4096
"""Units in one Explain message."""
ITEMS_MAX = 10_000
"""Items of one public request."""


class ClassDef(msgspec.Struct, frozen=True, array_like=True):
    """Entry of a stream's class dictionary: `ClassSpec.encoded()` under the sender's index."""

    index: int
    encoded: bytes


# Dispatcher → scheduler


class Assign(msgspec.Struct, frozen=True, tag=True):
    """Units to place, under dispatcher term `term`. `pins` are node names."""

    term: int
    rows: Assignments
    classes: tuple[ClassDef, ...] = ()
    pins: tuple[str, ...] = ()


# Scheduler → dispatcher


class Unplaced(msgspec.Struct, frozen=True, tag=True):
    """Units that found no room, and why; shortfalls and arguments index `resources`. (`term`,
    `generation`) is the newest State known by then: room freed after it was not looked at.
    """

    rows: NoFits
    shortfalls: Shortfalls
    resources: tuple[str, ...] = ()
    term: int = 0
    generation: int = 0


class Ability(msgspec.Struct, frozen=True, tag=True):
    """Whether the scheduler can place now: it has a binder's whole snapshot and warm kernels."""

    is_ready: bool


# Scheduler → binder


class Plan(msgspec.Struct, frozen=True, tag=True):
    """Placements for re-check and commit. Row i has number `first` + i in this session; the
    watermark of State counts in these numbers. `term` is the dispatcher's, `generation` the newest
    one seen.
    """

    term: int
    first: int
    generation: int
    rows: PlanRows
    classes: tuple[ClassDef, ...] = ()


# Binder → scheduler


class NodeFlag:
    """Bits of `NodeSpecs.flags`."""

    UNSCHEDULABLE = 1
    REMOVED = 2


class NodeSpecs(Table):
    """Specs of nodes that are new or changed. `name`, label and taint columns index the stream's
    strings.

    Ragged: `allocatable` is [row, resource] flattened over all resources known so far in the
    stream; labels and taints are consecutive per row, `labels` and `taints` counting them.
    """

    ragged = frozenset(
        {"allocatable", "label_key", "label_value", "taint_key", "taint_value", "taint_effect"}
    )

    node: U32
    incarnation: U32
    flags: U8
    name: U32
    labels: U16
    taints: U16
    allocatable: I64
    label_key: U32
    label_value: U32
    taint_key: U32
    taint_value: U32
    taint_effect: U8


class NodeUse(Table):
    """Absolute use of nodes: `used` [row, resource] flattened; newer `generation` wins per node."""

    ragged = frozenset({"used"})

    node: U32
    generation: U64
    used: I64


class ResidentRows(Table):
    """How many replicas of a class are on a node, `leaving` of them being stopped: for classes that
    rules between replicas read. `klass` indexes the stream's classes.
    """

    node: U32
    klass: U32
    count: U32
    leaving: U32


NO_RESIDENTS = ResidentRows.empty()


class State(msgspec.Struct, frozen=True, tag=True):
    """Snapshot chunk or delta of the node tables, stamped (term, generation).

    `watermark`: all plan rows of this scheduler below this number are covered by what was sent so
    far: their room is in `used`, or they were refused. `resources` and `strings` extend the
    dictionaries, and `classes` that of the residents. A session begins with chunks whose last one
    has `is_last`; deltas are `is_last` too.
    """

    term: int
    generation: int
    watermark: int
    specs: NodeSpecs
    use: NodeUse
    is_last: bool = True
    resources: tuple[str, ...] = ()
    strings: tuple[str, ...] = ()
    residents: ResidentRows = NO_RESIDENTS
    classes: tuple[ClassDef, ...] = ()


# Dispatcher → binder


class Command(msgspec.Struct, frozen=True, tag=True):
    """Commands, and the dispatcher's marks.

    Attempts below (`term`, `floor`) are void; `next` is the next ordinal it will give out;
    settlements numbered below `ack` are durable here. Sent without rows when only the marks moved.
    """

    term: int
    floor: int
    next: int
    ack: int
    rows: Commands
    classes: tuple[ClassDef, ...] = ()


class WhyRows(Table):
    """Units that wait; `line` indexes the message's lines."""

    uid_hi: U64
    uid_lo: U64
    line: U32


class Explain(msgspec.Struct, frozen=True, tag=True):
    """Why units wait, for people: to a binder whose home has to be told. A unit's newest line
    counts; it is sent when it changes, and all of them when a session begins.
    """

    rows: WhyRows
    lines: tuple[str, ...]


# Binder → dispatcher


class Settle(msgspec.Struct, frozen=True, tag=True):
    """Outcomes, in the order of commit. Row i has number `first` + i in the binder's outcome log,
    which is resent from the last ack after a reconnect. `nodes` extends the node names from index
    `node_base` on. `wakes` is a `reasons.Wake` mask of what changed in the cluster since the last
    Settle.
    """

    generation: int
    first: int
    rows: Settlements
    node_base: int = 0
    nodes: tuple[str, ...] = ()
    wakes: int = 0


class ArrivalRows(Table):
    """Units that the home has, with `groups` rows of groups each, in order; `is_observed`: their
    replicas are objects, and the home shows what becomes of them."""

    uid_hi: U64
    uid_lo: U64
    revision: U32
    priority: I32
    groups: U8
    is_observed: U8


class UidRows(Table):
    """Units by uid."""

    uid_hi: U64
    uid_lo: U64


class Arrive(msgspec.Struct, frozen=True, tag=True):
    """Units of a home that is an authority of its own: new ones, new revisions, and those that are
    `gone`. Told before any outcome of theirs.

    A session with such a binder, and every relist, brings them all: from `is_first` to `is_last`,
    and what is not among them is gone. `claims` are what a dispatcher that knows of nothing has to
    know of their replicas; outcomes below `next` are in them. Classes (in canonical form) and pins
    are the message's own.
    """

    keys: tuple[str, ...]
    units: ArrivalRows
    groups: GroupBatch
    classes: tuple[bytes, ...]
    pins: tuple[str, ...]
    gone: UidRows
    claims: Settlements
    next: int = 0
    is_first: bool = False
    is_last: bool = False


LinkMessage = Assign | Unplaced | Ability | Plan | State | Command | Explain | Settle | Arrive


# Placement API: requests


class Submit(msgspec.Struct, frozen=True):
    """A batch of units as columns; items are the units. `roles` has one entry per group row, or
    none.
    """

    units: UnitBatch
    groups: GroupBatch
    keys: tuple[str, ...]
    classes: tuple[ClassSpec, ...]
    roles: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()


class Cancel(msgspec.Struct, frozen=True):
    """End units: waiting ones leave the queue, claims are freed."""

    keys: tuple[str, ...]


class AmendItem(msgspec.Struct, frozen=True):
    """A new revision of a unit. `revision` must be the present one plus one; the present one with
    equal content is acked again.
    """

    key: str
    revision: int
    groups: tuple[GroupSpec, ...]
    place: Place = Place.KEEP


class Amend(msgspec.Struct, frozen=True):
    """A batch of amendments."""

    items: tuple[AmendItem, ...]


class ReportRows(Table):
    """What became of replicas: `phase` STARTING, READY, FAILED or DONE; `revision` 0 means the
    present one.
    """

    revision: U32
    group: U8
    ordinal: U32
    phase: U8


class Report(msgspec.Struct, frozen=True):
    """A batch of reports; `keys` per row. Of another revision: refused FAILED_PRECONDITION."""

    keys: tuple[str, ...]
    rows: ReportRows


class Member(msgspec.Struct, frozen=True):
    """One replica that says which gang it belongs to; every member names the gang's size, time-out
    and priority alike. `name` is the member's own, unique in its gang.
    """

    gang: str
    name: str
    size: int
    timeout_ms: int
    klass: ClassSpec
    pin: str = ""
    priority: int = 0


class Join(msgspec.Struct, frozen=True):
    """Members of gangs that arrive one by one. A gang is the unit whose key is its name: it waits
    until it is whole, and fails with GANG_INCOMPLETE after its time-out.
    """

    members: tuple[Member, ...]


class Acks(msgspec.Struct, frozen=True):
    """Answer to a batch: all `count` items but the refused ones are durable."""

    count: int
    refused: tuple[tuple[int, Refusal], ...] = ()


# Placement API: what watchers see


class ChangeRows(Table):
    """One change per row; ordinal WHOLE_UNIT when it is the unit's. `node` indexes the message's
    nodes, NO_NODE when none; `argument` indexes the resources for INSUFFICIENT_RESOURCE.
    """

    revision: U32
    group: U8
    ordinal: U32
    phase: U8
    node: U32
    reason: U16
    argument: I64


NO_NODE = (1 << 32) - 1


class Changes(msgspec.Struct, frozen=True):
    """Published by the dispatcher; `keys` per row, `at_us` when it was learnt."""

    keys: tuple[str, ...]
    rows: ChangeRows
    nodes: tuple[str, ...]
    resources: tuple[str, ...]
    at_us: int


class ReplicaView(msgspec.Struct, frozen=True):
    """One replica as users see it."""

    group: int
    ordinal: int
    phase: str
    node: str = ""


class UnitView(msgspec.Struct, frozen=True):
    """One unit as users see it; `why` says why it waits, `wakes` what would wake it."""

    key: str
    uid: str
    revision: int
    priority: int
    word: str
    phases: dict[str, int]
    why: str = ""
    wakes: tuple[str, ...] = ()
    submitted_at_us: int = 0
    bound_at_us: int = 0
    attempts: int = 0
    replicas: tuple[ReplicaView, ...] = ()


class Summary(msgspec.Struct, frozen=True):
    """Counts over all units: per word, and of waiting units per line of why."""

    words: dict[str, int]
    why: dict[str, int]


# Cluster API


class RegisterNodes(msgspec.Struct, frozen=True):
    """Add nodes, or replace the specs of those present."""

    nodes: tuple[NodeSpec, ...]


class CordonNodes(msgspec.Struct, frozen=True):
    """Make nodes unschedulable, or schedulable again."""

    names: tuple[str, ...]
    is_cordoned: bool


class RemoveNodes(msgspec.Struct, frozen=True):
    """Remove nodes; what was bound there has failed with NODE_GONE."""

    names: tuple[str, ...]


class ClaimState:
    """States of a claim; numbers are part of the wire contract."""

    HELD = 0
    COMMITTING = 1
    BOUND = 2
    TERMINATING = 3
    FREE = 4
    """Not a state in the ledger: in LedgerChanges it says that the claim is gone."""


class ClaimRows(Table):
    """Claims in published order; `node` indexes the message's nodes."""

    uid_hi: U64
    uid_lo: U64
    revision: U32
    group: U8
    ordinal: U32
    node: U32
    state: U8


class NodeView(msgspec.Struct, frozen=True):
    """One node as users see it; amounts by resource name."""

    name: str
    incarnation: int
    generation: int
    is_cordoned: bool
    is_removed: bool
    allocatable: dict[str, int]
    used: dict[str, int]
    claims: int


class LedgerChanges(msgspec.Struct, frozen=True):
    """Published by the binder after each commit; `nodes` are names."""

    term: int
    generation: int
    claims: ClaimRows
    nodes: tuple[str, ...]
