"""Records as statuses of PlacementRequests: what is read is what was written, junk is named."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from cell.home import Code, GangRecord, Member, ObjectState, RecordView, Write
from cell.unit import uid_of
from runtime.kubernetes import records
from runtime.kubernetes.records import BadRecord, Document, Place, Records, status_of, view_of

KEY = "team/gang"
POD = UUID("5f0c1d5e-7f7a-4f0e-9d0b-000000000001").int


def a_record(*members: Member) -> GangRecord:
    return GangRecord(*uid_of(KEY), 3, 1 << 63, 5, ((0, 2), (1, 1)), members, KEY)


def encoded(status: Document) -> bytes:
    return msgspec.json.encode({"metadata": {"resourceVersion": "17"}, "status": status})


@pytest.mark.parametrize(
    ("members", "want_phase", "want_placed"),
    [
        ((), "Waiting", 0),
        ((Member(0, 0, POD, "a"), Member(0, 1, POD + 1, "b")), "Placing", 2),
        ((Member(0, 0, 0, "a"), Member(1, 0, 0, "b", ObjectState.DONE)), "Bound", 1),
        ((Member(0, 0, 0, "a", ObjectState.DONE),), "Done", 0),
        ((Member(0, 0, 0, "a", ObjectState.FAILED),), "Failed", 0),
    ],
    ids=["nothing placed", "pods", "replicas that are no pods", "done", "one failed"],
)
def test_what_is_read_is_what_was_written(
    members: tuple[Member, ...], want_phase: str, want_placed: int
) -> None:
    record = a_record(*members)
    status = status_of(record, KEY)
    assert (status["phase"], status["placed"]) == (want_phase, want_placed)
    assert view_of(encoded(status)) == RecordView(17, record)


@pytest.mark.parametrize("status", [{}, status_of(None, KEY), {"message": "no room"}])
def test_status_without_an_attempt_is_no_record(status: Document) -> None:
    assert view_of(encoded(status)) == RecordView(17, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempt": "x"},
        {"members": 1},
        {"members": [{"group": 0}]},
        {"members": [{"group": 0, "ordinal": 0, "node": "a", "object": "x"}]},
        {"members": [{"group": 0, "ordinal": 0, "node": "a", "ended": "x"}]},
    ],
)
def test_status_that_somebody_else_wrote_is_named(wrong: Document) -> None:
    with pytest.raises(BadRecord, match="status"):
        view_of(encoded({**status_of(a_record(), KEY), **wrong}))


async def test_record_that_is_too_large_is_refused_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def send(method: str, path: str, body: Document | None) -> tuple[Code, bytes]:
        raise AssertionError("sent")

    monkeypatch.setattr(records, "RECORD_BYTES_MAX", 100)
    kept = Records(send, send)
    kept.put(Place("team", "gang", KEY))
    call = Write(1, *uid_of(KEY), 0, a_record(Member(0, 0, POD, "a")))
    assert (await kept.write(call)).code is Code.GONE


@pytest.mark.parametrize(
    ("owners", "want"),
    [([], Code.OK), ([{"uid": "new"}], Code.OK), ([{"uid": "old"}], Code.THROTTLED)],
    ids=["nobody's", "its own", "a former group's"],
)
async def test_record_object_of_a_former_group_is_left_to_the_garbage_collector(
    owners: list[Document], want: Code
) -> None:
    present = {"metadata": {"resourceVersion": "17", "ownerReferences": owners}}

    async def ask(method: str, path: str, body: Document | None) -> tuple[Code, bytes]:
        return Code.OK, msgspec.json.encode(present)

    kept = Records(ask, ask)
    kept.put(Place("team", "podgroup.gang", KEY, owner={"uid": "new"}))
    call = Write(1, *uid_of(KEY), 0, a_record(Member(0, 0, POD, "a")))
    assert (await kept.write(call)).code is want
