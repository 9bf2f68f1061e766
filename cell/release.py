"""What the rolling controller is asked, what it shows, and how it talks to the dispatcher.

Release API: `effects.Request` bodies and their answers, said by `sharding` and by the runtime that
carries them. Towards the dispatcher the controller is a
client of the Placement API like any other: its shell turns `Call` into Submit, Amend or Cancel and
`Watch` into a watch of unit keys. Every Call is answered by Called, or by PeerDown; within a
session a prefix's Seen comes before its Changes.
"""

from __future__ import annotations

import msgspec

from cell.classes import ClassSpec
from cell.messages import Acks, Amend, Cancel, Submit, UnitView
from cell.reasons import Refusal
from cell.unit import Place

DISPATCHER = "dispatcher"
"""Name of the only peer."""


# Release API


class ReleaseColumn(msgspec.Struct, frozen=True):
    """One column of every row: `count` replicas of a class."""

    name: str
    klass: ClassSpec
    count: int = 1


class RollingsetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A service of `rows` equal rows. `columns` are what a release changes; amounts are counts or
    percentages of rows ("20%"), `max_unavailable` rounded down, `keep` (canary: rows that stay off
    the latest version) rounded up. `max_surge` other than 0 is refused as UNIMPLEMENTED."""

    name: str
    rows: int
    columns: tuple[ReleaseColumn, ...]
    max_unavailable: int | str = 1
    max_surge: int | str = 0
    keep: int | str = 0
    place: Place = Place.KEEP
    is_paused: bool = False
    priority: int = 0


class CreateRollingset(msgspec.Struct, frozen=True):
    """Create; the same spec again is answered as the first time."""

    spec: RollingsetSpec


class UpdateRollingset(msgspec.Struct, frozen=True):
    """Replace the spec; `generation` is the one the caller has seen, 0 for whatever it is."""

    spec: RollingsetSpec
    generation: int = 0


class DeleteRollingset(msgspec.Struct, frozen=True):
    """Cancel every row, then forget the rollingset."""

    name: str


class GetRollingset(msgspec.Struct, frozen=True):
    """One rollingset, with its rows."""

    name: str


class ListRollingsets(msgspec.Struct, frozen=True):
    """All rollingsets, without rows, by name."""


class VersionView(msgspec.Struct, frozen=True, array_like=True):
    """How many rows are on a version, and how many of them serve."""

    version: int
    rows: int
    ready: int


class RowView(msgspec.Struct, frozen=True):
    """One row; `key` names its unit. `why` says what a row that is not ready waits for."""

    ordinal: int
    key: str
    revision: int
    version: int
    is_ready: bool
    ready_replicas: int
    replicas: int
    why: str = ""


class RollingsetView(msgspec.Struct, frozen=True, kw_only=True):
    """One rollingset as users see it. `word` is one of Settled, Rolling, Paused, Canary, Deleting,
    Deleted; `why` is one line that says what holds it up. Published without `rows`."""

    spec: RollingsetSpec
    generation: int
    latest: int
    stable: int
    word: str
    ready_rows: int
    versions: tuple[VersionView, ...]
    why: str = ""
    rows: tuple[RowView, ...] = ()


class RollingsetList(msgspec.Struct, frozen=True):
    """Answer to ListRollingsets."""

    views: tuple[RollingsetView, ...]


# To and from the dispatcher


class Watch(msgspec.Struct, frozen=True):
    """Show the units whose keys begin with `prefix` (Seen), and tell their Changes after that."""

    prefix: str


class Unwatch(msgspec.Struct, frozen=True):
    """End a Watch."""

    prefix: str


class Seen(msgspec.Struct, frozen=True):
    """All units under `prefix` at one moment, with replicas; `ReplicaView.phase` names a Phase."""

    prefix: str
    views: tuple[UnitView, ...]


class Call(msgspec.Struct, frozen=True):
    """A request of the Placement API; `number` is not used twice by one process."""

    number: int
    body: Submit | Amend | Cancel


class Called(msgspec.Struct, frozen=True):
    """Answer to the Call of that number; a Refusal stands for all its items."""

    number: int
    body: Acks | Refusal
