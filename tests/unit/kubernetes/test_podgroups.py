"""PodGroups as documents: what they mean, what their status says, and how it is written."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

import msgspec
import pytest

from cell.home import Code, GangPhase, GangState, Note
from runtime.fields import BadManifest
from runtime.kubernetes import notes
from runtime.kubernetes.api import Event
from runtime.kubernetes.collections import AllPodGroups
from runtime.kubernetes.notes import GroupNotes
from runtime.kubernetes.podgroups import NAME_CHARS_MAX, PodGroups, group_of
from runtime.log import Log
from runtime.pod_class import GROUP_KEY

UID = "5f0c1d5e-7f7a-4f0e-9d0b-000000000001"
NUMBER = UUID(UID).int
WAITS = GangState("ns/g", GangPhase.PRE_SCHEDULING, NUMBER, 2, 2)


def a_group(name: str = "g", phase: str = "", **spec: Any) -> bytes:
    meta = {"name": name, "namespace": "ns", "uid": UID, "resourceVersion": "5"}
    meta["creationTimestamp"] = "1970-01-01T00:01:40Z"
    status = {"phase": phase} if phase else {}
    return msgspec.json.encode({"metadata": meta, "spec": spec, "status": status})


@pytest.mark.parametrize(
    ("document", "want_min", "want_deadline_s", "want_phase"),
    [
        (a_group(), 1, 400, GangPhase.PENDING),
        (a_group(minMember=4, scheduleTimeoutSeconds=10), 4, 110, GangPhase.PENDING),
        (a_group(minMember=4, phase="Timeout"), 4, 400, GangPhase.TIMEOUT),
        (a_group(minMember=4, phase="Running"), 4, 400, GangPhase.SCHEDULED),
        (a_group(minMember=4, phase="Unknown"), 4, 400, GangPhase.PENDING),
    ],
    ids=["defaults", "its own time", "over", "bound by others", "unknown"],
)
def test_group_is_a_gang(
    document: bytes, want_min: int, want_deadline_s: int, want_phase: GangPhase
) -> None:
    gang = PodGroups().take(document)
    assert (gang.key, gang.min) == ("ns/g", want_min)
    assert gang.deadline_us == want_deadline_s * 1_000_000
    assert gang.phase is want_phase
    assert not gang.is_over


@pytest.mark.parametrize(
    ("affinity", "want"),
    [
        ({}, ""),
        ({"podGroupAffinity": {"preferred": [{"topologyKey": "rack"}], "sortRules": [{}]}}, ""),
        (
            {"podGroupAffinity": {"required": [{"topologyKey": "rack"}]}},
            "spec.affinity.podGroupAffinity.required is not supported",
        ),
        (
            {"podGroupAffinity": {"nodeSelector": {"nodeSelectorTerms": [{}]}}},
            "spec.affinity.podGroupAffinity.nodeSelector is not supported",
        ),
        (
            {"podGroupAntiAffinity": {"required": [{"topologyKey": "rack"}]}},
            "spec.affinity.podGroupAntiAffinity is not supported",
        ),
    ],
    ids=["none", "wishes", "required", "selector", "apart"],
)
def test_group_that_must_run_where_we_do_not_look_is_refused(
    affinity: dict[str, Any], want: str
) -> None:
    assert PodGroups().take(a_group(affinity=affinity)).refusal == want


@pytest.mark.parametrize(
    ("annotations", "labels", "want"),
    [
        ({}, {}, ""),
        ({GROUP_KEY: "g"}, {GROUP_KEY: "g"}, "g"),
        ({GROUP_KEY: "g"}, {}, "g"),
        ({}, {GROUP_KEY: "g"}, "g"),
    ],
    ids=["none", "both", "annotation", "label"],
)
def test_pod_names_its_group(
    annotations: dict[str, str], labels: dict[str, str], want: str
) -> None:
    assert group_of(annotations, labels) == want


def test_pod_that_names_two_groups_is_refused() -> None:
    with pytest.raises(BadManifest, match=r"metadata.labels.*another group than the annotation"):
        group_of({GROUP_KEY: "g"}, {GROUP_KEY: "h"})


def test_record_has_a_name_that_a_server_takes() -> None:
    groups = PodGroups()
    for name in ("g", "g" * NAME_CHARS_MAX):
        groups.take(a_group(name))
        place = groups.place(f"ns/{name}", NUMBER, "unit")
        assert place is not None
        assert len(place.name) <= NAME_CHARS_MAX
        assert place.owner is not None
        assert (place.owner["name"], place.owner["uid"]) == (name, UID)
    assert groups.place("ns/unknown", NUMBER, "unit") is None


def test_what_was_meant_for_a_group_is_not_done_to_another_of_its_name() -> None:
    """1. A PodGroup is bound. 2. It is deleted, and one of its name is made. 3. That the first one
    is scheduled is written: the pods of the second would be bound singly."""
    groups = PodGroups()
    groups.take(a_group(minMember=2))
    assert groups.place("ns/g", NUMBER + 1, "unit") is None
    assert groups.patch(msgspec.structs.replace(WAITS, uid=NUMBER + 1)) is None
    assert groups.patch(WAITS) is not None


def test_status_keeps_conditions_of_former_phases_and_says_nothing_twice() -> None:
    groups = PodGroups()
    groups.take(a_group(minMember=2))
    first = groups.patch(WAITS)
    assert first is not None
    assert first["metadata"]["uid"] == UID
    assert first["status"]["phase"] == "PreScheduling"
    groups.wrote("ns/g", first)
    assert groups.patch(WAITS) is None
    bound = groups.patch(msgspec.structs.replace(WAITS, phase=GangPhase.SCHEDULED))
    assert bound is not None
    assert [c["type"] for c in bound["status"]["conditions"]] == ["PreScheduling", "Scheduled"]


class Writes:
    """A server that answers with these codes, then with OK."""

    def __init__(self, *codes: Code) -> None:
        self.codes = list(codes)
        self.phases: list[str] = []

    async def write(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[Code, bytes]:
        assert body is not None
        assert (method, path.rsplit("/", 2)[1:]) == ("PATCH", ["g", "status"])
        self.phases.append(body["status"]["phase"])
        return (self.codes.pop(0) if self.codes else Code.OK), b""


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "PAUSE_SECONDS", 0.0)


async def test_only_the_newest_is_written() -> None:
    groups, writes = PodGroups(), Writes()
    groups.take(a_group(minMember=2))
    told = GroupNotes(groups, writes.write)
    assert told.put(Note((WAITS,)))
    assert not told.put(Note((msgspec.structs.replace(WAITS, phase=GangPhase.TIMEOUT),)))
    await told.write_all()
    assert writes.phases == ["Timeout"]


async def test_what_was_not_written_is_written_again_and_a_refusal_is_not_for_ever() -> None:
    groups = PodGroups()
    groups.take(a_group(minMember=2))
    lost = Writes(Code.UNKNOWN, Code.THROTTLED)
    told = GroupNotes(groups, lost.write)
    told.put(Note((WAITS,)))
    await told.write_all()
    assert lost.phases == ["PreScheduling"] * 3
    refused = Writes(*[Code.THROTTLED] * 100)
    told = GroupNotes(groups, refused.write)
    told.put(Note((msgspec.structs.replace(WAITS, ready=1),)))
    await told.write_all()
    assert len(refused.phases) == notes.TRIES_MAX


def test_group_that_cannot_be_read_is_left_out_and_named() -> None:
    said = io.StringIO()
    collection = AllPodGroups(PodGroups(), Log("home", said))
    broken = msgspec.json.encode({"metadata": {"name": "g", "namespace": "ns", "uid": "x"}})
    events = [Event("ADDED", msgspec.Raw(each)) for each in (broken, a_group("h"))]
    (delta,) = collection.shown(events)
    assert [gang.key for gang in delta.gangs] == ["ns/h"]
    assert "a PodGroup is left out" in said.getvalue()
