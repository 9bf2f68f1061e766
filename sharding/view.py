"""What users see of a rollingset: counts, one word, and one line that says what holds it up."""

from __future__ import annotations

from cell.release import RollingsetView, RowView, VersionView
from sharding.rolling import share_ceil
from sharding.table import Rollingset, Row


def view_of(rollingset: Rollingset, *, has_rows: bool = False) -> RollingsetView:
    """The rollingset now; with a RowView per row if asked for."""
    replicas = rollingset.replicas
    rows = rollingset.in_order()
    versions = {version: [0, 0] for version in sorted({row.version for row in rows})}
    for row in rows:
        versions[row.version][0] += 1
        versions[row.version][1] += row.is_ready(replicas)
    ready_rows = sum(ready for _, ready in versions.values())
    is_settled = ready_rows == len(rows) == rollingset.spec.rows
    return RollingsetView(
        spec=rollingset.spec,
        generation=rollingset.generation,
        latest=rollingset.latest,
        stable=rollingset.stable,
        word=_word(rollingset, is_settled=is_settled),
        ready_rows=ready_rows,
        versions=tuple(VersionView(v, total, ready) for v, (total, ready) in versions.items()),
        why=_why(rollingset, rows),
        rows=tuple(_row_view(row, replicas) for row in rows) if has_rows else (),
    )


def _word(rollingset: Rollingset, *, is_settled: bool) -> str:
    spec = rollingset.spec
    if rollingset.is_deleting:
        return "Deleting"
    kept = share_ceil(spec.keep, spec.rows)
    off_latest = sum(row.version != rollingset.latest for row in rollingset.rows.values())
    if spec.is_paused and off_latest != kept:
        return "Paused"
    if not is_settled or off_latest != kept:
        return "Rolling"
    return "Canary" if kept else "Settled"


def _why(rollingset: Rollingset, rows: list[Row]) -> str:
    if not rollingset.is_synced:
        return "waiting for the dispatcher to show its units"
    if rollingset.is_deleting:
        return f"{len(rollingset.leaving)} units are being cancelled" if rollingset.leaving else ""
    replicas = rollingset.replicas
    waiting = [row for row in rows if not row.is_ready(replicas)]
    if not waiting:
        return ""
    row = waiting[-1]
    return f"{len(waiting)} rows are not ready; row {row.ordinal}: {row_why(row, replicas)}"


def _row_view(row: Row, replicas: int) -> RowView:
    is_ready = row.is_ready(replicas)
    ready = row.seen.ready_count(replicas) if row.seen.revision == row.revision else 0
    why = "" if is_ready else row_why(row, replicas)
    return RowView(row.ordinal, row.key, row.revision, row.version, is_ready, ready, replicas, why)


def row_why(row: Row, replicas: int) -> str:
    """What a row that is not ready waits for, in one line."""
    if row.refusal is not None:
        return f"refused: {row.refusal.field}: {row.refusal.reason}"
    if row.is_dead:
        return (
            f"its unit has ended{f' ({row.seen.why})' if row.seen.why else ''}, a new one follows"
        )
    if row.settled < row.revision:
        return "asked for, not yet acknowledged"
    if row.seen.why:
        return row.seen.why
    ready = row.seen.ready_count(replicas) if row.seen.revision == row.revision else 0
    return f"{ready} of {replicas} replicas are ready"
