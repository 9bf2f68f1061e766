"""Create, update and delete of rollingsets: the Release API's requests on the table.

A version is known by its content: releasing columns that a version in use already has is a rollback
to it, so rows still on it are not touched. Generations only grow.
"""

from __future__ import annotations

from cell.reasons import Status
from cell.release import RollingsetSpec, UpdateRollingset
from sharding.spec import Limits, Refused, check_change, checked
from sharding.table import Rollingset, StoredSet, Table


def find(table: Table, name: str) -> Rollingset:
    """The rollingset of that name. Raises Refused."""
    if name not in table.sets:
        raise Refused(Status.NOT_FOUND, "name", f"no rollingset {name[:80]!r}")
    return table.sets[name]


def create(table: Table, spec: RollingsetSpec, limits: Limits) -> Rollingset:
    """Add a rollingset, or find that it is there with the same spec. Raises Refused."""
    spec = checked(spec, limits)
    present = table.sets.get(spec.name)
    if present is not None:
        _check_living(present)
        if present.spec != spec:
            raise Refused(Status.ALREADY_EXISTS, "name", "exists with another spec")
        return present
    if len(table.sets) >= limits.rollingsets_max:
        reason = f"there are {len(table.sets)} rollingsets, limit {limits.rollingsets_max}"
        raise Refused(Status.RESOURCE_EXHAUSTED, "name", reason)
    return table.put_set(StoredSet(spec, 1, 1, 1, 2, ((1, spec.columns),), False))


def update(table: Table, request: UpdateRollingset, limits: Limits) -> Rollingset:
    """Replace a rollingset's spec; other columns are a release. Raises Refused."""
    spec = checked(request.spec, limits)
    present = find(table, spec.name)
    _check_living(present)
    if request.generation and request.generation != present.generation:
        reason = f"is at {present.generation}, not {request.generation}: read it again"
        raise Refused(Status.FAILED_PRECONDITION, "generation", reason)
    if spec == present.spec:
        return present
    check_change(present.spec, spec)
    if spec.columns != present.versions[present.latest]:
        _release(present, spec, limits)
    present.spec = spec
    present.generation += 1
    table.note_set(present)
    return present


def delete(table: Table, name: str) -> Rollingset:
    """Begin a rollingset's end; again is no error. Raises Refused."""
    present = find(table, name)
    if not present.is_deleting:
        present.is_deleting = True
        present.generation += 1
        table.note_set(present)
    return present


def _check_living(rollingset: Rollingset) -> None:
    if rollingset.is_deleting:
        raise Refused(Status.FAILED_PRECONDITION, "name", "is being deleted")


def _release(rollingset: Rollingset, spec: RollingsetSpec, limits: Limits) -> None:
    """Make the spec's columns the latest version."""
    rollingset.drop_unused()
    for version, columns in sorted(rollingset.versions.items()):
        if columns == spec.columns:
            rollingset.latest = version
            return
    if len(rollingset.versions) >= limits.versions_max:
        reason = f"rows are on {len(rollingset.versions)} versions, limit {limits.versions_max}"
        raise Refused(Status.RESOURCE_EXHAUSTED, "columns", reason)
    rollingset.latest = rollingset.version_next
    rollingset.version_next += 1
    rollingset.versions[rollingset.latest] = spec.columns
