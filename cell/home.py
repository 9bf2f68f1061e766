"""What cores and the API server say to each other in the Kubernetes home: nearly all the binder's.

The binder's core returns calls as effects and takes answers and watch deltas as events; the shell
(or the simulator) performs them. The API server is the authority: calls may be lost, applied with
the answer lost, refused for the moment, or overtaken by others; only what the watch or a Read shows
is true. Every call carries a number of its own, and is answered once, or never when the process
that made it has ended. What must hold: a write names the object's uid and is refused by the server
when the object of that name has another one.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from cell.node import NodeSpec
from cell.unit import UnitSpec


class Replica(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The name of an object that stands for a replica (a pod): at most one at a time has it.

    A pod of somebody else has a name of its own, with group and ordinal 0.
    """

    uid_hi: int
    uid_lo: int
    group: int = 0
    ordinal: int = 0


class ObjectState(IntEnum):
    """Where an object is in its life. It holds room in BOUND and in TERMINATING with a node."""

    PENDING = 0
    """No node yet."""
    BOUND = 1
    TERMINATING = 2
    """Marked for deletion, with or without a node; it can no more be bound."""
    DONE = 3
    """Phase Succeeded: the object remains, its room is free."""
    FAILED = 4
    """Phase Failed: the same."""
    DELETED = 5
    """Gone. Only in watch deltas."""


class ObjectView(msgspec.Struct, frozen=True):
    """One object as the API server has it at `version`, which grows with each of its changes."""

    replica: Replica
    object: int
    """The object's own uid: a new object of the same name has another."""
    version: int
    state: ObjectState
    node: str = ""
    """Its node; "" while it has none."""
    revision: int = 1
    """The unit's revision for which it was made."""
    klass: bytes = b""
    """`ClassSpec.encoded()` of what it demands."""
    is_ours: bool = True
    """Whether the dispatcher knows its unit; others only take room."""


class GangPhase(IntEnum):
    """Where a gang is; the last two are final."""

    PENDING = 0
    """Too few of its objects are there."""
    PRE_SCHEDULING = 1
    """It waits for room."""
    SCHEDULED = 2
    """It was bound: objects that come later are bound singly."""
    TIMEOUT = 3


class HomeGroup(msgspec.Struct, frozen=True, array_like=True):
    """A replica group of a unit that the home has; `klass` is `ClassSpec.encoded()`."""

    klass: bytes
    count: int = 1
    min: int = 1
    pin: str = ""


class HomeGang(msgspec.Struct, frozen=True):
    """A gang of units of one object each (a PodGroup): `min` of them are bound together or none."""

    key: str
    uid: int = 0
    """Its own: another gang of the key has another one."""
    min: int = 1
    deadline_us: int = 0
    """Unless it is committed by then its objects are not bound any more; 0 for never."""
    phase: GangPhase = GangPhase.PENDING
    """As it was noted last."""
    refusal: str = ""
    """Why it cannot be placed as it asks to be, for people; "" if it can."""
    is_over: bool = False
    """It is no more. Only in watch deltas."""


class GangState(msgspec.Struct, frozen=True):
    """How a gang stands, for people: its phase, and how many of its objects could be bound now."""

    key: str
    phase: GangPhase
    uid: int = 0
    """The gang's own: of another one of the key nothing is said."""
    ready: int = 0
    wanted: int = 0


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One replica in a record: which object goes to which node."""

    group: int
    ordinal: int
    object: int
    """0 in the record of a unit whose replicas are no objects."""
    node: str
    state: ObjectState = ObjectState.BOUND
    """DONE or FAILED in such a record: it has ended there, holds no room and is not wanted."""


class GangRecord(msgspec.Struct, frozen=True):
    """The commit point of a gang: the status of its PlacementRequest, written before any Post.

    It exists from the commit until the minima are bound (or given up), so a record that a new
    leader finds is an unfinished gang. `minima` are (group, replicas that have to be bound). That
    of a unit without objects says what is bound, so it stays, and has no minima.
    """

    uid_hi: int
    uid_lo: int
    revision: int
    attempt: int
    handle: int
    minima: tuple[tuple[int, int], ...]
    members: tuple[Member, ...]
    key: str = ""
    """The unit's."""


class RecordView(msgspec.Struct, frozen=True):
    """A record as the API server has it; `version` grows with each write, `record` None: none."""

    version: int
    record: GangRecord | None


class HomeUnit(msgspec.Struct, frozen=True):
    """What the home wants to have placed: a unit, whose replicas are objects; or none, with `kept`:
    these are placed by a write of that record, and nothing else."""

    uid_hi: int
    uid_lo: int
    key: str
    revision: int = 1
    priority: int = 0
    groups: tuple[HomeGroup, ...] = ()
    kept: RecordView | None = None
    """The record of a unit without objects, as it is now; changes of it are changes of the unit."""
    is_over: bool = False
    """Nothing of it is wanted any more. Only in watch deltas; `groups` may be missing."""
    gang: str = ""
    """Key of the gang that it wants to be placed with; its one replica is an object."""


# What the core asks for


class Post(msgspec.Struct, frozen=True, tag=True):
    """Bind an object to a node (POST of a Binding with the object's uid).

    OK: bound there; the server does not check that the node exists. CONFLICT: the uid is another's,
    the object is terminating, or it has a node already, be it by an earlier Post of our own. GONE:
    no object of that name. THROTTLED: not done, later again. UNKNOWN: done, not done, or still to
    be done within a second.
    """

    call: int
    replica: Replica
    object: int
    node: str


