"""What the dispatcher shows of our units, taken into the row table.

A sight of an older revision changes nothing; one of a revision that we never asked for means that
somebody else amended the unit, and the row is then on no version of ours.
"""

from __future__ import annotations

from cell.messages import Changes, UnitView
from cell.reasons import text
from cell.release import Seen
from cell.unit import WHOLE_UNIT, Phase
from sharding.rolling import UNKNOWN_VERSION
from sharding.table import ENDED, Rollingset, Row, Sight, Table


def take_snapshot(table: Table, rollingset: Rollingset, seen: Seen) -> None:
    """All units of a rollingset at one moment: afterwards its view is complete."""
    views = {view.key: view for view in seen.views}
    for row in rollingset.in_order():
        view = views.get(row.key)
        row.refusal, row.retry_at_us = None, 0
        row.settled = view.revision if view is not None else 0
        if view is not None:
            row.seen = _sight_of(view)
            if view.revision == row.revision - 1:
                _withdraw(table, rollingset, row)
            elif view.revision != row.revision:
                _disown(table, rollingset, row)
        else:
            # A first revision may never have arrived and is sent again; a later one had an ack.
            row.seen = Sight()
            row.is_lost = row.is_lost or row.revision > 1
    rollingset.is_synced = True


def take_changes(table: Table, changes: Changes) -> list[str]:
    """Apply changes in order; returns the names of the rollingsets they touch."""
    names: dict[str, None] = {}
    at = changes.rows
    for i, key in enumerate(changes.keys):
        rollingset, row = table.find(key) or (None, None)
        if rollingset is None or row is None or not rollingset.is_synced:
            continue
        replica = (int(at.group[i]), int(at.ordinal[i]))
        phase = Phase(int(at.phase[i]))
        if not _is_news(row, int(at.revision[i]), changes.at_us):
            continue
        _set_phase(row.seen, replica, phase)
        row.seen.why = _why(changes, i)
        if row.seen.revision > row.revision:
            _disown(table, rollingset, row)
        names[rollingset.spec.name] = None
    return list(names)


def _is_news(row: Row, revision: int, at_us: int) -> bool:
    """Whether a change is not older than what is known; a newer revision begins a new sight."""
    if revision < row.seen.revision or at_us < row.seen.at_us:
        return False
    if revision > row.seen.revision:
        row.seen = Sight(revision)
        row.settled = max(row.settled, revision)
    row.seen.at_us = at_us
    return True


def _set_phase(seen: Sight, replica: tuple[int, int], phase: Phase) -> None:
    if replica[1] == WHOLE_UNIT:
        seen.whole = phase
        seen.phases = {}
    elif seen.phases.get(replica) not in ENDED:
        seen.phases[replica] = phase


def _withdraw(table: Table, rollingset: Rollingset, row: Row) -> None:
    """An amend that got lost with its session is withdrawn, not repeated: the planner decides anew.

    1. A ready row is asked to convert. 2. The session ends, the amend never arrived. 3. Another row
    fails. 4. Sent again, the amend would stop a row that the floor needs now.
    """
    row.withdraw()
    table.note_row(rollingset, row)


def _disown(table: Table, rollingset: Rollingset, row: Row) -> None:
    """The unit is at a revision that we never asked for."""
    row.revision, row.version = row.seen.revision, UNKNOWN_VERSION
    row.is_proved = False
    table.note_row(rollingset, row)


def _sight_of(view: UnitView) -> Sight:
    whole = _phase_of(view.word)
    return Sight(
        revision=view.revision,
        whole=whole if whole in ENDED else Phase.WAITING,
        phases={(r.group, r.ordinal): _phase_of(r.phase) for r in view.replicas},
        why=view.why,
    )


def _phase_of(name: str) -> Phase:
    """The phase of that name; a word that is no phase (Running) adds nothing to the replicas."""
    return Phase.__members__.get(name.upper(), Phase.WAITING)


def _why(changes: Changes, i: int) -> str:
    argument = int(changes.rows.argument[i])
    is_named = 0 <= argument < len(changes.resources)
    return text(int(changes.rows.reason[i]), changes.resources[argument] if is_named else argument)