class Read(msgspec.Struct, frozen=True, tag=True):
    """Read the object of that name. OK with `found`; GONE: there is none; THROTTLED; UNKNOWN."""

    call: int
    replica: Replica


class Evict(msgspec.Struct, frozen=True, tag=True):
    """Delete an object with that uid, bound or not. It goes through TERMINATING to DELETED.

    OK: terminating, or deleted already. CONFLICT: the name is another object's by now, so ours is
    gone. GONE: no object of that name. THROTTLED; UNKNOWN.
    """

    call: int
    replica: Replica
    object: int


class Write(msgspec.Struct, frozen=True, tag=True):
    """Write a gang's record, or remove it (None), if it is at `version` (0: there is none yet).

    OK with `version`, the new one. CONFLICT: it is at another version. GONE: the unit is no more.
    THROTTLED; UNKNOWN.
    """

    call: int
    uid_hi: int
    uid_lo: int
    version: int
    record: GangRecord | None
    gang: str = ""
    """Key of the gang whose objects are meant, if it is one."""
    gang_uid: int = 0
    """That gang's own; GONE unless a record of it is kept already."""
    is_held: bool = False
    """With no record: that its minima are bound is noted at the gang first, as SCHEDULED."""


class ReadRecord(msgspec.Struct, frozen=True, tag=True):
    """Read a record. OK with `kept` (version 0 and None when there is none); GONE: the unit without
    objects is no more; THROTTLED; UNKNOWN."""

    call: int
    uid_hi: int
    uid_lo: int
    gang: str = ""
    """As that of Write."""


class Relist(msgspec.Struct, frozen=True, tag=True):
    """List everything and watch from there on: answered by Relisted, deltas follow it in order.

    Deltas of an earlier watch are not delivered any more. When the watch is lost before the list
    has arrived, WatchLost may be all that comes. Of several that are open any may be served last,
    and that one is the watch.
    """

    call: int


# What the dispatcher's core asks for


class Create(msgspec.Struct, frozen=True, tag=True):
    """Make a unit without objects. OK: the home has it, made now or before. CONFLICT: another unit
    has its key. GONE: it will not have it, `why` says so. THROTTLED, UNKNOWN: ask again."""

    call: int
    unit: UnitSpec
    is_known: bool = False
    """The unit was there before: it is not made again, only compared; GONE: it has ended."""


class Delete(msgspec.Struct, frozen=True, tag=True):
    """End a unit without objects. OK; GONE: there is none, or it may not be, with `why`; THROTTLED,
    UNKNOWN: ask again."""

    call: int
    key: str


Call = Post | Read | Evict | Write | ReadRecord | Relist | Create | Delete


class Note(msgspec.Struct, frozen=True, tag=True):
    """Show people how gangs stand. Not answered: what is lost is shown with the next change."""

    states: tuple[GangState, ...]


class Line(msgspec.Struct, frozen=True, array_like=True):
    """Why a unit waits."""

    uid_hi: int
    uid_lo: int
    text: str


class Tell(msgspec.Struct, frozen=True, tag=True):
    """Tell people why units wait. No call: it is not answered, a unit's newest line counts, and
    nothing rests on whether it was told."""

    lines: tuple[Line, ...]


# What it is told


class Code(IntEnum):
    """How a call went; what each means is said at the call."""

    OK = 200
    GONE = 404
    CONFLICT = 409
    THROTTLED = 429
    UNKNOWN = 504


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The answer to a call other than Relist."""

    call: int
    code: Code
    found: ObjectView | None = None
    """Of Read: the object."""
    kept: RecordView | None = None
    """Of ReadRecord: the record."""
    version: int = 0
    """Of Write: the record's new version."""
    why: str = ""
    """Of Create and Delete: what stands in the way, for people."""


class Answers(msgspec.Struct, frozen=True, tag=True):
    """Answers that came together, in their order."""

    answers: tuple[Answered, ...]


class Watched(msgspec.Struct, frozen=True, tag=True):
    """What the watch shows, in order and late; of one object versions only grow.

    `nodes` are nodes that are new or changed, `removed` names of nodes that are gone, `units` those
    that are new, changed or over, `gangs` the same. Nodes count before gangs, these before units,
    units before objects.
    """

    objects: tuple[ObjectView, ...] = ()
    nodes: tuple[NodeSpec, ...] = ()
    removed: tuple[str, ...] = ()
    units: tuple[HomeUnit, ...] = ()
    gangs: tuple[HomeGang, ...] = ()


class WatchLost(msgspec.Struct, frozen=True, tag=True):
    """The watch has a gap (410 Gone, or it hung): the core lists again."""


class Relisted(msgspec.Struct, frozen=True, tag=True):
    """The whole of it at one version: what is not here is not there (any more)."""

    call: int
    objects: tuple[ObjectView, ...]
    nodes: tuple[NodeSpec, ...]
    records: tuple[RecordView, ...]
    units: tuple[HomeUnit, ...] = ()
    gangs: tuple[HomeGang, ...] = ()


class LeaseLost(msgspec.Struct, frozen=True, tag=True):
    """Another may lead from now on: nothing may be posted, evicted or written any more.

    A lease that is won again has a new term, and a new core.
    """


HomeEvent = Answered | Answers | Watched | WatchLost | Relisted | LeaseLost
